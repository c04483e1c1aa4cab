"""The little that a connection needs of its socket, and websockets' way to give it.

Another websocket server can carry a connection by implementing ``Socket``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

__all__ = [
    "CLOSE_TIMEOUT_S",
    "CONTROL_BURST",
    "CONTROL_PER_S",
    "READ_BYTES",
    "Socket",
    "SocketClosed",
    "WebSocket",
]

CLOSE_TIMEOUT_S = 2.0  # for the peer's half of the closing handshake
# Pings and pongs.  Clients ping once a second at most, and what a slow network has held
# up comes all at once.
CONTROL_BURST = 100
CONTROL_PER_S = 10.0
# What the event loop parses of one client before others have their turn.  Asyncio's 256
# KiB can be 43,000 empty frames, which took 0.7 s.
READ_BYTES = 1 << 15


class SocketClosed(Exception):
    """The socket is closed; nothing can be received or sent any more."""


class Socket(Protocol):
    """A message socket with one client; what it says may raise ``SocketClosed``."""

    @property
    def peer(self) -> str:
        """The address at the other end; "local" for a Unix socket."""

    async def receive(self) -> str | bytes:
        """The next message; may be cancelled without losing one.

        Raises ``ClientError``, once, where what comes is no message.
        """

    async def send(self, text: str) -> None:
        """Send one text message; returns when it is on its way."""

    async def ping(self) -> Awaitable[object]:
        """Send a ping; what is returned can be awaited for its answer."""

    async def close(self, code: int, reason: str = "") -> None:
        """Close, in bounded time whatever the peer does; raises nothing."""

    async def wait_closed(self) -> None:
        """Return when it is closed, by whomever; raises nothing."""

    @property
    def own_close_code(self) -> int:
        """The code that it was closed with from this end; 0 if the peer closed it."""

    @property
    def peer_close_code(self) -> int:
        """The code that came from the peer, first or as its answer; 0 if none did."""


class WebSocket:
    """A ``Socket`` carried by websockets' server."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    @property
    def peer(self) -> str:
        """See ``Socket``."""
        address = self._connection.remote_address
        return str(address[0]) if address else "local"

    async def receive(self) -> str | bytes:
        """See ``Socket``."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise SocketClosed from closed

    async def send(self, text: str) -> None:
        """See ``Socket``."""
        try:
            await self._connection.send(text)
        except ConnectionClosed as closed:
            raise SocketClosed from closed

    async def ping(self) -> Awaitable[object]:
        """See ``Socket``."""
        try:
            return _answer(await self._connection.ping())
        except ConnectionClosed as closed:
            raise SocketClosed from closed

    async def close(self, code: int, reason: str = "") -> None:
        """See ``Socket``.

        websockets' own close waits without a limit while the peer reads nothing.
        """
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S + 1):
                await self._connection.close(code, reason)
        except TimeoutError:
            self._connection.transport.abort()

    async def wait_closed(self) -> None:
        """See ``Socket``."""
        await self._connection.wait_closed()

    @property
    def own_close_code(self) -> int:
        """See ``Socket``."""
        closed = self._connection.protocol.close_exc
        if closed.sent is None or closed.rcvd_then_sent:
            return 0
        return closed.sent.code

    @property
    def peer_close_code(self) -> int:
        """See ``Socket``."""
        close = self._connection.protocol.close_rcvd
        return 0 if close is None else close.code


async def _answer(pong: Awaitable[float]) -> float:
    try:
        return await pong
    except ConnectionClosed as closed:
        raise SocketClosed from closed
