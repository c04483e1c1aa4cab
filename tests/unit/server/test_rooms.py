"""Who speaks in a room, who is sent what, and how a room ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.server.test_room import events, lines, said, texts
from tests.virtual_time import settle, virtual_time
from whisper_live.config.model import AccessConfig, Config, LimitConfig, ListenConfig
from whisper_live.errors import HandshakeError, Overloaded
from whisper_live.observability.metrics import Metrics
from whisper_live.server import room as texts_of
from whisper_live.server import rooms as module
from whisper_live.server.access import Caller
from whisper_live.server.room import EVENTS, SUBTITLES, View
from whisper_live.server.rooms import Fate, Reader, Rooms
from whisper_live.session.updates import Update

ALICE = Caller("192.0.2.1", "alice")
BOB = Caller("192.0.2.2", "bob")


class Pipe:
    """A sink whose peer reads unless it ``is_full``."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.is_full = False
        self.is_gone = False

    def write(self, framed: bytes) -> None:
        assert not self.is_full, "it was to be waited for"
        self.told.append(framed)


def as_it_is(piece: bytes) -> bytes:
    return piece


def enter(rooms: Rooms, name: str = "hall", view: View = EVENTS) -> tuple[Reader, Pipe]:
    """A reader that has been greeted, and what it is told from then on."""
    room, pipe = rooms.enter(name), Pipe()
    _, mark = view.greet(room.text, "")
    reader = Reader(view, mark, pipe, as_it_is)
    room.join(reader)
    return reader, pipe


def made(
    access: AccessConfig = AccessConfig(),
    *,
    metrics: Metrics | None = None,
    **limits: Any,
) -> Rooms:
    config = Config(
        listen=ListenConfig(http_port=-1), access=access, limits=LimitConfig(**limits)
    )
    return Rooms(config, metrics or Metrics(), most_files=10_000)


def sample(metrics: Metrics, name: str) -> float:
    for line in metrics.render().decode().splitlines():
        if line.startswith(f"whisper_live_{name} "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {name}")


def states(pipe: Pipe) -> list[str]:
    told = events(b"".join(pipe.told))
    return [data["state"] for name, _, data in told if name == "state"]


def refusal(rooms: Rooms, name: str, caller: Caller) -> str:
    with pytest.raises(HandshakeError) as refused:
        rooms.claim(name, caller)
    return refused.value.kind


# -------------------------------------------------------------------------- speakers


@virtual_time
async def test_a_room_has_one_speaker_at_a_time() -> None:
    rooms = made()
    first = rooms.claim("hall", ALICE)
    assert refusal(rooms, "hall", ALICE) == "room_taken"
    rooms.claim("attic", ALICE).end()
    first.end()  # it never began: nothing is left of it
    assert rooms.find("hall") is None
    rooms.claim("hall", BOB).end()


@virtual_time
async def test_a_name_is_its_holders_until_the_room_is_over() -> None:
    rooms = made(room_grace_s=60.0)
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    speech.end()
    assert refusal(rooms, "hall", BOB) == "room_taken"
    rooms.claim("hall", ALICE).end()  # who did not begin leaves it as it was
    assert refusal(rooms, "hall", BOB) == "room_taken"
    await asyncio.sleep(61.0)
    assert rooms.find("hall") is None
    rooms.claim("hall", BOB).end()


@virtual_time
async def test_without_rooms_or_their_port_nobody_may_publish() -> None:
    assert refusal(made(AccessConfig(rooms="off")), "hall", ALICE) == "room_off"
    config = Config(listen=ListenConfig(http_port=0))
    without_port = Rooms(config, Metrics(), most_files=10_000)
    assert refusal(without_port, "hall", ALICE) == "room_off"


@virtual_time
async def test_the_operator_names_who_may_publish() -> None:
    rooms = made(AccessConfig(keys_file="keys", room_speakers="alice, carol"))
    rooms.claim("hall", ALICE).end()
    assert refusal(rooms, "hall", BOB) == "room_speaker"
    assert refusal(rooms, "hall", Caller("192.0.2.3", None)) == "room_speaker"


@virtual_time
async def test_only_so_many_rooms_wait_for_their_speakers() -> None:
    metrics = Metrics()
    rooms = made(metrics=metrics, max_sessions=3)
    for number in range(10):
        speech = rooms.claim(f"room{number}", ALICE)
        speech.begin(None)
        speech.end()
    kept = [n for n in range(10) if rooms.find(f"room{n}") is not None]
    assert kept == [7, 8, 9]
    assert sample(metrics, "rooms") == 3


# --------------------------------------------------------------------------- readers


@virtual_time
async def test_all_readers_are_told_the_same_bytes() -> None:
    rooms = made()
    early, early_pipe = enter(rooms)
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    await settle()
    crowd = [enter(rooms)[1] for _ in range(module._SLICE * 2 + 3)]
    speech.tell(lines(2))
    await settle()
    speech.tell(Update(interim=said(5, completed=False)))
    await settle()
    assert states(early_pipe) == ["live"]
    for pipe in (early_pipe, *crowd):
        assert texts(b"".join(pipe.told)) == ["line 0", "line 1"]
        assert events(pipe.told[-1])[-1][0] == "partial"
    # Once written, for all: the very same object.
    assert len({id(pipe.told[-1]) for pipe in crowd}) == 1
    assert not early.fate.done()


@virtual_time
async def test_a_reader_that_is_full_is_told_later_what_it_missed() -> None:
    rooms = made()
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    slow, slow_pipe = enter(rooms)
    _, quick_pipe = enter(rooms)
    await settle()
    slow_pipe.is_full = True
    slow.stop(Fate.FULL)
    room = rooms.find("hall")
    assert room is not None
    room.leave(slow)
    for number in range(5):
        speech.tell(lines(1, first=number))
        speech.tell(Update(interim=said(50 + number, completed=False)))
        await settle()
    assert texts(b"".join(slow_pipe.told)) == []
    assert len(texts(b"".join(quick_pipe.told))) == 5
    slow_pipe.is_full = False
    room.go_on(slow)
    await settle()
    caught_up = b"".join(slow_pipe.told)
    assert texts(caught_up) == [f"line {n}" for n in range(5)]
    # Of what may change it gets what stands now.
    partials = [data for name, _, data in events(caught_up) if name == "partial"]
    assert [each["text"] for each in partials] == ["line 54"]
    assert not slow.fate.done()


@virtual_time
async def test_who_fills_up_is_set_aside_and_not_written_to() -> None:
    rooms = made()
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    reader, pipe = enter(rooms)
    await settle()

    class Filling(Pipe):
        def write(self, framed: bytes) -> None:
            super().write(framed)
            self.is_full = True

    reader.sink = filling = Filling()
    speech.tell(lines(1))
    await settle()
    assert await reader.fate is Fate.FULL
    speech.tell(lines(1, first=1))
    await settle()
    assert len(filling.told) == 1


@virtual_time
async def test_whose_next_line_is_gone_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(texts_of, "MOST_KEPT_LINES", 10)
    rooms = made()
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    reader, pipe = enter(rooms)
    await settle()
    room = rooms.find("hall")
    assert room is not None
    room.leave(reader)
    speech.tell(lines(20))
    room.join(reader)
    assert await reader.fate is Fate.NOT_KEPT
    assert texts(b"".join(pipe.told)) == []


@virtual_time
async def test_a_reader_that_fails_costs_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    rooms = made(metrics=metrics)
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    reader, _ = enter(rooms)
    _, good = enter(rooms)
    await settle()

    class Broken(Pipe):
        def write(self, framed: bytes) -> None:
            raise RuntimeError("a bug")

    reader.sink = Broken()
    speech.tell(lines(1))
    await settle()
    assert await reader.fate is Fate.FAILED
    assert texts(b"".join(good.told)) == ["line 0"]
    assert b'errors_total{type="internal"} 1.0' in metrics.render()


@virtual_time
async def test_who_is_gone_is_written_to_no_more() -> None:
    rooms = made()
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    _, pipe = enter(rooms)
    await settle()
    before = len(pipe.told)
    pipe.is_gone = True
    speech.tell(lines(1))
    await settle()
    assert len(pipe.told) == before


@virtual_time
async def test_places_of_readers_have_a_bound() -> None:
    metrics = Metrics()
    rooms = made(metrics=metrics, max_room_readers=2)
    enter(rooms)
    enter(rooms, "attic")
    with pytest.raises(Overloaded) as refused:
        rooms.enter("hall")
    assert refused.value.kind == "room_readers"
    assert b'sessions_rejected_total{reason="room_readers"} 1.0' in metrics.render()
    assert sample(metrics, "room_readers") == 2
    hall = rooms._rooms["hall"]
    rooms.leave(hall)
    assert sample(metrics, "room_readers") == 1
    rooms.enter("hall")


@virtual_time
async def test_readers_get_no_files_that_sessions_need() -> None:
    config = Config(limits=LimitConfig(max_sessions=10))
    rooms = Rooms(config, Metrics(), most_files=86)
    for _ in range(2):
        rooms.enter("hall")
    with pytest.raises(Overloaded):
        rooms.enter("hall")


@virtual_time
async def test_a_room_that_only_readers_made_goes_with_them() -> None:
    rooms = made()
    first, second = rooms.enter("hall"), rooms.enter("hall")
    assert first is second and rooms.find("hall") is None
    rooms.leave(first)
    assert list(rooms._rooms) == ["hall"]
    rooms.leave(second)
    assert list(rooms._rooms) == []


@virtual_time
async def test_who_hears_nothing_is_told_that_the_room_is_there() -> None:
    rooms = made()
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    _, pipe = enter(rooms)
    _, subtitles = enter(rooms, view=SUBTITLES)
    await settle()
    pipe.told.clear()
    await asyncio.sleep(module._IDLE_S * 4 + 1)
    assert pipe.told == [b":\n\n"] * 4
    assert subtitles.told == [b"\n"] * 4


@virtual_time
async def test_who_hears_something_needs_no_sign_of_life() -> None:
    rooms = made()
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    _, pipe = enter(rooms)
    for number in range(40):
        speech.tell(lines(1, first=number))
        await asyncio.sleep(module._IDLE_S / 4)
    assert b":\n\n" not in pipe.told


# ------------------------------------------------------------------------------ ends


@virtual_time
async def test_a_room_waits_for_its_speaker_and_then_is_over() -> None:
    metrics = Metrics()
    rooms = made(metrics=metrics, room_grace_s=60.0)
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    reader, pipe = enter(rooms)
    subtitles, _ = enter(rooms, view=SUBTITLES)
    speech.tell(lines(2))
    speech.end()
    speech.tell(lines(9))  # too late
    await settle()
    assert await subtitles.fate is Fate.TOLD
    _, late = enter(rooms)
    await settle()
    assert texts(b"".join(late.told)) == ["line 0", "line 1"]
    await asyncio.sleep(59.0)
    assert not reader.fate.done() and sample(metrics, "rooms") == 1
    await asyncio.sleep(2.0)
    assert await reader.fate is Fate.TOLD
    assert states(pipe) == ["left", "over"] and states(late) == ["over"]
    assert texts(b"".join(pipe.told)) == ["line 0", "line 1"]
    assert rooms.find("hall") is None and sample(metrics, "rooms") == 0


@virtual_time
async def test_a_speaker_who_comes_back_finds_the_readers() -> None:
    rooms = made(room_grace_s=60.0)
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    reader, pipe = enter(rooms)
    speech.tell(lines(1))
    await asyncio.sleep(10.0)
    speech.end()
    await asyncio.sleep(30.0)
    speech = rooms.claim("hall", ALICE)
    await asyncio.sleep(60.0)  # its model is being loaded
    speech.begin("de")
    speech.tell(lines(1, first=1))
    await asyncio.sleep(100.0)
    told = events(b"".join(pipe.told))
    assert states(pipe) == ["left", "live"]
    assert [data["start"] for name, _, data in told if name == "line"] == [0.0, 101.0]
    assert not reader.fate.done()
    speech.end()


@virtual_time
async def test_without_grace_a_room_is_over_at_once() -> None:
    rooms = made(room_grace_s=0.0)
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    reader, pipe = enter(rooms)
    speech.tell(lines(1))
    speech.end()
    await asyncio.sleep(0.001)
    assert await reader.fate is Fate.TOLD
    assert texts(b"".join(pipe.told)) == ["line 0"] and states(pipe)[-1] == "over"


@virtual_time
async def test_when_the_server_stops_all_are_told() -> None:
    rooms = made()
    speech = rooms.claim("hall", ALICE)
    speech.begin("en")
    reader, pipe = enter(rooms)
    waiting, waiting_pipe = enter(rooms, "attic")
    speech.tell(lines(1))
    rooms.close()
    assert await reader.fate is Fate.TOLD and await waiting.fate is Fate.TOLD
    assert texts(b"".join(pipe.told)) == ["line 0"]
    assert states(pipe) == states(waiting_pipe) == ["restarting"]
    with pytest.raises(Overloaded) as refused:
        rooms.enter("hall")
    assert refused.value.kind == "draining"
    speech.end()
    await settle()
    assert states(pipe) == ["restarting"]
