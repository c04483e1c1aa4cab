"""A client of the wire: connect, send chunks on schedule, take messages to the end.

Speaks WhisperLive's protocol.  Knows nothing of files, terminals or
what the words mean.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
)

from whisper_live.client.chunks import Chunk
from whisper_live.client.reach import advice, trust
from whisper_live.errors import WhisperLiveError
from whisper_live.protocols.whisperlive import client as wire

__all__ = ["Arrival", "LiveClient", "connect", "paced"]

_STATUS_HINTS = {
    200: "; something answers there that is no live transcription server",
    401: "; show it a key that it knows",
    404: "; something answers there that is no live transcription server",
}
_READY_TIMEOUT_S = 60.0  # a server that is still loading its model takes that long

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message from the server, and when it came."""

    at_s: float  # since the first chunk's audio began, by the client's clock
    message: Mapping[str, Any]


async def paced(
    chunks: Iterable[Chunk],
    *,
    speed: float = 1.0,
    clock: Clock = time.monotonic,
    sleep: Sleep = asyncio.sleep,
) -> AsyncIterator[Chunk]:
    """The chunks, each at its own time: a late one does not delay those after it."""
    started = clock()
    for chunk in chunks:
        wait = started + chunk.due_s / speed - clock()
        if wait > 0:
            await sleep(wait)
        yield chunk


class LiveClient:
    """One connection whose server is ready; made by ``connect``."""

    def __init__(self, socket: ClientConnection, *, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock
        self._started = clock()
        self._complaint = ""  # the server's last status message

    async def stream(
        self, chunks: Iterable[Chunk], *, speed: float = 1.0
    ) -> AsyncGenerator[Arrival]:
        """Send the chunks and the end of audio; yield every message until the end.

        Ends when the server closes with 1000.  Raises ``WhisperLiveError`` for any
        other close, and whatever reading ``chunks`` raises.
        """
        self._started = self._clock()
        sender = asyncio.create_task(self._send(chunks, speed))
        try:
            async for arrival in self._messages():
                yield arrival
            await sender
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, chunks: Iterable[Chunk], speed: float) -> None:
        try:
            async for chunk in paced(chunks, speed=speed, clock=self._clock):
                if chunk.data:
                    await self._socket.send(chunk.data)
            await self._socket.send(wire.END_OF_AUDIO)
        except ConnectionClosed:
            pass  # whoever reads the messages learns why
        except BaseException:
            await self._socket.close()  # or the reader would wait for ever
            raise

    async def _messages(self) -> AsyncIterator[Arrival]:
        try:
            while True:
                message = json.loads(await self._socket.recv())
                if (complaint := wire.complaint(message)) is not None:
                    self._complaint = f": {complaint}"
                yield Arrival(self._clock() - self._started, message)
        except ConnectionClosed as closed:
            close = closed.rcvd or closed.sent
            if close is None or close.code != 1000:
                raise WhisperLiveError(
                    f"the server ended the stream with {_close_name(close)}"
                    f"{self._complaint}"
                ) from closed


def _close_name(close: Any) -> str:
    if close is None:
        return "a broken connection"
    return f"close code {close.code}" + (f" ({close.reason})" if close.reason else "")


@asynccontextmanager
async def connect(
    url: str,
    *,
    audio_format: str = "float32",
    language: str | None = None,
    task: str = "transcribe",
    key: str | None = None,
    ca: str | None = None,
    clock: Clock = time.monotonic,
    ready_timeout_s: float = _READY_TIMEOUT_S,
    **options: Any,
) -> AsyncIterator[LiveClient]:
    """A client of the server at ``url``, admitted and ready to be sent audio.

    ``key`` is shown to a server that wants one; ``ca`` is a file of certificates to
    trust in place of the system's; ``options`` go into the handshake, as in
    docs/wire.md.  Raises ``Overloaded`` when the server asks to come back later,
    ``WhisperLiveError`` when it refuses or cannot be reached.
    """
    handshake = wire.handshake(
        language=language, task=task, audio_format=audio_format, **options
    )
    socket = await _open(url, handshake, key, ca, ready_timeout_s)
    try:
        yield LiveClient(socket, clock=clock)
    finally:
        await socket.close()


async def _open(
    url: str,
    handshake: Mapping[str, Any],
    key: str | None,
    ca: str | None,
    ready_timeout_s: float,
) -> ClientConnection:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    context = trust(ca) if url.lower().startswith("wss:") else None
    try:
        socket = await open_socket(
            url,
            additional_headers=headers,
            compression=None,
            max_size=None,
            ssl=context,
        )
        try:
            await socket.send(json.dumps(handshake))
            async with asyncio.timeout(ready_timeout_s):
                await _ready(socket)
        except BaseException:
            await socket.close()
            raise
        return socket
    except ConnectionClosed as error:
        raise WhisperLiveError(f"{url} closed before it was ready: {error}") from error
    except TimeoutError as error:
        raise WhisperLiveError(f"{url} did not answer in time") from error
    except InvalidStatus as error:
        status = error.response.status_code
        hint = _STATUS_HINTS.get(status, "")
        raise WhisperLiveError(f"{url} refused with HTTP {status}{hint}") from error
    except (OSError, InvalidHandshake, InvalidStatus, InvalidURI) as error:
        told = await asyncio.to_thread(advice, url, error)
        if not told and isinstance(error, InvalidMessage):
            told = "something answers there that speaks another protocol"
        raise WhisperLiveError(f"no server at {url}: {told or error}") from error


async def _ready(socket: ClientConnection) -> None:
    """Read up to SERVER_READY, passing over warnings."""
    while True:
        message = json.loads(await socket.recv())
        if wire.is_ready(message):
            return
        if (refusal := wire.refusal(message)) is not None:
            raise refusal
