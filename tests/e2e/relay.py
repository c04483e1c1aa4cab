"""A relay between clients and a server, whose connections a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

__all__ = ["Relay"]


class Relay:
    """Passes bytes both ways; ``cut`` breaks all connections without a word.

    It also does so by itself after each of the numbers of bytes in ``lives``.
    """

    def __init__(self, to_port: int, lives: Iterable[int] = ()) -> None:
        self.to_port = to_port  # of connections from now on
        self._lives = iter(lives)
        self._left = next(self._lives, None)  # bytes until the next cut
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.connections = 0

    @classmethod
    @asynccontextmanager
    async def running(
        cls, to_port: int, lives: Iterable[int] = ()
    ) -> AsyncIterator[Relay]:
        """Listen on a free port until the end, and cut what is left then."""
        self = cls(to_port, lives)
        listening = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listening.close()
            self.cut()
            await listening.wait_closed()

    def cut(self) -> None:
        """Break every connection; what is under way is lost."""
        for writer in self._writers:
            writer.transport.abort()

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:  # nobody listens there any more
            writer.transport.abort()
            return
        ends = {writer, back}
        self._writers |= ends
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                passed = self._spent(data)
                writer.write(passed)
                if len(passed) < len(data):  # nothing may follow on what is missing
                    self.cut()
                    return
                await writer.drain()
            writer.write_eof()
        except (OSError, RuntimeError):
            writer.transport.abort()  # it was cut

    def _spent(self, data: bytes) -> bytes:
        """What may still pass; less than all of it before a cut."""
        if self._left is None:
            return data
        if len(data) <= self._left:
            self._left -= len(data)
            return data
        passed = data[: self._left]
        self._left = next(self._lives, None)
        return passed
