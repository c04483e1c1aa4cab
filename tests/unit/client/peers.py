"""A scripted server on a real socket: the other end for tests of clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve

__all__ = ["Peer", "Script", "second", "segment", "server"]


class Peer:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection, hello: dict[str, Any]) -> None:
        self.socket = socket
        self.hello = hello
        self.audio = b""
        self.said: list[str] = []  # text messages, each with the audio before it
        self.ended = False

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps({"uid": self.hello["uid"], **message}))

    async def ready(self, **more: Any) -> None:
        await self.say(message="SERVER_READY", backend="faster_whisper", **more)

    async def shows(self, *segments: dict[str, Any], **more: Any) -> None:
        await self.say(segments=list(segments), **more)

    async def hears(self, length: int) -> None:
        """Read until so many bytes of audio have come, or the end."""
        while len(self.audio) < length and not self.ended:
            await self._read()

    async def hears_all(self) -> None:
        while not self.ended:
            await self._read()

    async def _read(self) -> None:
        message = await self.socket.recv()
        if message == b"END_OF_AUDIO":
            self.ended = True
        elif isinstance(message, bytes):
            self.audio += message
        else:
            self.said.append(f"{len(self.audio)} {message}")

    async def breaks(self) -> None:
        """The connection goes without a word, once all that was said has arrived."""
        await (await self.socket.ping())
        self.socket.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def server(*scripts: Script) -> AsyncIterator[tuple[str, list[Peer]]]:
    """Plays one script to each connection, and refuses further ones."""
    peers: list[Peer] = []

    async def handle(socket: ServerConnection) -> None:
        peer = Peer(socket, json.loads(await socket.recv()))
        peers.append(peer)
        await scripts[len(peers) - 1](peer)

    async with serve(handle, "127.0.0.1", 0, compression=None) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"127.0.0.1:{port}", peers


def segment(start: str, end: str, text: str, completed: bool = True) -> dict[str, Any]:
    return {"start": start, "end": end, "text": text, "completed": completed}


def second(number: int) -> bytes:
    """A second of float32 audio that no other second is like."""
    return np.full(16_000, number / 100, "<f4").tobytes()
