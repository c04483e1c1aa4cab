"""People's voices over Home Assistant's port, in the form that their files have."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

from tests.e2e.wyoming import client, read_answer, running, whole
from tests.protocol.upstream import installed
from tests.real.support import Kept, assert_words, samples_of, shared_file
from whisper_live.audio import PcmFormat, s_to_samples
from whisper_live.config.model import SpeechConfig
from whisper_live.testing.recordings import shipped
from whisper_live.text.wer import plain_words, word_errors
from whisper_live.vad.whisper_boost import speech_detectors

from wyoming.asr import Transcribe  # isort: skip
from wyoming.audio import AudioChunk, AudioStart, AudioStop  # isort: skip

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

ENGLISH = Transcribe(language="en")
# 16, 22.05 and 48 kHz; two to nine seconds.
TEN = (
    *(f"vctk_demand/p287_00{number}_clean.flac" for number in range(1, 7)),
    "vctk_demand/p286_011.flac",
    *(f"ljspeech/LJ001-00{number}.flac" for number in ("02", "16", "20")),
)


@dataclass(frozen=True)
class Recording:
    """A file's own samples, and what is said in it."""

    pcm: PcmFormat
    data: bytes
    text: str


def recordings() -> list[Recording]:
    manifest = shared_file("speech/manifest.jsonl")
    lines = manifest.read_text("utf-8").splitlines()
    about = {row["file"]: row for row in map(json.loads, lines)}
    return [read(manifest.parent / name, about[name]["text"]) for name in TEN]


def read(path: Path, text: str) -> Recording:
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        pcm = PcmFormat(stream.rate, 2, stream.channels)
        frames = [frame.to_ndarray() for frame in file.decode(stream)]
    assert all(frame.dtype == "int16" and frame.shape[0] == 1 for frame in frames)
    return Recording(pcm, b"".join(frame.tobytes() for frame in frames), text)


async def test_ten_recordings_are_read_right(tiny: Kept) -> None:
    """tiny.en gets 13 of 139 wrong, two of them "6" and "5", over either port."""
    errors = words = 0
    detectors = speech_detectors(SpeechConfig())
    async with running(engine=tiny, detector=detectors) as server:
        for recording in recordings():
            async with client(server) as peer:
                form = {
                    "rate": recording.pcm.rate,
                    "width": recording.pcm.width,
                    "channels": recording.pcm.channels,
                }
                await peer.write_event(ENGLISH.event())
                await peer.write_event(AudioStart(**form).event())
                for at in range(0, len(recording.data), 2048):
                    piece = recording.data[at : at + 2048]
                    await peer.write_event(AudioChunk(**form, audio=piece).event())
                await peer.write_event(AudioStop().event())
                answer = await read_answer(peer)
            expected = plain_words(recording.text)
            errors += word_errors(expected, plain_words(answer.text))
            words += len(expected)
    assert words > 100
    assert errors <= 0.1 * words


async def test_the_benchmark_reads_them_as_right(tiny: Kept, tmp_path: Path) -> None:
    """It compares words as they are spelt, so that "6" is wrong for "six"."""
    for index, recording in enumerate(recordings()):
        with wave.open(str(tmp_path / f"data_{index}.wav"), "wb") as file:
            pcm = recording.pcm
            file.setparams((pcm.channels, pcm.width, pcm.rate, 0, "NONE", ""))
            file.writeframes(recording.data)
        (tmp_path / f"data_{index}.txt").write_text(recording.text, "utf-8")
    packages = ("wyoming-bench==2026.10.0", "wyoming==1.10.2", "sentence-stream==1.3.0")
    folders = [str(installed(name)) for name in (*packages, "regex==2026.11.19")]
    detectors = speech_detectors(SpeechConfig())
    async with running(engine=tiny, detector=detectors) as server:
        bench = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-W", "ignore", "-m", "wyoming_bench.cli", "stt"),
            *(f"127.0.0.1:{server.wyoming_port}", "--corpus", str(tmp_path)),
            *("--config", '{"language": "en"}', "--rounds", "1", "--warmup", "0"),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
            stdout=asyncio.subprocess.PIPE,
        )
        printed = (await bench.communicate())[0].decode()
    assert printed.count("ok=10 fail=0") == 2, printed
    rates = [float(rate) for rate in re.findall(r"Accuracy +WER=([\d.]+)%", printed)]
    assert len(rates) == 2 and max(rates) <= 12.0, printed


async def test_commands_are_read_right(tiny: Kept) -> None:
    """The sentences of our recording, each by itself."""
    recording = shipped("meeting")
    samples = samples_of(recording.audio)
    heard = []
    detectors = speech_detectors(SpeechConfig())
    async with running(engine=tiny, detector=detectors) as server:
        for sentence in recording.sentences:
            span = slice(
                s_to_samples(sentence[0].start_s - 0.3),
                s_to_samples(sentence[-1].end_s + 0.3),
            )
            answer = await whole(server, samples[span], asked=ENGLISH)
            assert answer.chunks == answer.text
            heard.append(answer.text)
    assert_words(" ".join(heard), recording.text, most_wrong=0.05)
