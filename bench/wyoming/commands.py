"""Voice commands: recordings with the end of their speech, played in real time.

Times are by the schedule: a chunk is sent when a microphone would have recorded it, and
the end of speech is when its last sound was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error

from bench.quality.real.recordings import Recording, load
from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples
from whisper_live.config.model import SpeechConfig
from whisper_live.vad.whisper_boost import speech_detectors

__all__ = ["Answer", "Command", "command", "play"]

_CHUNK = 1024  # samples, as Home Assistant's satellites send
_QUIET_AFTER_S = 6.0  # who has not answered by then has failed
_FORM = {"rate": SAMPLE_RATE, "width": 2, "channels": 1}


@dataclass(frozen=True, slots=True)
class Command:
    """One recording with quiet after it; ``end`` is the sample where speech ends."""

    name: str
    samples: Samples
    end: int
    text: str

    @property
    def end_s(self) -> float:
        """Seconds of audio up to the end of speech."""
        return self.end / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Answer:
    """``after_s``: from the end of speech to the transcript; None: none came."""

    text: str
    after_s: float | None
    error: str = ""


def command(recording: Recording) -> Command:
    """A recording as a command; speech ends where the detector hears it last."""
    samples = load(recording, quiet_after_s=_QUIET_AFTER_S)
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES]
    speech = speech_detectors(SpeechConfig())().score(frames.reshape(-1, FRAME_SAMPLES))
    spoken = np.flatnonzero(speech >= SpeechConfig().vad_threshold)
    last = int(spoken[-1]) + 1 if len(spoken) else len(speech)
    return Command(recording.name, samples, last * FRAME_SAMPLES, recording.text)


async def play(port: int, said: Command, *, stop_after_s: float | None) -> Answer:
    """One command to a server on this machine.

    ``stop_after_s`` after the end of speech the client says ``audio-stop``, as Home
    Assistant's own segmenter would; None leaves the end to the server.
    """
    async with AsyncTcpClient("127.0.0.1", port) as client:
        began = time.monotonic()
        speaking = asyncio.create_task(_speak(client, said, began, stop_after_s))
        try:
            async with asyncio.timeout(said.end_s + _QUIET_AFTER_S + 10):
                return await _listen(client, began + said.end_s)
        except TimeoutError:
            return Answer("", None, "no answer")
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)


async def _listen(client: AsyncTcpClient, ended_at: float) -> Answer:
    while (event := await client.read_event()) is not None:
        if event.type == "transcript":
            return Answer(event.data["text"], time.monotonic() - ended_at)
        if Error.is_type(event.type):
            return Answer("", None, str(event.data))
    return Answer("", None, "closed")


async def _speak(
    client: AsyncTcpClient, said: Command, began: float, stop_after_s: float | None
) -> None:
    await client.write_event(Transcribe(language="en").event())
    await client.write_event(AudioStart(**_FORM).event())
    pcm = (np.clip(said.samples, -1, 1) * 32767).astype("<i2").tobytes()
    last = len(said.samples)
    if stop_after_s is not None:
        last = min(last, said.end + round(stop_after_s * SAMPLE_RATE))
    for start, end in _cuts(last):
        await asyncio.sleep(max(began + end / SAMPLE_RATE - time.monotonic(), 0))
        chunk = AudioChunk(**_FORM, audio=pcm[2 * start : 2 * end])
        await client.write_event(chunk.event())
    await client.write_event(AudioStop().event())


def _cuts(samples: int) -> Sequence[tuple[int, int]]:
    return [(at, min(at + _CHUNK, samples)) for at in range(0, samples, _CHUNK)]
