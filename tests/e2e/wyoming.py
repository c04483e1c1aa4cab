"""A server with Home Assistant's port, and what the package ``wyoming`` makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.e2e.support import quick
from whisper_live.audio import PcmFormat, Samples
from whisper_live.config.model import Config, WyomingConfig
from whisper_live.inference.engine import Engine
from whisper_live.inference.model_registry import Loader
from whisper_live.server.server import Server
from whisper_live.testing.marks import read_numbers
from whisper_live.testing.oracle import Behaviour, OracleDetector, OracleEngine
from whisper_live.vad.silero import Detector

pytest.importorskip("wyoming", reason="pip install '.[wyoming]'")

from wyoming.asr import Transcribe  # noqa: E402
from wyoming.audio import AudioChunk, AudioStart, AudioStop  # noqa: E402
from wyoming.client import AsyncTcpClient  # noqa: E402
from wyoming.event import Event  # noqa: E402

from whisper_live.server.wyoming.listener import bind  # noqa: E402

__all__ = ["MONO_16", "Answer", "client", "read_answer", "running", "say", "whole"]

MONO_16 = PcmFormat(16_000, 2, 1)
_CHUNK_S = 0.064


@contextlib.asynccontextmanager
async def running(
    config: Config | None = None,
    *,
    engine: Engine | None = None,
    detector: Callable[[], Detector] = OracleDetector,
    loader: Loader | None = None,
    **wyoming: Any,
) -> AsyncIterator[Server]:
    """A server with both ports; ``wyoming`` are settings without their prefix."""
    config = config or quick()
    named = {f"wyoming_{name}": value for name, value in wyoming.items()}
    config = dataclasses.replace(config, wyoming=WyomingConfig(**named))
    engine = engine or OracleEngine(Behaviour(), max_batch=config.batch.batch_size)
    async with Server(
        config,
        engine=engine,
        detector=detector,
        wyoming=bind(config.wyoming),
        loader=loader,
    ) as server:
        yield server


@contextlib.asynccontextmanager
async def client(server: Server) -> AsyncIterator[AsyncTcpClient]:
    """A connected client of the package."""
    async with AsyncTcpClient("127.0.0.1", server.wyoming_port) as peer:
        yield peer


@dataclass
class Answer:
    """What one utterance was answered with: events in order, None for the close."""

    events: list[Event | None] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        return ["closed" if event is None else event.type for event in self.events]

    @property
    def text(self) -> str:
        [event] = [e for e in self.events if e is not None and e.type == "transcript"]
        return str(event.data["text"])

    @property
    def chunks(self) -> str:
        return "".join(
            event.data["text"]
            for event in self.events
            if event is not None and event.type == "transcript-chunk"
        )

    @property
    def words(self) -> list[int]:
        return read_numbers(self.text)

    @property
    def error(self) -> str:
        """The code of the error, "" where there is none."""
        for event in self.events:
            if event is not None and event.type == "error":
                return str(event.data["code"])
        return ""


def as_pcm(samples: Samples, pcm: PcmFormat) -> bytes:
    """16 kHz samples as a client with such audio has them (rates: multiples alone)."""
    held = np.repeat(samples, pcm.rate // 16_000 * pcm.channels)
    if pcm.width == 1:
        return (held * 127 + 128).astype("u1").tobytes()
    whole = (held * (2.0 ** (8 * pcm.width - 1) - 1)).astype("<i8")
    return whole.view("u1").reshape(-1, 8)[:, : pcm.width].tobytes()


async def say(
    peer: AsyncTcpClient,
    samples: Samples,
    pcm: PcmFormat = MONO_16,
    *,
    asked: Transcribe | None = None,
    start: bool = True,
    stop: bool = True,
) -> None:
    """One utterance, or a part of it, as fast as the server reads."""
    if asked is not None:
        await peer.write_event(asked.event())
    form = {"rate": pcm.rate, "width": pcm.width, "channels": pcm.channels}
    if start:
        await peer.write_event(AudioStart(**form).event())
    data = as_pcm(samples, pcm)
    size = int(pcm.rate * _CHUNK_S) * pcm.frame_bytes
    for at in range(0, len(data), size):
        chunk = AudioChunk(**form, audio=data[at : at + size])
        await peer.write_event(chunk.event())
    if stop:
        await peer.write_event(AudioStop().event())


async def read_answer(peer: AsyncTcpClient) -> Answer:
    """Everything up to ``transcript-stop``, an error's close, or the close."""
    answer = Answer()
    while True:
        event = await peer.read_event()
        answer.events.append(event)
        if event is None or event.type == "transcript-stop":
            return answer


async def whole(
    server: Server,
    samples: Samples,
    pcm: PcmFormat = MONO_16,
    *,
    asked: Transcribe | None = None,
) -> Answer:
    """One utterance on a connection of its own."""
    async with client(server) as peer:
        reading = asyncio.create_task(read_answer(peer))
        await say(peer, samples, pcm, asked=asked)
        return await reading
