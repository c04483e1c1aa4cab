"""What one client is still to be sent, and how its socket is closed.

A newer partial takes the place of an unsent older one, so only a client that reads
nothing at all makes its queue grow; it has a bound for that case.  What is posted while
nothing is being sent counts for nothing: the client had no chance to read it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from whisper_live.protocols.base import Close, Message
from whisper_live.server.socket import Socket, SocketClosed

__all__ = ["Sender"]

_MOST_CHARACTERS = 1 << 19  # unsent; a message has a quarter of this at most


class Sender:
    """Sends in order; ``sent`` is told how long each message took (s).

    ``sent`` must not lead back to the sender's owner, or both would stay in memory
    until the collector comes.
    """

    def __init__(
        self, socket: Socket, *, limit: int, sent: Callable[[float], None]
    ) -> None:
        self.peer_ended = asyncio.Event()  # it said END_OF_AUDIO, or has gone
        self.newest_s: float | None = None  # that the newest message took
        self._socket = socket
        self._limit = limit
        self._sent = sent
        self._items: deque[Message | Close] = deque()
        self._characters = 0  # of all items
        self._filled = asyncio.Event()
        self._is_sending = False  # and the peer is to read it
        self._is_abandoned = False

    def post(self, item: Message | Close) -> bool:
        """Queue a message or the close; False if a bound is passed.

        The bounds hold for what waits behind a message that is being sent; one of any
        length may (a final transcript of hours has megabytes).
        """
        if isinstance(item, Close):
            self._items.append(item)
        else:
            newest = self._items[-1] if self._items else None
            if isinstance(newest, Message) and newest.replaceable and item.replaceable:
                self._items.pop()
                self._characters -= len(newest.text)
            if (self._is_sending and self._items) and (
                len(self._items) >= self._limit
                or self._characters + len(item.text) > _MOST_CHARACTERS
            ):
                return False
            self._items.append(item)
            self._characters += len(item.text)
        self._filled.set()
        return True

    @property
    def is_empty(self) -> bool:
        """Whether all messages that were posted are sent, or being sent."""
        return not self._items or isinstance(self._items[0], Close)

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
                    await self._socket.close(item.code, item.reason)
                    return
                self._characters -= len(item.text)
                began = loop.time()
                self._is_sending = True
                await self._socket.send(item.text)
                self._is_sending = False
                self.newest_s = loop.time() - began
                self._sent(self.newest_s)
        except SocketClosed:
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
