"""Bytes that no client of Home Assistant's port sends, and clients that vanish."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
from typing import Any

import pytest

from tests.e2e.support import quick
from tests.e2e.wyoming import (
    MONO_16,
    Answer,
    as_pcm,
    client,
    read_answer,
    running,
    say,
    whole,
)
from tests.faults.collector import no_collector
from whisper_live.server import connection
from whisper_live.server.connection import Connection
from whisper_live.server.server import Server
from whisper_live.session.session import Session
from whisper_live.testing.marks import write_speech

from wyoming.client import AsyncTcpClient  # isort: skip
from whisper_live.protocols.wyoming.server import Wyoming  # isort: skip
from whisper_live.server.wyoming.link import Link, Utterance  # isort: skip

WORDS = list(range(1, 13))
SPEECH = write_speech([WORDS], pause_s=0.1)[0]
FORMAT = {"rate": 16000, "width": 2, "channels": 1}


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.05)


def event(type: object, payload: bytes = b"", **header: Any) -> bytes:
    """An event whose header may say anything."""
    said = {"type": type, **header}
    if payload:
        said.setdefault("payload_length", len(payload))
    return json.dumps(said).encode() + b"\n" + payload


START = event("audio-start", data=FORMAT)
CHUNK = event("audio-chunk", as_pcm(SPEECH[:1024], MONO_16), data=FORMAT)
STOP = event("audio-stop")


async def send(server: Server, data: bytes) -> Answer:
    """Send it all, then read to the end of the connection."""
    async with client(server) as peer:
        writer = peer._writer
        assert writer is not None
        reading = asyncio.create_task(read_all(peer))
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        answer = await reading
        writer.transport.abort()
    return answer


async def read_all(peer: AsyncTcpClient) -> Answer:
    answer = Answer()
    with contextlib.suppress(ConnectionError):
        while (received := await peer.read_event()) is not None:
            answer.events.append(received)
    return answer


async def quiet(server: Server, *, files: int, tasks: int) -> None:
    """Until nothing is left of anybody."""
    async with asyncio.timeout(10):
        while (
            b"whisper_live_sessions 0.0" not in server.metrics.render()
            or len(asyncio.all_tasks()) > tasks
            or open_files() > files
        ):
            await asyncio.sleep(0.01)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


BROKEN = {
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "event_json"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\n", "event_json"),
    "an endless line": (b"x" * (1 << 20), "event_too_long"),
    "an endless line of JSON": (b'{"type":"' + b"x" * (1 << 20), "event_too_long"),
    "nesting": (b"[" * 50_000 + b"\n", "event_json"),
    "no object": (b"[]\n", "event_json"),
    "no type": (b"{}\n", "event_type"),
    "a type that is none": (event(["audio-start"]), "event_type"),
    "negative data": (event("describe", data_length=-1), "event_length"),
    "negative payload": (
        START + event("audio-chunk", payload_length=-9),
        "event_length",
    ),
    "a length that is none": (event("x", data_length="10"), "event_length"),
    "a length beyond all": (event("x", data_length=1 << 62), "event_too_long"),
    "a payload beyond all": (event("x", payload_length=1 << 62), "message_too_big"),
    "a payload of 2 MiB": (event("x", payload_length=2 << 20), "message_too_big"),
    "data that is none": (event("ping", data_length=2) + b"[]", "event_json"),
    "a chunk without a start": (CHUNK, "event_order"),
    "a chunk after a stop": (START + STOP + CHUNK, "event_order"),
    "two starts": (START + START, "event_order"),
    "no format": (event("audio-start"), "audio_format"),
    "a wild format": (
        event("audio-start", data={**FORMAT, "rate": 1e9}),
        "audio_format",
    ),
    "another format": (
        START + event("audio-chunk", b"ab", data={**FORMAT, "rate": 8000}),
        "audio_format",
    ),
    "wishes of a wrong type": (
        event("transcribe", data={"transcript_names": 7}) + START,
        "handshake_type",
    ),
    "wishes that are no data": (
        event("transcribe", data_length=3) + b"{,}" + START,
        "event_json",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_cannot_be_is_closed_with_an_error(name: str) -> None:
    data, code = BROKEN[name]
    async with running() as server:
        answer = await send(server, data)
        assert answer.error == code
        assert answer.types[-1] == "error"
        assert (await whole(server, SPEECH)).words == WORDS


async def test_what_was_said_before_an_error_is_told() -> None:
    async with running() as server, client(server) as peer:
        await say(peer, SPEECH, stop=False)
        assert peer._writer is not None
        peer._writer.write(b"nonsense\n")
        answer = await read_all(peer)
    assert answer.words == WORDS
    assert answer.error == "event_json"


async def test_of_two_errors_the_first_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = event("audio-chunk", b"ab", data={**FORMAT, "rate": 8000})
    async with running() as server:
        for data in (START + other + b"nonsense\n", START + START + b"nonsense\n"):
            answer = await send(server, data)
            assert answer.types.count("error") == 1
            assert answer.error in ("audio_format", "event_order")
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


async def test_an_error_is_told_to_who_says_no_more() -> None:
    async with running() as server, client(server) as peer:
        assert peer._writer is not None
        peer._writer.write(b"nonsense\n")
        peer._writer.write_eof()
        assert (await read_all(peer)).error == "event_json"


async def test_a_line_of_100_mb_is_not_kept() -> None:
    async with running() as server, client(server) as peer:
        writer = peer._writer
        assert writer is not None
        reading = asyncio.create_task(read_all(peer))
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(bytes(1 << 20))
                await writer.drain()
        assert (await reading).error == "event_too_long"


async def test_a_flood_of_questions_is_closed() -> None:
    async with running() as server:
        answer = await send(server, event("ping") * 1000)
    assert answer.types == ["pong"] * (len(answer.types) - 1) + ["error"]
    assert 100 <= answer.types.count("pong") < 300
    assert answer.error == "control_frames"


async def test_a_client_that_says_nothing_is_let_go() -> None:
    async with running(quick(idle_timeout_s=1.0)) as server:
        for begun in (b"", b'{"type":"desc', START[:-1]):
            assert (await send(server, begun)).events == []
        answer = await send(server, START + CHUNK)
    assert answer.error == "idle_timeout"


async def test_200_connections_in_turn_and_20_at_once_leave_nothing() -> None:
    short = SPEECH[:16_000]
    async with running(quick(max_sessions=20)) as server:
        first = await whole(server, short)
        files, tasks = open_files(), len(asyncio.all_tasks())
        for _ in range(200):
            assert (await whole(server, short)).words == first.words
        answers = await asyncio.gather(*[whole(server, SPEECH) for _ in range(20)])
        assert [answer.words for answer in answers] == [WORDS] * 20
        await quiet(server, files=files, tasks=tasks)


def alive() -> list[str]:
    kinds = (Connection, Session, Link, Utterance, Wyoming)
    return [type(o).__name__ for o in gc.get_objects() if issubclass(type(o), kinds)]


@pytest.mark.parametrize("end", ["answered", "vanished", "reset", "refused", "broken"])
async def test_an_utterance_is_freed_at_its_end_and_not_by_the_collector(
    end: str,
) -> None:
    async with running() as server:
        files, tasks = open_files(), len(asyncio.all_tasks())
        with no_collector():
            before = alive()
            for _ in range(3):
                async with client(server) as peer:
                    writer = peer._writer
                    assert writer is not None
                    if end == "refused":
                        writer.write(event("transcribe", data={"name": 7}) + START)
                    else:
                        await say(peer, SPEECH, stop=end == "answered")
                    if end == "answered":
                        await read_answer(peer)
                    elif end == "reset":
                        writer.transport.abort()
                    elif end in ("refused", "broken"):
                        writer.write(b"x\n")
                        await read_all(peer)
            async with asyncio.timeout(10):
                while alive() != before:
                    await asyncio.sleep(0.01)
        await quiet(server, files=files, tasks=tasks)


def mutated(chance: random.Random) -> bytes:
    """A conversation with something wrong in it, anywhere."""
    whole_one = event("transcribe", data={"language": "en"}) + START + CHUNK * 5 + STOP
    data = bytearray(whole_one)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 300)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 300))
            case 3:
                data[at:at] = chance.choice([START, STOP, CHUNK, b"\n", b"{}\n"])
            case _:
                data = data[: max(at, 1)]
        if not data:
            return b"\n"
    return bytes(data)


async def test_random_damage_disturbs_no_neighbour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance = random.Random(23)
    damaged = [mutated(chance) for _ in range(150)]
    config = quick(max_sessions=300, idle_timeout_s=1.0)
    async with running(config) as server:
        files, tasks = open_files(), len(asyncio.all_tasks())
        neighbour = asyncio.create_task(whole(server, SPEECH))
        answers = await asyncio.gather(*[send(server, data) for data in damaged])
        assert (await neighbour).words == WORDS
        assert (await whole(server, SPEECH)).words == WORDS
        await quiet(server, files=files, tasks=tasks)
    told = {answer.types[-1] for answer in answers if answer.types}
    assert told <= {"transcript-stop", "error"}
    assert [r for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []
    assert [r.name for r in caplog.records if r.name == "asyncio"] == []
