"""Whether the peer is still there: pings, and what their silence means.

websockets has a keepalive of its own, which cannot be used here.  It takes a client
that is not read (no room, ``audio-rate``) for dead, since its pong waits behind its
audio; and it waits without a limit to write its ping to a peer that reads nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from whisper_live.server.socket import Socket, SocketClosed

__all__ = ["NO_ANSWER", "Keepalive"]

NO_ANSWER = "no answer to pings"  # why a dead socket is closed

_INTERVAL_S = 10.0
_TIMEOUT_S = 20.0  # a busy browser tab answers late; a dead one never


class Keepalive:
    """Pings one peer; closes its socket when nothing at all comes any more."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._listens_since: float | None = None  # loop time

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Around a read: only then does silence say anything about the peer."""
        self._listens_since = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self._listens_since = None

    async def run(self) -> None:
        """Ping until the socket is closed, by whomever."""
        with contextlib.suppress(SocketClosed):
            while True:
                await asyncio.sleep(_INTERVAL_S)
                if not await self._answers() and self._heard_nothing():
                    await self._socket.close(1011, NO_ANSWER)
                    return

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await (await self._socket.ping())
        except TimeoutError:
            return False
        return True

    def _heard_nothing(self) -> bool:
        since = self._listens_since
        now = asyncio.get_running_loop().time()
        return since is not None and now - since >= _TIMEOUT_S
