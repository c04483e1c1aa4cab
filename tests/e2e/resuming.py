"""A client that resumes, whose sockets are cut in every way a socket can be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.protocol import State

from tests.e2e.support import Client
from whisper_live.audio import Samples, s_to_samples
from whisper_live.client.chunks import webm_chunks

__all__ = [
    "Chunked",
    "ResumingClient",
    "as_float32",
    "as_webm",
    "javascript_client",
    "needs_node",
]

EXAMPLE = Path(__file__).parents[2] / "examples" / "resume.mjs"
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs node")


@contextlib.asynccontextmanager
async def javascript_client(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The example: audio goes to its input, text comes from its output."""
    process = await asyncio.create_subprocess_exec(
        *("node", "--experimental-websocket", "--no-warnings", str(EXAMPLE)),
        f"ws://127.0.0.1:{port}/",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


# Where a socket is cut: before its first answer, within a message, between two of them
# or behind the last; left open, dead, while another one comes; two others at once.
CUTS = ("handshake", "message", "between", "half-open", "twice")
_CHUNK = 2048


@dataclass(frozen=True)
class Chunked:
    """Audio as messages, and from which message to go on at a sample."""

    audio_format: str
    messages: Sequence[bytes]
    starts: Sequence[int]  # the sample with which each message's audio begins
    header: bytes = b""

    def behind(self, received: int) -> tuple[list[str | bytes], int]:
        """What a new socket is sent first, and the index of the message to follow."""
        if not self.header:
            at = min(received // _CHUNK, len(self.messages))
            if at == len(self.messages):
                return [], at
            return [self.messages[at][4 * (received - self.starts[at]) :]], at + 1
        # One message earlier: Opus needs 80 ms until it decodes as before.
        at = sum(start <= received for start in self.starts) - 1
        at = max(at - 1, 0)
        where = json.dumps({"type": "position", "at": self.starts[at]})
        return [where, self.header + self.messages[at]], at + 1


def as_float32(samples: Samples) -> Chunked:
    """Messages of 128 ms."""
    starts = range(0, len(samples), _CHUNK)
    messages = [samples[at : at + _CHUNK].astype("<f4").tobytes() for at in starts]
    return Chunked("float32", messages, starts)


def as_webm(samples: Samples) -> Chunked:
    """A message for each cluster of a live recording."""
    stream = b"".join(chunk.data for chunk in webm_chunks([samples]))
    mark = b"\x1f\x43\xb6\x75"
    header, *bodies = stream.split(mark)
    starts = []
    for body in bodies:
        at = 9 - body[0].bit_length()  # behind the cluster's size, which is any bytes
        assert body[at] == 0xE7, "a cluster begins with its time, in milliseconds"
        size = body[at + 1] & 0x7F
        ms = int.from_bytes(body[at + 2 : at + 2 + size], "big")
        starts.append(s_to_samples(ms / 1000))
    return Chunked("webm", [mark + body for body in bodies], starts, header)


@dataclass
class ResumingClient:
    """Sends ``audio`` to its end; ``cuts`` sockets are cut on the way."""

    urls: Callable[[], str]
    audio: Chunked
    chance: random.Random
    cuts: int
    hello: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    last_seq: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)
    begun: int = 0  # sessions
    resumed: int = 0
    half_open: list[ClientConnection] = field(default_factory=list)

    async def run(self) -> Client:
        """Until the server has said all; a client with what came, for its accounts."""
        while True:
            cut = self.chance.choice(CUTS) if self.cuts > 0 else ""
            self.cuts -= bool(cut)
            if await self._one_socket(cut):
                break
        for socket in self.half_open:
            socket.transport.abort()
        whole = Client.__new__(Client)
        whole.messages = self.told
        return whole

    async def _one_socket(self, cut: str) -> bool:
        """Whether the close with 1000 came."""
        try:
            socket = await connect(self.urls(), max_size=None, compression=None)
        except (OSError, InvalidHandshake):
            await asyncio.sleep(0.1)  # it restarts
            return False
        try:
            await self._greet(socket)
            if cut == "twice" and self.token:
                other = await connect(self.urls(), max_size=None, compression=None)
                await self._greet(other)
                other.transport.abort()
            if cut == "handshake":
                return False
            ready = await self._ready(socket)
            if ready is None:
                return False
            return await self._converse(socket, ready, cut)
        except ConnectionClosed:
            return self._ended(socket)
        finally:
            self._cut(socket, cut)

    def _cut(self, socket: ClientConnection, cut: str) -> None:
        if cut == "half-open":
            socket.transport.pause_reading()
            self.half_open.append(socket)
        else:
            socket.transport.abort()

    async def _greet(self, socket: ClientConnection) -> None:
        wish = {"resume_token": self.token} if self.token else {"resume": True}
        keys = {"uid": "u", "language": "en", "task": "transcribe", **self.hello}
        keys |= {"audio_format": self.audio.audio_format, "last_seq": self.last_seq}
        await socket.send(json.dumps(keys | wish))

    async def _ready(self, socket: ClientConnection) -> dict[str, Any] | None:
        ready = dict(json.loads(await socket.recv()))
        assert ready.get("message") == "SERVER_READY", ready
        assert not self.token or ready["resume_token"] == self.token
        self.token = ready["resume_token"]
        self.begun += "resumed" not in ready
        self.resumed += "resumed" in ready
        self.last_seq = ready.get("seq", self.last_seq)
        return ready

    async def _converse(
        self, socket: ClientConnection, ready: dict[str, Any], cut: str
    ) -> bool:
        listening = asyncio.create_task(self._listen(socket))
        try:
            after = self.chance.randint(0, 40) if cut else None
            is_said = await self._speak(socket, ready["received"], after, cut)
            # All said, it may be cut while the last words come.  What was closed
            # already is not cut any more: the server has its answer.
            is_cut = bool(cut) and (not is_said or self.chance.random() < 0.5)
            if is_cut and socket.state is State.OPEN:
                self._cut(socket, cut)  # at once: nothing that comes now is answered
                return False
            return await listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _speak(
        self, socket: ClientConnection, received: int, after: int | None, cut: str
    ) -> bool:
        """Whether all was sent; False where the socket is to be cut before."""
        first, at = self.audio.behind(received)
        rest = [*first, *self.audio.messages[at:], b"END_OF_AUDIO"]
        for index, message in enumerate(rest):
            if after is not None and index >= after:
                if cut == "message":  # a frame of 4 KiB that ends after some bytes
                    socket.transport.write(b"\x82\xfe\x10\x00abcd" + bytes(100))
                return False
            await socket.send(message)
            await asyncio.sleep(0)
        return True

    async def _listen(self, socket: ClientConnection) -> bool:
        try:
            while True:
                message = json.loads(await socket.recv())
                if "seq" in message:
                    assert message["seq"] > self.last_seq, "told twice"
                    self.last_seq = message["seq"]
                self.told.append(message)
        except ConnectionClosed:
            return self._ended(socket)

    def _ended(self, socket: ClientConnection) -> bool:
        if socket.close_code == 1008:
            raise AssertionError(f"refused: {socket.close_reason}")
        return socket.close_code == 1000
