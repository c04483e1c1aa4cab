"""Broken clients cost nothing and disturb nobody (rows 1 to 4; numbers in bench)."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.server import ServerProtocol

from tests.e2e.support import Client, client, quick, running, whole_session
from tests.faults.attacks import (
    ANSWERS,
    BINARY,
    CLOSE,
    FRAMES,
    HELLO,
    PING,
    PONG,
    REQUESTS,
    TEXT,
    BadConnection,
    abort,
    frame,
    malformed_session,
    open_raw,
    open_socket,
    upgrade,
)
from tests.faults.collector import no_collector
from tests.faults.process import get
from whisper_live.server.connection import Connection
from whisper_live.server.server import Server
from whisper_live.session.session import Session
from whisper_live.testing.marks import write_speech
from whisper_live.testing.oracle import OracleDetector, OracleEngine

WORDS = list(range(1, 25))
SPEECH = write_speech([WORDS[:12], WORDS[12:]], pause_s=0.8)[0]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def quiet(server: Server) -> None:
    """Until no session is open."""
    async with asyncio.timeout(10):
        while b"whisper_live_sessions 0.0" not in server.metrics.render():
            await asyncio.sleep(0.01)


async def at_most(tasks: int) -> None:
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > tasks:
            await asyncio.sleep(0.01)


async def test_broken_requests_and_frames_leave_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance = random.Random(1)
    bad = [BadConnection(make(chance)) for make in REQUESTS]
    bad += [BadConnection(upgrade(), make(chance)) for make in FRAMES]
    async with running() as server:
        await bad[-1].send(server.port)  # what the first one costs is not counted
        await at_most(3)
        files, tasks = open_files(), len(asyncio.all_tasks())
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                for each in bad:
                    group.create_task(each.send(server.port))
        await at_most(tasks)
        assert open_files() <= files
        peer = await whole_session(server, SPEECH)
    assert peer.words == WORDS
    assert [r for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(BINARY, b"abc", rsv=4), 1002),
        (frame(3, b"abc"), 1002),
        (frame(0, b"abc"), 1002),
        (frame(9, bytes(126)), 1002),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(BINARY, b"", length=2 << 20), 1009),
        (frame(BINARY, b"", length=1 << 62), 1009),
    ],
)
async def test_a_broken_frame_is_closed_with_its_code(bad: bytes, code: int) -> None:
    async with running() as server:
        reader, writer = await open_socket(server.port, bad)
        answer = await reader.read()
        abort(writer)
    assert b"\x88" in answer
    at = answer.rindex(b"\x88")
    assert int.from_bytes(answer[at + 2 : at + 4], "big") == code


async def test_malformed_sessions_end_with_a_documented_code_beside_a_healthy_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance = random.Random(2)
    bad = [malformed_session(chance) for _ in range(150)]
    async with running(quick(max_sessions=300)) as server, client(server) as neighbour:
        await neighbour.hello()
        await neighbour.say(SPEECH[: len(SPEECH) // 2])
        plays = [asyncio.create_task(each.play(server.port)) for each in bad]
        await neighbour.say(SPEECH[len(SPEECH) // 2 :])
        codes = await asyncio.gather(*plays)
        await neighbour.end()
        assert await neighbour.rest() == 1000
    assert neighbour.words == WORDS
    assert set(codes) <= ANSWERS
    assert len(set(codes)) >= 4  # else the attacks are all alike
    assert [r for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []


async def test_resets_in_mid_message_leave_no_session() -> None:
    async def reset(port: int) -> None:
        reader, writer = await open_socket(
            port, frame(TEXT, json.dumps(HELLO).encode())
        )
        await reader.readuntil(b"SERVER_READY")
        writer.write(frame(BINARY, bytes(999), length=60_000))
        await writer.drain()
        abort(writer)

    async with running(quick(max_sessions=100)) as server:
        for _ in range(2):
            await asyncio.gather(*[reset(server.port) for _ in range(50)])
            await quiet(server)
        page = server.metrics.render()
    assert b"whisper_live_sessions_total 100.0" in page


def alive() -> list[str]:
    kinds = (Connection, Session, ServerConnection, ServerProtocol)
    return [type(o).__name__ for o in gc.get_objects() if issubclass(type(o), kinds)]


@pytest.mark.parametrize(
    "end", ["leave", "leave for good", "stop", "reset", "refused", "bad frame"]
)
async def test_a_session_is_freed_at_its_end_and_not_by_the_collector(end: str) -> None:
    """Its memory would stay until a full collection, hundreds of sessions later."""
    wishes: dict[str, dict[str, object]] = {
        "refused": {"task": "x"},
        "leave for good": {"resume": True},
    }
    hello = json.dumps({**HELLO, **wishes.get(end, {})})
    async with running() as server:
        with no_collector():
            before = alive()
            for _ in range(3):
                if end == "stop":
                    await whole_session(server, SPEECH[:16000])
                    continue
                reader, writer = await open_socket(
                    server.port, frame(TEXT, hello.encode())
                )
                await reader.readuntil(b"}")
                if end == "reset":
                    writer.write(frame(BINARY, bytes(999), length=60_000))
                elif end == "bad frame":
                    writer.write(frame(3, b"abc"))
                    await reader.readuntil(b"\x88")
                else:
                    writer.write(frame(8, b"\x03\xe8"))
                await writer.drain()
                if end == "leave for good":  # else a reset may come before the close
                    await reader.read()
                abort(writer)
            async with asyncio.timeout(10):
                while alive() != before:
                    await asyncio.sleep(0.01)


async def test_a_peer_that_is_gone_is_not_read_to_its_end() -> None:
    """More than a minute of audio waits in the queue, read at real time."""
    config = quick(audio_rate=1.0, audio_burst_s=0.0)
    async with running(config) as server:
        reader, writer = await open_socket(
            server.port, frame(TEXT, json.dumps(HELLO).encode())
        )
        await reader.readuntil(b"SERVER_READY")
        writer.write(frame(BINARY, bytes(1_000_000)) * 5)  # 16 s each
        await writer.drain()
        abort(writer)
        await quiet(server)


async def test_of_a_flood_of_frames_few_are_parsed_before_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    take = ServerConnection.data_received

    def data_received(self: ServerConnection, data: bytes) -> None:
        sizes.append(len(data))
        take(self, data)

    monkeypatch.setattr(ServerConnection, "data_received", data_received)
    hello = frame(TEXT, json.dumps(HELLO).encode())
    flood = frame(BINARY) * 6500  # 39 kB
    end = frame(BINARY, b"END_OF_AUDIO")
    async with running() as server:
        reader, writer = await open_socket(server.port, hello)
        await reader.readuntil(b"SERVER_READY")
        writer.write(flood + end)
        await quiet(server)
        abort(writer)
    assert sum(sizes) >= len(hello + flood + end)
    assert max(sizes) <= 32_768


async def test_the_server_says_when_nobody_is_left() -> None:
    rests = asyncio.Event()
    loop = asyncio.get_running_loop()

    def rest() -> None:  # in a thread
        loop.call_soon_threadsafe(rests.set)

    server = Server(
        quick(), engine=OracleEngine(), detector=OracleDetector, at_rest=rest
    )
    async with server:
        async with client(server) as first:
            await first.hello()
            await first.next()
            await whole_session(server, SPEECH[:16000])
            assert not rests.is_set()
        async with asyncio.timeout(10):
            await rests.wait()


async def test_slow_handshakes_are_dropped_and_hold_nobody_up() -> None:
    async with running(quick(handshake_timeout_s=0.5)) as server:
        slow = [await open_raw(server.port) for _ in range(100)]
        for _, writer in slow:
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0")
        assert await asyncio.to_thread(get, server.port, "/healthz") == (200, "ok\n")
        answers = await asyncio.gather(*[ended(reader) for reader, _ in slow])
        for _, writer in slow:
            abort(writer)
    assert set(answers) == {b""}


async def ended(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(3):
            return await reader.read()
    except ConnectionResetError:
        return b""


async def test_an_upgrade_without_a_first_message_is_dropped_as_well() -> None:
    async with running(quick(handshake_timeout_s=0.5)) as server:
        async with client(server) as silent:
            assert await silent.rest() == 1008
            assert isinstance(silent, Client)
        page = server.metrics.render()
    assert b'rejected_total{reason="handshake_timeout"} 1.0' in page


# ---------------------------------------------------------------------- control frames


def control_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcodes and payloads of the small unmasked frames in ``data``."""
    found = []
    while data:
        opcode, size = data[0] & 15, data[1]
        found.append((opcode, data[2 : 2 + size]))
        data = data[2 + size :]
    return found


async def test_a_flood_of_pings_is_closed_and_not_answered() -> None:
    async with running() as server:
        hello = frame(TEXT, json.dumps(HELLO).encode())
        reader, writer = await open_socket(server.port, hello)
        await reader.readuntil(b"SERVER_READY")
        await reader.readuntil(b"}")
        writer.write(frame(PING, b"a") * 50_000)
        answers = control_frames(await reader.read())
        abort(writer)
        await quiet(server)
        page = server.metrics.render()
    *pongs, close = answers
    assert 100 <= len(pongs) < 1000 and set(pongs) == {(PONG, b"a")}
    assert close == (CLOSE, b"\x03\xf0too many control frames")
    assert b'errors_total{type="control_frames"} 1.0' in page


async def test_pongs_that_nobody_asked_for_are_a_flood_as_well() -> None:
    async with running() as server:
        reader, writer = await open_socket(server.port, frame(PONG) * 50_000)
        assert control_frames(await reader.read()) == [
            (CLOSE, b"\x03\xf0too many control frames")
        ]
        abort(writer)


async def test_a_client_that_pings_every_second_is_answered_for_ever() -> None:
    """What a stalled network has held up for a minute comes at once."""
    async with running() as server:
        reader, writer = await open_socket(server.port, frame(PING, b"a") * 60)
        assert control_frames(await reader.readexactly(60 * 3)) == [(PONG, b"a")] * 60
        abort(writer)


async def test_pings_are_not_answered_while_closing() -> None:
    hello = frame(TEXT, json.dumps({**HELLO, "task": "x"}).encode())
    async with running() as server:
        reader, writer = await open_socket(server.port, hello)
        await reader.readuntil(b"\x88\x10\x03\xf0handshake_task")
        writer.write(frame(PING, b"a") * 10 + frame(CLOSE, b"\x03\xe8"))
        assert await reader.read() == b""
        abort(writer)


async def test_resets_behind_pings_are_not_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ten of them made 171,636 lines, without any key."""

    async def flood(port: int) -> None:
        _, writer = await open_socket(port)
        writer.write(frame(PING, b"a") * 20_000)
        abort(writer)

    async with running() as server:
        await asyncio.gather(*[flood(server.port) for _ in range(10)])
        assert await asyncio.to_thread(get, server.port, "/healthz") == (200, "ok\n")
        await at_most(4)
    assert [r.name for r in caplog.records if r.name == "asyncio"] == []
