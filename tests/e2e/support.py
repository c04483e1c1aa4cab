"""A server in this process and clients that say exactly what a test wants said."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from whisper_live.audio import Samples
from whisper_live.config import model as settings
from whisper_live.config.model import Config
from whisper_live.inference.engine import Engine
from whisper_live.inference.model_registry import Loader
from whisper_live.server.server import Server
from whisper_live.testing.marks import read_numbers
from whisper_live.testing.oracle import Behaviour, OracleDetector, OracleEngine
from whisper_live.vad.silero import Detector

PORT_ANY = settings.ListenConfig(port=0, http_port=0)
FULL_SPEED = settings.LimitConfig(audio_rate=0.0)
KEY = "a-long-secret-key"  # alice's, where keys are needed
QUICK_BATCHES = settings.BatchConfig(batch_window_ms=5.0)


def quick(**limits: Any) -> Config:
    """A config for tests: any port, no rate limit, ``limits`` changed."""
    return Config(
        listen=PORT_ANY,
        batch=QUICK_BATCHES,
        speech=settings.SpeechConfig(latency="fast"),
        limits=dataclasses.replace(FULL_SPEED, **limits),
    )


def with_http(access: settings.AccessConfig | None = None, **limits: Any) -> Config:
    """As ``quick``, with an HTTP port."""
    config = quick(**limits)
    listen = dataclasses.replace(config.listen, http_port=-1)
    access = access or config.access
    return dataclasses.replace(config, listen=listen, access=access)


@contextlib.asynccontextmanager
async def running(
    config: Config | None = None,
    behaviour: Behaviour = Behaviour(),
    *,
    engine: Engine | None = None,
    detector: Callable[[], Detector] = OracleDetector,
    loader: Loader | None = None,
) -> AsyncIterator[Server]:
    """A server with the oracle behind it."""
    config = config or quick()
    engine = engine or OracleEngine(behaviour, max_batch=config.batch.batch_size)
    async with Server(
        config, engine=engine, detector=detector, loader=loader
    ) as server:
        yield server


class Client:
    """One WhisperLive client: what it was told, in order, and how it ended."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []

    async def hello(self, **changes: Any) -> None:
        """A handshake as 0.5 sends it, with ``changes``; None takes a key out."""
        keys: dict[str, Any] = {
            "uid": "u",
            "language": "en",
            "task": "transcribe",
            "model": "small",
        }
        keys |= {"use_vad": True, **changes}
        await self.send(json.dumps({k: v for k, v in keys.items() if v is not None}))

    async def send(self, message: str | bytes) -> None:
        await self.socket.send(message)

    async def say(self, samples: Samples, *, chunk: int = 4096) -> None:
        """Float32 chunks, as fast as the server reads them."""
        data = np.ascontiguousarray(samples, dtype="<f4").tobytes()
        for at in range(0, len(data), chunk * 4):
            await self.send(data[at : at + chunk * 4])

    async def end(self, mark: str | bytes = b"END_OF_AUDIO") -> None:
        await self.send(mark)

    async def next(self) -> dict[str, Any]:
        message = json.loads(await self.socket.recv())
        self.messages.append(message)
        return dict(message)

    async def completions(self) -> AsyncIterator[dict[str, Any]]:
        """Each segment once it is completed, keeping no messages.

        For long streams, with ``send_last_n_segments=1``.
        """
        seen = ""
        while True:
            message = await self.next()
            self.messages.clear()
            for segment in message.get("segments", ()):
                if segment["completed"] and segment["start"] != seen:
                    seen = segment["start"]
                    yield segment

    async def wait_for(self, key: str) -> dict[str, Any]:
        """The next message that has ``key``."""
        while key not in (message := await self.next()):
            pass
        return message

    async def rest(self) -> int:
        """Take everything until the close; its code."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.next()
        assert self.socket.close_code is not None
        return self.socket.close_code

    @property
    def completed(self) -> dict[str, str]:
        """Completed segments by their start; fails if one was ever changed."""
        segments: dict[str, str] = {}
        for message in self.messages:
            for segment in message.get("segments", ()):
                if segment["completed"]:
                    text = segments.setdefault(segment["start"], segment["text"])
                    assert text == segment["text"], "a completed segment was changed"
        return segments

    @property
    def words(self) -> list[int]:
        """The oracle's word numbers in all completed segments, in order."""
        ordered = sorted(self.completed.items(), key=lambda item: float(item[0]))
        return [number for _, text in ordered for number in read_numbers(text)]

    @property
    def dropped(self) -> list[dict[str, str]]:
        return [span for m in self.messages for span in m.get("dropped", ())]


@contextlib.asynccontextmanager
async def client(
    server: Server, path: str = "/", *, port: int | None = None, **options: Any
) -> AsyncIterator[Client]:
    """A connected client that has not said anything yet.

    ``port`` is WhisperLive's unless another one of the server's is given.
    """
    url = f"ws://127.0.0.1:{port or server.port}{path}"
    async with connect(url, max_size=None, **options) as socket:
        yield Client(socket)


async def whole_session(
    server: Server,
    samples: Samples,
    *,
    chunk: int = 4096,
    port: int | None = None,
    **hello: Any,
) -> Client:
    """Handshake, audio, END_OF_AUDIO, and everything until the close."""
    async with client(server, port=port) as peer:
        await peer.hello(**hello)
        rest = asyncio.create_task(peer.rest())
        await peer.say(samples, chunk=chunk)
        await peer.end()
        await rest
        return peer
