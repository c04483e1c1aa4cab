"""What a connection sees of the sockets that carry its session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from tests.virtual_time import settle
from whisper_live.server.resume import Change, ResumableSocket, Terms
from whisper_live.server.socket import SocketClosed


class Carrier:
    """A real socket that breaks when it is told to."""

    peer = "local"
    peer_close_code = 0

    def __init__(self) -> None:
        self.own_close_code = 0
        self.broken = asyncio.Event()

    async def receive(self) -> str | bytes:
        await self.broken.wait()
        raise SocketClosed

    async def send(self, text: str) -> None:
        raise AssertionError("nothing is sent here")

    async def ping(self) -> Awaitable[object]:
        raise AssertionError("nobody is asked here")

    async def close(self, code: int, reason: str = "") -> None:
        self.own_close_code = code
        self.broken.set()

    async def wait_closed(self) -> None:
        await self.broken.wait()


def kept(carrier: Carrier, changes: list[Change]) -> ResumableSocket:
    protocol: Any = None  # it renders messages, of which there are none
    made = ResumableSocket(carrier)
    made.keep(Terms(protocol, 60.0, lambda: (0, 0), lambda: None, changes.append))
    return made


async def test_who_breaks_the_rules_has_left() -> None:
    carrier, changes = Carrier(), list[Change]()
    socket = kept(carrier, changes)
    reading = asyncio.create_task(socket.receive())
    await settle()
    await carrier.close(1002)
    with pytest.raises(SocketClosed):
        await reading
    assert not socket.is_detached and changes == []


async def test_a_socket_that_breaks_leaves_the_session_waiting() -> None:
    carrier, changes = Carrier(), list[Change]()
    socket = kept(carrier, changes)
    reading = asyncio.create_task(socket.receive())
    await settle()
    carrier.broken.set()
    await settle()
    assert socket.is_detached and changes == ["detached"] and not reading.done()
    socket.release()
    with pytest.raises(SocketClosed):
        await reading


async def test_what_goes_on_elsewhere_is_not_over_here() -> None:
    carrier, changes = Carrier(), list[Change]()
    socket = kept(carrier, changes)
    socket.mute()
    await socket.close(1000)
    assert carrier.own_close_code == 1012
