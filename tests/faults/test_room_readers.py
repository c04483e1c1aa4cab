"""Readers of rooms that stall, fall behind, vanish or come as many; and SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.e2e.support import Client, running, whole_session, with_http
from tests.e2e.test_rooms import reader
from tests.faults.attacks import abort
from tests.faults.process import daemon
from tests.faults.test_http_stops import HTTP
from tests.faults.test_peers import FOREVER, wait_for
from tests.unit.server.test_room import events, lines, texts
from whisper_live.audio import SAMPLE_RATE
from whisper_live.server import room
from whisper_live.server.access import Caller
from whisper_live.server.http import room_pages
from whisper_live.server.rooms import Publication
from whisper_live.server.server import Server
from whisper_live.session.updates import Segment, Update
from whisper_live.testing.marks import read_numbers, write_speech

SPEECH = write_speech([[1, 2, 3]], pause_s=0.2)[0]
ASKS = b"GET /room/hall/events HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
ASKS_NEWER = ASKS.replace(b"HTTP/1.0", b"HTTP/1.1")


def long_lines(count: int, first: int = 0) -> Update:
    """Lines of 1 KB each, of which a room keeps 200: more than a stalled peer takes."""
    return Update(
        completed=tuple(
            Segment(
                n * SAMPLE_RATE, (n + 1) * SAMPLE_RATE, f" line {n} {'x' * 900}", True
            )
            for n in range(first, first + count)
        )
    )


def numbers(told: bytes) -> list[int]:
    return [int(text.split()[1]) for text in texts(told)]


def speaker(server: Server) -> Publication:
    speech = server.rooms.claim("hall", Caller("127.0.0.1", None))
    speech.begin("en")
    return speech


@contextlib.asynccontextmanager
async def stalled(
    server: Server, asks: bytes = ASKS
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A reader that reads nothing more, and whose system takes little for it."""
    below = socket.socket()
    below.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    below.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(below, ("127.0.0.1", server.http_port))
    source, sink = await asyncio.open_connection(sock=below, limit=4096)
    sink.write(asks)
    head = await source.readuntil(b"retry: 2000\n\n")
    assert b" 200 OK\r\n" in head
    sink.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        yield source, sink
    finally:
        abort(sink)


async def rest_of(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> bytes:
    """It wakes up and reads what there is, to the end."""
    sink.transport.resume_reading()  # type: ignore[attr-defined]
    return await source.read()


def unchunked(told: bytes) -> bytes:
    """What the chunks hold, the first of which was begun; fails without a last one."""
    _, _, told = told.partition(b"\r\n")
    whole = b""
    while not told.startswith(b"0\r\n\r\n"):
        size, _, rest = told.partition(b"\r\n")
        length = int(size, 16)
        whole += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        told = rest[length + 2 :]
    return whole


@pytest.mark.parametrize("asks", [ASKS, ASKS_NEWER], ids=["1.0", "1.1"])
async def test_a_reader_that_takes_nothing_is_dropped_and_told(asks: bytes) -> None:
    async with running(with_http(idle_timeout_s=1.0)) as server:
        speech = speaker(server)
        async with stalled(server, asks) as (source, sink), reader(server) as quick:
            speech.tell(long_lines(200))
            while len(quick.events) < 201:
                await quick.next()
            await wait_for(server, 'room_readers_dropped_total{reason="stalled"} 1.0')
            told = await rest_of(source, sink)
    if asks is ASKS_NEWER:
        told = unchunked(told)
    found = numbers(told)
    assert found == list(range(len(found))) and 0 < len(found) < 200
    assert events(told)[-1] == ("state", "", {"state": "too_slow"})


async def test_a_reader_for_whom_too_much_is_said_is_dropped_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "MOST_KEPT_LINES", 100)
    async with running(with_http(idle_timeout_s=FOREVER)) as server:
        speech = speaker(server)
        async with stalled(server) as (source, sink), reader(server) as quick:
            for number in range(600):
                speech.tell(long_lines(1, first=number))
                while len(quick.events) < 2 + number:
                    await quick.next()
            told = await rest_of(source, sink)
        await wait_for(server, 'room_readers_dropped_total{reason="not_kept"} 1.0')
    found = numbers(told)
    assert found == list(range(len(found))) and 0 < len(found) < 600
    assert events(told)[-1] == ("state", "", {"state": "too_slow"})


async def test_a_reader_that_was_slow_loses_nothing_but_time() -> None:
    async with running(with_http(idle_timeout_s=FOREVER, room_grace_s=0.0)) as server:
        speech = speaker(server)
        async with stalled(server) as (source, sink), reader(server) as quick:
            for number in range(200):
                speech.tell(long_lines(1, first=number))
                while len(quick.events) < 2 + number:
                    await quick.next()
            speech.end()
            await quick.rest()
            told = await rest_of(source, sink)
        await wait_for(server, "whisper_live_room_readers 0.0")
        assert b"readers_dropped_total{" not in server.metrics.render()
    assert numbers(told) == list(range(200))
    assert events(told)[-1] == ("state", "", {"state": "over", "language": "en"})


@pytest.mark.parametrize("asks", [ASKS, ASKS_NEWER], ids=["1.0", "1.1"])
async def test_who_never_wakes_up_is_let_go(
    asks: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(room_pages, "_FAREWELL_S", 0.1)
    async with running(with_http(idle_timeout_s=1.0)) as server:
        speech = speaker(server)
        async with stalled(server, asks):
            speech.tell(long_lines(200))
            await wait_for(server, "whisper_live_room_readers 0.0")
        assert b'readers_dropped_total{reason="stalled"} 1.0' in server.metrics.render()
    assert [r.getMessage() for r in caplog.records if r.levelname != "INFO"] == []


async def test_readers_that_vanish_give_their_places_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(with_http()) as server:
        speech = speaker(server)
        sinks = []
        for _ in range(50):
            source, sink = await asyncio.open_connection("127.0.0.1", server.http_port)
            sink.write(ASKS)
            sinks.append(sink)
        await wait_for(server, "whisper_live_room_readers 50.0")
        for number, sink in enumerate(sinks):
            abort(sink)
            speech.tell(lines(1, first=number))
        await wait_for(server, "whisper_live_room_readers 0.0")
    assert [r.getMessage() for r in caplog.records if r.levelname != "INFO"] == []


async def test_a_session_goes_on_beside_a_stalled_reader() -> None:
    async with running(with_http()) as server:
        speech = speaker(server)
        async with stalled(server):
            speech.tell(long_lines(200))
            assert (await whole_session(server, SPEECH)).words == [1, 2, 3]


async def test_a_server_that_stops_waits_for_no_stalled_reader() -> None:
    async with running(with_http(idle_timeout_s=FOREVER)) as server:
        speech = speaker(server)
        async with stalled(server), reader(server) as quick:
            speech.tell(long_lines(200))
            await server.close()
            await quick.rest()
    assert quick.states[-1] == "restarting"
    assert len(quick.events) == 200 + 2


async def test_at_sigterm_readers_get_the_last_text_and_are_told(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path, *HTTP, "--oracle-call-s", "0.3") as server:
        port = await server.http_port()
        source, sink = await asyncio.open_connection("127.0.0.1", port)
        sink.write(ASKS)
        await source.readuntil(b"retry: 2000\n\n")
        async with connect(f"ws://127.0.0.1:{server.port}") as connection:
            peer = Client(connection)
            await peer.hello(room="hall")
            await peer.wait_for("message")
            await peer.say(SPEECH)
            server.kill()
            assert await peer.rest() == 1012
        told = await source.read()
        assert await server.ended() == 0
        sink.close()
    assert read_numbers(" ".join(texts(told))) == [1, 2, 3]
    assert events(told)[-1][2]["state"] == "restarting"
    assert "Traceback" not in server.log
