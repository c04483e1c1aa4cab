"""Home Assistant's client and its benchmark, as published, against the demo model.

Home Assistant 2026.2 has wyoming 1.7.2, and 1.10.2 is the newest.  ``wyoming-bench``
sends recordings as fast as they are taken, and reads only then or meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.process import PORTS
from tests.protocol.upstream import installed, write_wav
from whisper_live.audio import s_to_samples
from whisper_live.testing.recordings import shipped
from whisper_live.text.wer import plain_words

pytest.importorskip("wyoming", reason="pip install '.[wyoming]'")

pytestmark = pytest.mark.timeout(120)

RUNNER = Path(__file__).with_name("wyoming_runner.py")
AROUND_S = 0.3  # of silence before and behind a sentence


@dataclass(frozen=True)
class Sentence:
    """A recording of one sentence, and what is said in it."""

    wav: Path
    text: str


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Home Assistant's port of a daemon with the demo model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
    command = [sys.executable, "-m", "whisper_live", "serve", *PORTS]
    command += ["--model", "demo", "--device", "cpu", "--wyoming-port", str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on ws://127.0.0.1:"), line
            yield number
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> list[Sentence]:
    folder = tmp_path_factory.mktemp("corpus")
    recording = shipped("demo")
    with wave.open(str(recording.audio)) as file:
        data = file.readframes(file.getnframes())
    found = []
    for index, words in enumerate(recording.sentences):
        start = 2 * s_to_samples(max(words[0].start_s - AROUND_S, 0.0))
        end = 2 * s_to_samples(words[-1].end_s + AROUND_S)
        text = " ".join(word.text for word in words)
        wav = write_wav(folder / f"data_{index}.wav", data[start:end])
        wav.with_suffix(".txt").write_text(text, "utf-8")
        found.append(Sentence(wav, text))
    return found


def run(folders: Sequence[Path], *arguments: str) -> str:
    """A Python program that sees these packages alone; what it prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("version", ["1.10.2", "1.7.2"])
def test_home_assistants_client_gets_each_command(
    version: str, port: int, sentences: Sequence[Sentence]
) -> None:
    folder = installed(f"wyoming=={version}")
    for sentence in sentences[1:4]:
        printed = run([folder], str(RUNNER), str(port), str(sentence.wav), "en")
        told: dict[str, Any] = json.loads(printed)
        assert told["models"] == ["demo"]
        events = told["events"]
        assert events[0] == ["transcript-start", {"language": "en"}]
        assert [name for name, _ in events[-2:]] == ["transcript", "transcript-stop"]
        text = events[-2][1]["text"]
        assert plain_words(text) == plain_words(sentence.text)
        chunks = [data["text"] for name, data in events if name == "transcript-chunk"]
        assert "".join(chunks) == text


def test_the_benchmark_finds_every_word_right(
    port: int, sentences: Sequence[Sentence]
) -> None:
    packages = ("wyoming-bench==2026.10.0", "wyoming==1.10.2", "sentence-stream==1.3.0")
    folders = [installed(package) for package in (*packages, "regex==2026.11.19")]
    printed = run(
        folders,
        *("-m", "wyoming_bench.cli", "stt", f"127.0.0.1:{port}"),
        *("--corpus", str(sentences[0].wav.parent), "--config", '{"language": "en"}'),
        *("--rounds", "1", "--warmup", "0", "--verbose"),
    )
    assert printed.count("ok=10 fail=0") == 2, printed
    assert printed.count("WER=0.0% ") >= 20, printed
