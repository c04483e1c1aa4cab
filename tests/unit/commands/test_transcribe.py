"""Whole files through sessions and the batch queue, with an engine that can account."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import re
import signal
import threading
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.decode_media import mux
from whisper_live import cli
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.config.model import Config
from whisper_live.errors import DecodeError, EngineUnavailable
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine
from whisper_live.inference.types import Outcome, Request
from whisper_live.offline.transcriber import Transcriber
from whisper_live.session.updates import Update
from whisper_live.testing.marks import word_text, write_monologue, write_speech
from whisper_live.testing.oracle import OracleEngine, build_oracle
from whisper_live.testing.recordings import shipped
from whisper_live.text.wer import plain_words


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def write_wav(path: Path, samples: Samples) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return str(path)


def said(*numbers: int) -> str:
    return "".join(word_text(number) for number in numbers).strip()


def transcribe(*argv: str) -> int:
    return cli.main(["transcribe", "--engine", "oracle", "--latency", "fast", *argv])


def test_text_goes_to_standard_output(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    samples, _ = write_speech([[1, 2, 3], [4, 5]])
    assert transcribe(write_wav(tmp_path / "a.wav", samples)) == 0
    assert capsys.readouterr().out == f"{said(1, 2, 3, 4, 5)}\n"


def test_every_word_of_a_long_file_comes_once_and_in_order(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Two minutes without a pause: windows are split, and no partial helps."""
    pieces = list(write_monologue(120.0))
    samples = np.concatenate([piece for piece, _ in pieces])
    numbers = [word.number for _, words in pieces for word in words]
    assert len(numbers) > 200
    assert transcribe(write_wav(tmp_path / "long.wav", samples)) == 0
    assert capsys.readouterr().out.split() == said(*numbers).split()


def test_json_has_times_of_segments_and_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    samples, words = write_speech([[7, 8]])
    path = write_wav(tmp_path / "a.wav", samples)
    assert transcribe(path, "--format", "json", "--word-timestamps") == 0
    (segment,) = json.loads(capsys.readouterr().out)["segments"]
    assert segment["text"] == said(7, 8)
    starts = [float(word["start"]) for word in segment["words"]]
    assert starts == pytest.approx([word.start / SAMPLE_RATE for word in words], 0.01)


def test_one_reading_gives_every_format_that_was_asked_for(tmp_path: Path) -> None:
    samples, _ = write_speech([[1, 2, 3]])
    path = write_wav(tmp_path / "a.wav", samples)
    argv = ["--format", "srt, vtt,json,text,jsonl,srt", "--output-dir", "out"]
    assert transcribe(path, *argv) == 0
    written = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}
    assert sorted(written) == ["a.json", "a.jsonl", "a.srt", "a.txt", "a.vtt"]
    assert written["a.txt"] == f"{said(1, 2, 3)}\n"
    assert said(1, 2, 3) in written["a.srt"] and said(1, 2, 3) in written["a.vtt"]
    [segment] = json.loads(written["a.json"])["segments"]
    first, end = map(json.loads, written["a.jsonl"].splitlines()[-2:])
    assert first["completed"] == [segment]
    assert segment.keys() == {"start", "end", "text"}, "words only if they are wanted"
    assert end == {"end": "finished"}


def test_ctrl_c_leaves_what_was_read_and_says_how_far_it_came(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One file is written, one half read, one finished behind it, one without text."""
    long = np.concatenate([piece for piece, _ in write_monologue(120.0)])
    short, _ = write_speech([[1, 2]])
    files = {"a": short, "b": long, "c": short, "d": long}
    paths = [write_wav(tmp_path / f"{name}.wav", files[name]) for name in files]
    finished = asyncio.Event()

    class Interrupted(Transcriber):
        async def transcribe(self, name: str, *arguments: Any) -> None:
            pieces, options, tell, progress = arguments
            if "d.wav" in name:
                await asyncio.Event().wait()
            if "b.wav" in name:
                await finished.wait()

            def told(update: Update) -> None:
                tell(update)
                if "b.wav" in name:
                    signal.raise_signal(signal.SIGINT)

            await super().transcribe(name, pieces, options, told, progress)
            if "c.wav" in name:
                finished.set()

    monkeypatch.setattr("whisper_live.commands.transcribe.Transcriber", Interrupted)
    argv = ["--format", "text,jsonl", "--output-dir", "out"]
    assert transcribe(*paths, *argv) == 130
    written = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}
    assert sorted(written) == [
        f"{n}.{kind}" for n in "abc" for kind in ("jsonl", "txt")
    ]
    assert written["a.txt"] == written["c.txt"] == f"{said(1, 2)}\n"
    words = written["b.txt"].split()
    assert 10 < len(words) < 100
    assert words == said(*range(len(words))).split()
    ends = {n: '{"end": "finished"}' in written[f"{n}.jsonl"] for n in "abc"}
    assert ends == {"a": True, "b": False, "c": True}
    told, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"\S+b\.wav: stopped after 2\d of 120 s; the text up to there is in "
        r"out/b\.txt, out/b\.jsonl",
        told,
    )
    assert last.endswith("d.wav: stopped before there was any text")


def test_a_lost_engine_leaves_what_was_read_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Lost(OracleEngine):
        async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome]:
            if "b.wav" in batch[0].session:
                raise EngineUnavailable("the GPU failed", kind="device_lost")
            return await super().transcribe(batch)

    monkeypatch.setattr(
        "whisper_live.testing.oracle.build_oracle", lambda config: Lost()
    )
    samples, _ = write_speech([[1, 2]])
    paths = [write_wav(tmp_path / f"{name}.wav", samples) for name in "ab"]
    assert transcribe(*paths, "--output-dir", "out", "--batch-size", "1") == 3
    assert (tmp_path / "out/a.txt").read_text() == f"{said(1, 2)}\n"
    *losses, last = capsys.readouterr().err.splitlines()
    assert last == f"whisper-live: the engine was lost at {paths[1]}"
    [loss] = losses
    assert loss.startswith(f"{paths[1]}: no text for 0.")


def test_a_file_that_breaks_off_leaves_its_beginning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    samples = np.concatenate([piece for piece, _ in write_monologue(60.0)])

    def broken(source: object) -> Iterator[Samples]:
        yield from np.array_split(samples, 60)
        raise DecodeError("The file is damaged.", kind="damaged")

    path = write_wav(tmp_path / "a.wav", samples)
    monkeypatch.setattr("whisper_live.commands.transcribe.read_file", broken)
    assert transcribe(path) == 1
    printed = capsys.readouterr()
    words = printed.out.split()
    assert len(words) > 10 and words == said(*range(len(words))).split()
    damaged, far = printed.err.splitlines()
    assert damaged == f"{path}: The file is damaged."
    assert re.fullmatch(r"\S+: stopped after \d+ of 60 s", far)


def test_many_files_go_to_a_folder_each_under_its_name(tmp_path: Path) -> None:
    paths = []
    for number in range(6):
        samples, _ = write_speech([[number * 10, number * 10 + 1]])
        paths.append(write_wav(tmp_path / f"{number}.wav", samples))
    assert transcribe(*paths, "--format", "srt", "--output-dir", "new/out") == 0
    for number in range(6):
        srt = (tmp_path / f"new/out/{number}.srt").read_text()
        first, times, text = srt.splitlines()
        assert (first, text) == ("1", said(number * 10, number * 10 + 1))
        assert re.fullmatch(r"00:00:00,\d{3} --> 00:00:01,\d{3}", times)


def test_subtitles_are_split_by_the_times_of_words_and_wrapped(tmp_path: Path) -> None:
    """Of one sentence of half a minute, without a flag for words."""
    samples, words = write_speech([list(range(60))])
    path = write_wav(tmp_path / "a.wav", samples)
    assert transcribe(path, "--format", "srt", "--output-dir", "out") == 0
    blocks = (tmp_path / "out/a.srt").read_text().strip().split("\n\n")
    shown = [block.splitlines() for block in blocks]
    assert " ".join(" ".join(lines) for _, _, *lines in shown) == said(*range(60))
    assert all(len(lines) <= 2 for _, _, *lines in shown)
    assert all(len(line) <= 42 for _, _, *lines in shown for line in lines)
    assert len(shown) == 4
    begins = {
        f"00:00:{word.start / SAMPLE_RATE:06.3f}".replace(".", ",") for word in words
    }
    assert {times[:12] for _, times, *_ in shown} <= begins
    narrow = ["--max-line-width", "20", "--max-line-count", "1"]
    assert transcribe(path, "--format", "vtt", "--output-dir", "out", *narrow) == 0
    _, *cues = (tmp_path / "out/a.vtt").read_text().strip().split("\n\n")
    assert all(len(cue.splitlines()) == 2 for cue in cues)
    assert max(len(line) for cue in cues for line in cue.splitlines()[1:]) <= 20


def test_a_damaged_file_fails_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    samples, _ = write_speech([[1]])
    (tmp_path / "bad.wav").write_bytes(b"RIFF and nothing more")
    good = write_wav(tmp_path / "good.wav", samples)
    assert transcribe("bad.wav", good) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{good}:\n{said(1)}\n"
    assert printed.err.startswith("bad.wav: The file is not audio")
    assert printed.err.count("\n") == 1


def test_files_that_cannot_be_read_are_told_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF and nothing more")
    (tmp_path / "text.mp3").write_text("not audio at all\n" * 100)

    def load_engine(*_: object, **__: object) -> None:
        raise AssertionError("loaded a model for nothing")

    monkeypatch.setattr("whisper_live.commands.transcribe.load_engine", load_engine)
    assert transcribe("bad.wav", "text.mp3") == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("bad.wav: The file is not audio or video")
    assert second.startswith("text.mp3: The file is not audio or video")


@pytest.mark.parametrize(
    ("name", "container", "codec"),
    [
        ("talk.wma", "asf", "wmav2"),
        ("talk.mp4", "mp4", "aac"),
        ("talk.mkv", "matroska", "libopus"),
        ("talk.mov", "mov", "alac"),
        ("talk.avi", "avi", "libmp3lame"),
    ],
)
def test_recordings_of_any_kind_are_read(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    container: str,
    codec: str,
) -> None:
    samples, _ = write_speech([[1, 2, 3], [4]], variant="robust")
    data = mux(container, codec, samples[None], rate=SAMPLE_RATE)
    (tmp_path / name).write_bytes(data)
    assert transcribe(name) == 0
    assert capsys.readouterr().out == f"{said(1, 2, 3, 4)}\n"


def test_captions_that_cannot_be_written_cost_that_file_only(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    samples, _ = write_speech([[1]])
    paths = [write_wav(tmp_path / name, samples) for name in ("a.wav", "b.wav")]
    (tmp_path / "out" / "a.txt").mkdir(parents=True)
    assert transcribe(*paths, "--output-dir", "out") == 1
    assert capsys.readouterr().err == "cannot write out/a.txt: Is a directory\n"
    assert (tmp_path / "out" / "b.txt").read_text() == f"{said(1)}\n"


def test_silence_is_an_empty_text(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_wav(tmp_path / "a.wav", np.zeros(SAMPLE_RATE, np.float32))
    assert transcribe(path) == 0
    assert capsys.readouterr().out == ""


def test_a_model_is_not_run_before_the_files(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warming up took longer than reading a short file, and nobody waits for words."""

    def warm_up(self: CTranslate2Engine, *_: object, **__: object) -> None:
        raise AssertionError("run before the first file")

    monkeypatch.setattr(CTranslate2Engine, "warm_up", warm_up)
    recording = shipped("demo")
    argv = ["--model", "demo", "--device", "cpu", str(recording.audio)]
    assert cli.main(["transcribe", *argv]) == 0
    heard = plain_words(capsys.readouterr().out)
    assert heard == plain_words(recording.text)


def claims(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    """Let the engine say other things about its model."""

    def build(config: Config) -> OracleEngine:
        engine = build_oracle(config)
        engine._info = dataclasses.replace(engine.info, **facts)
        return engine

    monkeypatch.setattr("whisper_live.testing.oracle.build_oracle", build)


@pytest.mark.parametrize(
    ("argv", "warnings"),
    [
        ([], ""),
        (["--language", "en"], ""),
        (
            ["--language", "de"],
            "warning: tiny.en knows English alone and writes nonsense for other "
            "speech: --language de needs another --model\n",
        ),
        (
            ["--task", "translate"],
            "warning: tiny.en knows English alone and translates nothing\n",
        ),
    ],
)
def test_a_model_of_one_language_is_no_secret(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    argv: list[str],
    warnings: str,
) -> None:
    claims(monkeypatch, model="tiny.en", languages=("en",))
    samples, _ = write_speech([[1, 2]])
    path = write_wav(tmp_path / "a.wav", samples)
    assert transcribe(path, "--format", "json", *argv) == 0
    printed = capsys.readouterr()
    assert printed.err == warnings
    assert json.loads(printed.out)["language"] == "en"


def test_hotwords_that_are_not_all_read_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def read(self: OracleEngine, *, hotwords: str, prompt: str) -> tuple[int, int]:
        return min(len(hotwords), 3), len(prompt)

    monkeypatch.setattr(OracleEngine, "characters_read", read, raising=False)
    path = write_wav(tmp_path / "a.wav", write_speech([[1, 2]])[0])
    flags = ("--hotwords", "Ada, Babbage", "--initial-prompt", "about")
    assert transcribe(path, *flags) == 0
    warning = "warning: --hotwords: the model reads only the first 3 characters\n"
    assert capsys.readouterr().err == warning


def test_the_demo_model_says_that_it_is_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    claims(monkeypatch, is_demo=True, languages=("en",))
    samples, _ = write_speech([[1, 2]])
    assert transcribe(write_wav(tmp_path / "a.wav", samples)) == 0
    [warning] = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: the demo model knows a few hundred words")


def test_json_names_the_language_that_was_chosen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    samples, _ = write_speech([[1]])
    path = write_wav(tmp_path / "a.wav", samples)
    assert transcribe(path, "--format", "json", "--language", "de") == 0
    assert json.loads(capsys.readouterr().out)["language"] == "de"


def test_settings_of_a_server_are_passed_over_in_the_file_that_both_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "whisper-live.toml").write_text(
        'final-pass = true\nmodels = "tiny"\npartial-interval-s = 1.0\n'
    )
    samples, _ = write_speech([[1, 2]])
    assert transcribe(write_wav(tmp_path / "a.wav", samples)) == 0
    assert capsys.readouterr().out == f"{said(1, 2)}\n"


def piped(data: bytes) -> int:
    """The reading end of a pipe that gives ``data``."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(data)

    threading.Thread(target=write, daemon=True).start()
    return reading


@pytest.fixture
def standard_input() -> Iterator[Callable[[bytes], None]]:
    """Gives this process bytes on its standard input."""
    before = os.dup(0)

    def give(data: bytes) -> None:
        reading = piped(data)
        os.dup2(reading, 0)
        os.close(reading)

    yield give
    os.dup2(before, 0)
    os.close(before)


def test_pipes_are_read_whole(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    standard_input: Callable[[bytes], None],
) -> None:
    """More than a pipe holds, and with the index at the end, where one must seek."""
    recordings = []
    for number in range(3):
        samples, _ = write_speech([[number, number + 7], [number + 8]])
        target = io.BytesIO()
        with av.open(target, "w", format="mp4") as output:
            stream = output.add_stream("alac", rate=SAMPLE_RATE, layout="mono")
            pcm = (samples * 32767).round().astype("<i2")[None]
            frame = av.AudioFrame.from_ndarray(pcm, "s16p", "mono")
            frame.sample_rate = SAMPLE_RATE
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        recordings.append(target.getvalue())
    assert all(
        len(data) > 65_536 and data.rindex(b"moov") > data.index(b"mdat")
        for data in recordings
    )
    standard_input(recordings[0])
    os.mkfifo(tmp_path / "fifo.m4a")

    def write() -> None:
        (tmp_path / "fifo.m4a").write_bytes(recordings[2])

    threading.Thread(target=write, daemon=True).start()
    reading = piped(recordings[1])
    names = ["-", f"/dev/fd/{reading}", "fifo.m4a"]
    assert transcribe(*names) == 0
    os.close(reading)
    expected = ""
    for number, name in enumerate(names):
        expected += f"{name}:\n{said(number, number + 7, number + 8)}\n"
    assert capsys.readouterr().out == expected


def test_captions_of_standard_input_are_named_after_it(
    tmp_path: Path, standard_input: Callable[[bytes], None]
) -> None:
    samples, _ = write_speech([[1]])
    standard_input(Path(write_wav(tmp_path / "a.wav", samples)).read_bytes())
    assert transcribe("-", "--output-dir", "out") == 0
    assert (tmp_path / "out" / "stdin.txt").read_text() == f"{said(1)}\n"


def test_empty_files_and_pipes_fail_alone(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    standard_input: Callable[[bytes], None],
) -> None:
    samples, _ = write_speech([[1]])
    (tmp_path / "empty.wav").touch()
    standard_input(b"")
    assert transcribe("empty.wav", "-", write_wav(tmp_path / "a.wav", samples)) == 1
    printed = capsys.readouterr()
    assert printed.err == "empty.wav: The file is empty.\n-: The file is empty.\n"
    assert printed.out.endswith(f"a.wav:\n{said(1)}\n")


def test_one_file_named_twice_is_transcribed_twice(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    samples, _ = write_speech([[1, 2], [3]])
    path = write_wav(tmp_path / "a.wav", samples)
    assert transcribe(path, path) == 0
    assert capsys.readouterr().out == 2 * f"{path}:\n{said(1, 2, 3)}\n"


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["absent.wav"], "no such file: absent.wav"),
        (["-", "absent.wav"], "no such file: absent.wav"),
        (["b"], "b is a folder; name the files in it"),
        (["/dev/null"], "/dev/null is neither a file nor a pipe"),
        (["a.wav", "a.wav", "--format", "srt"], "need --output-dir"),
        (["a.wav", "b/a.wav", "--output-dir", "out"], "two of the files would become"),
        (["a.txt", "--output-dir", "."], "a.txt would be overwritten"),
        (["a.wav", "a.txt", "--output-dir", "."], "a.txt would be overwritten"),
        (["a.wav", "--format", "srt,json"], "several formats need --output-dir"),
        (["a.wav", "--format", "srt,doc"], "no format 'doc'; there are text, srt"),
        (["a.wav", "--output-dir", "a.wav"], "cannot create a.wav"),
        (["a.wav", "--language", "klingon"], "Unknown language"),
        (["a.wav", "--final-pass"], "unrecognized arguments: --final-pass"),
        (["a.wav", "--max-line-count", "0"], "invalid positive whole number"),
    ],
)
def test_what_cannot_be_done_is_said_before_it_is_begun(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, argv: list[str], complaint: str
) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.wav", "b/a.wav", "a.txt"):
        write_wav(tmp_path / name, np.zeros(160, np.float32))
    assert transcribe(*argv) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert printed.out == ""
