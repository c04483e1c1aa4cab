"""What a session takes up is given back, however far it came."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import pytest

from tests.faults.collector import no_collector
from whisper_live.config.model import LimitConfig
from whisper_live.errors import HandshakeError, Overloaded
from whisper_live.inference.model_registry import Model
from whisper_live.protocols.base import Hello
from whisper_live.server.access import Caller
from whisper_live.server.admission import Admission
from whisper_live.server.keepalive import Keepalive
from whisper_live.server.place import Place
from whisper_live.server.resume import NoSocket
from whisper_live.server.services import Services
from whisper_live.server.socket import SocketClosed

CALLER = Caller("local", None)
UNUSED: Any = None
ROOM = Hello(room="stage")


class Registry:
    """One model, which counts its holders and may not come, or not yet."""

    def __init__(self) -> None:
        self.held = 0
        self.fault: Exception | None = None
        self.loaded = asyncio.Event()
        self.loaded.set()

    def choose(self, asked: str | None, language: str | None) -> str:
        return "small"

    async def hold(self, name: str) -> Model:
        await self.loaded.wait()
        if self.fault is not None:
            raise self.fault
        self.held += 1
        return Model(name, UNUSED, UNUSED)

    def release(self, model: Model) -> None:
        assert model.name == "small"
        self.held -= 1


class Rooms:
    """One room; its publication is itself, and may come to an end twice."""

    def __init__(self) -> None:
        self.is_claimed = False
        self.is_taken = False

    def claim(self, room: str, caller: Caller) -> Rooms:
        if self.is_taken:
            raise HandshakeError("somebody speaks there", kind="room_taken")
        self.is_claimed = True
        return self

    def end(self) -> None:
        self.is_claimed = False


class Whole:
    """A server with one place."""

    def __init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.registry, self.rooms = Registry(), Rooms()
        registry: Any = self.registry
        rooms: Any = self.rooms
        self.socket = NoSocket()
        limits = LimitConfig(max_sessions=1)
        self.services = Services(
            config=UNUSED,
            registry=registry,
            metrics=UNUSED,
            pool=UNUSED,
            ids=UNUSED,
            detector=UNUSED,
            access=UNUSED,
            admission=Admission(limits, clock=clock, queue_delay_s=lambda name: 0.0),
            resumption=UNUSED,
            rooms=rooms,
        )

    def place(self) -> Place:
        return Place(self.socket, Keepalive(self.socket), self.services)

    async def take(self) -> Place:
        place = self.place()
        await place.take(ROOM, CALLER, behind_s=lambda: 0.0)
        return place

    def assert_taken(self, is_taken: bool) -> None:
        assert (self.registry.held, self.rooms.is_claimed) == (is_taken, is_taken)


@pytest.mark.parametrize("way", ["release", "withdraw"])
async def test_all_of_it_is_taken_and_all_of_it_given_back(way: str) -> None:
    whole = Whole()
    place = await whole.take()
    whole.assert_taken(True)
    assert place.model.name == "small" and place.publication is not None
    with pytest.raises(Overloaded):
        await whole.take()
    whole.assert_taken(True)
    place.unpublish()
    getattr(place, way)()
    whole.assert_taken(False)
    (await whole.take()).release()


@pytest.mark.parametrize("fault", ["room", "model", "left"])
async def test_who_does_not_get_all_keeps_nothing(fault: str) -> None:
    whole = Whole()
    whole.rooms.is_taken = fault == "room"
    if fault == "model":
        whole.registry.fault = Overloaded("no memory is left", wait_minutes=1.0)
    if fault == "left":
        whole.registry.loaded.clear()
        whole.socket.gone.set()
    with pytest.raises((HandshakeError, Overloaded, SocketClosed)):
        await whole.take()
    whole.assert_taken(False)
    whole.rooms.is_taken, whole.registry.fault = False, None
    whole.registry.loaded.set()
    whole.socket = NoSocket()
    (await whole.take()).release()
    whole.assert_taken(False)


async def test_what_was_given_back_does_not_lead_to_the_connection() -> None:
    """Else all of it would stay in memory until the collector comes."""

    class Owner:
        def __init__(self, place: Place) -> None:
            self.place = place

        def behind_s(self) -> float:
            return 0.0

    with no_collector():
        whole = Whole()
        owner = Owner(whole.place())
        await owner.place.take(ROOM, CALLER, behind_s=owner.behind_s)
        owner.place.release()
        seen = weakref.ref(owner)
        del owner
        assert seen() is None
