"""What one client is still to be sent, and how its socket is closed.

A newer partial takes the place of an unsent older one, so only a client that reads
nothing at all makes the outbox grow; it has a bound for that case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from whisper_live.protocols import whisperlive as protocol
from whisper_live.session.events import Close, Send

__all__ = ["CLOSE_TIMEOUT_S", "Sender", "close_socket"]

CLOSE_TIMEOUT_S = 2.0  # for the peer's half of the closing handshake
_MOST_CHARACTERS = 1 << 19  # unsent; a message with 500 segments is some 100,000


async def close_socket(socket: ServerConnection, code: int, reason: str = "") -> None:
    """Close, and abort where the peer does not take the close in time.

    websockets' own close waits without a limit while the peer reads nothing.
    """
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S + 1):
            await socket.close(code, reason)
    except TimeoutError:
        socket.transport.abort()


@dataclass(frozen=True, slots=True)
class _Text:
    """A message as it goes out: a tenth of the memory that its dict would take."""

    text: str
    replaceable: bool


class Sender:
    """Sends in order; ``sent`` is told how long each message took (s)."""

    def __init__(
        self, socket: ServerConnection, *, limit: int, sent: Callable[[float], None]
    ) -> None:
        self.peer_ended = asyncio.Event()  # it said END_OF_AUDIO, or has gone
        self._socket = socket
        self._limit = limit
        self._sent = sent
        self._items: deque[_Text | Close] = deque()
        self._characters = 0  # of all items
        self._filled = asyncio.Event()
        self._is_abandoned = False

    def post(self, item: Send | Close) -> bool:
        """Queue a message or the close; False if a bound is passed."""
        if isinstance(item, Close):
            self._items.append(item)
        else:
            message = _Text(protocol.encode(item.message), item.replaceable)
            newest = self._items[-1] if self._items else None
            if isinstance(newest, _Text) and newest.replaceable and item.replaceable:
                self._items.pop()
                self._characters -= len(newest.text)
            if self._items and (
                len(self._items) >= self._limit
                or self._characters + len(message.text) > _MOST_CHARACTERS
            ):
                return False
            self._items.append(message)
            self._characters += len(message.text)
        self._filled.set()
        return True

    def abandon(self) -> None:
        """Nobody is there any more: ``run`` returns."""
        self._is_abandoned = True
        self.peer_ended.set()
        self._filled.set()

    async def run(self) -> None:
        """Send what is posted, until a close was performed or the peer is gone."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                while not self._items:
                    if self._is_abandoned:
                        return
                    self._filled.clear()
                    await self._filled.wait()
                item = self._items.popleft()
                if isinstance(item, Close):
                    await self.hold(item.hold_s)
                    await close_socket(self._socket, item.code, item.reason)
                    return
                self._characters -= len(item.text)
                began = loop.time()
                await self._socket.send(item.text)
                self._sent(loop.time() - began)
        except ConnectionClosed:
            return

    async def hold(self, seconds: float) -> None:
        """Leave the socket open, so long at most, for a client that closes itself."""
        if not seconds:
            return
        gone = asyncio.create_task(self._socket.wait_closed())
        said = asyncio.create_task(self.peer_ended.wait())
        waiting = {gone} if self.peer_ended.is_set() else {gone, said}
        await asyncio.wait(
            waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in (gone, said):
            task.cancel()
