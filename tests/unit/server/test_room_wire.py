"""How long a reader's peer is waited for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tests.virtual_time import settle, virtual_time
from whisper_live.server.http.room_pages import _Wire


class Peer:
    """A request whose peer has so many bytes to read; its own writer and transport."""

    def __init__(self, unread: int) -> None:
        self.unread = unread
        self.writer = self.transport = self.protocol = self
        self._taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def writing_paused(self) -> bool:
        return self.unread > 0

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_extra_info(self, name: str) -> Any:
        return None

    def get_write_buffer_size(self) -> int:
        return self.unread

    async def drain(self) -> None:
        """As aiohttp's: all who drain await one future, and a cancel cancels it."""
        if self.unread:
            await self._taken

    def read(self, count: int) -> None:
        self.unread -= count
        if not self.unread:
            self._taken.set_result(None)

    def vanish(self) -> None:
        self._taken.set_exception(ConnectionResetError())


def wire_of(peer: Peer) -> _Wire:
    return _Wire(cast(Any, peer))


@virtual_time
async def test_a_peer_that_reads_a_little_is_waited_for() -> None:
    peer = Peer(1000)
    loop = asyncio.get_running_loop()
    for seconds in range(1, 11):
        loop.call_later(50.0 * seconds, peer.read, 100)
    assert await wire_of(peer).has_drained(60.0)
    assert loop.time() == 1500.0


@virtual_time
async def test_a_peer_that_reads_nothing_is_not() -> None:
    peer = Peer(1000)
    asyncio.get_running_loop().call_later(50.0, peer.read, 1)
    wire = wire_of(peer)
    assert not await wire.has_drained(60.0)
    assert asyncio.get_running_loop().time() == 1120.0
    peer.read(999)  # it wakes up after all
    assert await wire.has_drained(60.0)
    await peer.drain()  # which nobody has cancelled


@virtual_time
async def test_a_peer_that_is_gone_is_said_to_be() -> None:
    peer = Peer(1000)
    asyncio.get_running_loop().call_later(5.0, peer.vanish)
    with pytest.raises(ConnectionResetError):
        await wire_of(peer).has_drained(60.0)
    await settle()
