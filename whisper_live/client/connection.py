"""One connection to a server: open it, be admitted, send, take messages to its end.

Speaks WhisperLive's protocol and is never opened twice: who wants to go on after it
broke opens another (``live``).  Knows nothing of files, terminals or what the words
mean.
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

__all__ = ["Arrival", "Connection", "ConnectionLost", "connect", "paced"]

_STATUS_HINTS = {
    200: "; something answers there that is no live transcription server",
    401: "; show it a key that it knows",
    404: "; something answers there that is no live transcription server",
}
# What proxies answer while the server behind them restarts.
_PASSING_STATUS = frozenset({429, 502, 503, 504})
# Closes that mean this client or what it sent: the same again would end the same way.
_FINAL_CLOSES = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 1010, 4000})
# Pings: a link that is gone without a word is noticed within 20 s, and 60 s of audio
# are kept.
_PING_S = 10.0
READY_TIMEOUT_S = 60.0  # a server that is still loading its model takes that long

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class ConnectionLost(WhisperLiveError):
    """The server cannot be reached, or not any more; later it may be."""

    default_kind = "connection_lost"


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


class Connection:
    """A socket whose server is ready; made by ``open`` or ``connect``."""

    def __init__(
        self, socket: ClientConnection, ready: Mapping[str, Any], *, clock: Clock
    ) -> None:
        self._socket = socket
        self.ready = ready  # the server's SERVER_READY
        self._clock = clock
        self._complaint = ""  # the server's last status message

    @classmethod
    async def open(
        cls,
        url: str,
        handshake: Mapping[str, Any],
        *,
        key: str | None = None,
        ca: str | None = None,
        clock: Clock = time.monotonic,
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> Connection:
        """Connect, say ``handshake`` and wait until the server is ready.

        Raises ``Overloaded`` when the server asks to come back later,
        ``ConnectionLost`` where it cannot be reached, and ``WhisperLiveError`` when it
        refuses.
        """
        socket, ready = await _open(url, handshake, key, ca, ready_timeout_s)
        return cls(socket, ready, clock=clock)

    async def send(self, message: bytes | str) -> bool:
        """Send one message, waiting for a server that is slow to read.

        False where the socket is closed; whoever receives learns why.
        """
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            return False
        return True

    async def receive(self) -> Mapping[str, Any] | None:
        """The next message; None when the server has said all, and closed with 1000.

        Raises ``ConnectionLost`` for a close after which one may come again, and
        ``WhisperLiveError`` for any other.
        """
        try:
            message = _parsed(await self._socket.recv())
        except ConnectionClosed as closed:
            close = closed.rcvd or closed.sent
            if close is not None and close.code == 1000:
                return None
            final = close is not None and close.code in _FINAL_CLOSES
            error = WhisperLiveError if final else ConnectionLost
            raise error(
                f"the server ended the stream with {_close_name(close)}"
                f"{self._complaint}"
            ) from closed
        if (complaint := wire.complaint(message)) is not None:
            self._complaint = f": {complaint}"
        return message

    async def close(self) -> None:
        """Close the socket, if it is still open."""
        await self._socket.close()

    async def stream(
        self, chunks: Iterable[Chunk], *, speed: float = 1.0
    ) -> AsyncGenerator[Arrival]:
        """Send the chunks and the end of audio; yield every message until the end.

        Ends when the server closes with 1000.  Raises ``WhisperLiveError`` for any
        other close, and whatever reading ``chunks`` raises.
        """
        started = self._clock()
        sender = asyncio.create_task(self._send(chunks, speed))
        try:
            while (message := await self.receive()) is not None:
                yield Arrival(self._clock() - started, message)
            await sender
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send(self, chunks: Iterable[Chunk], speed: float) -> None:
        try:
            async for chunk in paced(chunks, speed=speed, clock=self._clock):
                if chunk.data and not await self.send(chunk.data):
                    return
            await self.send(wire.END_OF_AUDIO)
        except BaseException:
            await self.close()  # or the reader would wait for ever
            raise


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
    ready_timeout_s: float = READY_TIMEOUT_S,
    **options: Any,
) -> AsyncIterator[Connection]:
    """One connection to the server at ``url``, admitted and ready to be sent audio.

    ``key`` is shown to a server that wants one; ``ca`` is a file of certificates to
    trust in place of the system's; ``options`` go into the handshake, as in
    docs/wire.md.  Raises as ``Connection.open`` does.
    """
    handshake = wire.handshake(
        language=language, task=task, audio_format=audio_format, **options
    )
    connection = await Connection.open(
        url, handshake, key=key, ca=ca, clock=clock, ready_timeout_s=ready_timeout_s
    )
    try:
        yield connection
    finally:
        await connection.close()


async def _open(
    url: str,
    handshake: Mapping[str, Any],
    key: str | None,
    ca: str | None,
    ready_timeout_s: float,
) -> tuple[ClientConnection, Mapping[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    context = trust(ca) if url.lower().startswith("wss:") else None
    try:
        socket = await open_socket(
            url,
            additional_headers=headers,
            compression=None,
            max_size=None,
            ssl=context,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
        )
        try:
            await socket.send(json.dumps(handshake))
            async with asyncio.timeout(ready_timeout_s):
                return socket, await _ready(socket)
        except BaseException:
            # 1000 would end the session that was to be gone on with.
            await socket.close(1001 if "resume_token" in handshake else 1000)
            raise
    except ConnectionClosed as error:
        raise ConnectionLost(f"{url} closed before it was ready: {error}") from error
    except TimeoutError as error:
        raise ConnectionLost(f"{url} did not answer in time") from error
    except InvalidStatus as error:
        status = error.response.status_code
        hint = _STATUS_HINTS.get(status, "")
        kind = ConnectionLost if status in _PASSING_STATUS else WhisperLiveError
        raise kind(f"{url} refused with HTTP {status}{hint}") from error
    except InvalidURI as error:
        raise WhisperLiveError(f"no server at {url}: {error}") from error
    except (OSError, InvalidHandshake) as error:
        told = await asyncio.to_thread(advice, url, error)
        if not told and isinstance(error, InvalidMessage):
            told = "something answers there that speaks another protocol"
        raise ConnectionLost(f"no server at {url}: {told or error}") from error


async def _ready(socket: ClientConnection) -> Mapping[str, Any]:
    """SERVER_READY, passing over warnings before it."""
    while True:
        message = _parsed(await socket.recv())
        if wire.is_ready(message):
            return message
        if (refusal := wire.refusal(message)) is not None:
            raise refusal


def _parsed(data: str | bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(data)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise WhisperLiveError("what the server sends is not WhisperLive's protocol")
    return message
