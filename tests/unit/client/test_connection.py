"""The client's half of the wire, against a scripted server on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from whisper_live.client.chunks import Chunk
from whisper_live.client.connection import Arrival, connect, paced
from whisper_live.errors import DecodeError, Overloaded, WhisperLiveError

Script = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """A server that reads the handshake, then does as ``script`` says."""

    async def handle(socket: ServerConnection) -> None:
        await script(socket, json.loads(await socket.recv()))

    async with serve(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


async def say(socket: ServerConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def echo_lengths(socket: ServerConnection, hello: dict[str, Any]) -> None:
    """Answer every chunk with its length, and close at the end of audio."""
    await say(socket, uid=hello["uid"], message="SERVER_READY")
    async for data in socket:
        if data == b"END_OF_AUDIO":
            return
        await say(socket, length=len(data))


class Clock:
    """Time that passes only in ``sleep``, and by as much as was asked for."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


CHUNKS = [Chunk(0.25, b"a"), Chunk(0.5, b"bb"), Chunk(0.75, b"ccc")]


@pytest.mark.parametrize(("speed", "sent_at"), [(1, [0.25, 0.5, 0.75]), (5, None)])
async def test_chunks_keep_their_schedule(
    speed: float, sent_at: list[float] | None
) -> None:
    clock, times = Clock(), []
    async for _ in paced(CHUNKS, speed=speed, clock=clock, sleep=clock.sleep):
        times.append(clock.now - 100)
    assert times == pytest.approx(sent_at or [0.05, 0.1, 0.15])


async def test_a_late_chunk_does_not_delay_the_next() -> None:
    clock, times = Clock(), []
    async for chunk in paced(CHUNKS, clock=clock, sleep=clock.sleep):
        times.append(clock.now - 100)
        if chunk.data == b"a":
            clock.now += 0.4  # sending it took this long
    assert times == pytest.approx([0.25, 0.65, 0.75])


async def test_everything_is_sent_in_order_and_the_end_is_clean() -> None:
    async with scripted(echo_lengths) as url, connect(url) as client:
        arrivals = [arrival async for arrival in client.stream(CHUNKS, speed=100)]
    assert [arrival.message for arrival in arrivals] == [
        {"length": 1},
        {"length": 2},
        {"length": 3},
    ]
    assert 0 < arrivals[0].at_s <= arrivals[1].at_s <= arrivals[2].at_s


async def test_handshake_carries_the_options() -> None:
    seen: dict[str, Any] = {}

    async def script(socket: ServerConnection, hello: dict[str, Any]) -> None:
        seen.update(hello)
        await say(socket, message="SERVER_READY")

    async with (
        scripted(script) as url,
        connect(url, audio_format="webm", language="de", hotwords="Grüße"),
    ):
        pass
    assert len(seen.pop("uid")) == 36
    assert seen == {
        "language": "de",
        "task": "transcribe",
        "model": None,
        "use_vad": True,
        "audio_format": "webm",
        "hotwords": "Grüße",
    }


async def test_a_full_server_says_when_to_come_back() -> None:
    async def script(socket: ServerConnection, hello: dict[str, Any]) -> None:
        await say(socket, status="WAIT", message=2.5)
        await socket.wait_closed()

    async with scripted(script) as url:
        with pytest.raises(Overloaded, match="2.5 minutes") as full:
            async with connect(url):
                pytest.fail("admitted")
    assert full.value.wait_minutes == 2.5


async def test_refusal_and_close_are_errors_with_the_reason() -> None:
    async def refuse(socket: ServerConnection, hello: dict[str, Any]) -> None:
        await say(socket, status="WARNING", message="still fine")
        await say(socket, status="ERROR", message="no such language")
        await socket.wait_closed()

    async def vanish(socket: ServerConnection, hello: dict[str, Any]) -> None:
        await socket.close(1011)

    for script, reason in ((refuse, "no such language"), (vanish, "1011")):
        async with scripted(script) as url:
            with pytest.raises(WhisperLiveError, match=reason):
                async with connect(url):
                    pytest.fail("admitted")


async def test_the_key_is_shown_in_the_upgrade() -> None:
    async def handle(socket: ServerConnection) -> None:
        await echo_lengths(socket, json.loads(await socket.recv()))

    def check(socket: ServerConnection, request: Request) -> Response | None:
        if request.headers.get("Authorization") == "Bearer sesame":
            return None
        return socket.respond(HTTPStatus.UNAUTHORIZED, "")

    async with serve(handle, "127.0.0.1", 0, process_request=check) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(url, key="sesame"):
            pass
        for wrong in (None, "other"):
            with pytest.raises(WhisperLiveError, match="refused with HTTP 401; show"):
                async with connect(url, key=wrong):
                    pytest.fail("admitted")


async def test_no_server_is_one_sentence() -> None:
    async with scripted(echo_lengths) as url:
        pass  # now the port is free again
    for where in (url, "http://127.0.0.1", "ws://"):
        with pytest.raises(WhisperLiveError, match=f"no server at {where}"):
            async with connect(where):
                pytest.fail("admitted")


async def test_a_silent_server_times_out() -> None:
    async def script(socket: ServerConnection, hello: dict[str, Any]) -> None:
        await socket.wait_closed()

    async with scripted(script) as url:
        with pytest.raises(WhisperLiveError, match="did not answer in time"):
            async with connect(url, ready_timeout_s=0.02):
                pytest.fail("admitted")


async def test_an_error_in_mid_stream_is_told_with_its_message() -> None:
    async def script(socket: ServerConnection, hello: dict[str, Any]) -> None:
        await say(socket, message="SERVER_READY")
        await socket.recv()
        await say(socket, status="ERROR", message="that is no WebM")
        await socket.close(1007, "bad media")

    async with scripted(script) as url, connect(url) as client:
        with pytest.raises(
            WhisperLiveError, match=r"1007 \(bad media\): that is no WebM"
        ):
            async for _ in client.stream(CHUNKS, speed=100):
                pass


async def test_a_recording_that_breaks_ends_the_stream_with_its_own_error() -> None:
    def broken() -> Iterator[Chunk]:
        yield CHUNKS[0]
        raise DecodeError("the file is damaged")

    async with scripted(echo_lengths) as url, connect(url) as client:
        with pytest.raises(DecodeError, match="damaged"):
            async for _ in client.stream(broken(), speed=100):
                pass


async def test_leaving_early_stops_the_sender() -> None:
    def endless() -> Iterator[Chunk]:
        for number in range(1_000_000):
            yield Chunk(number / 10, b"x")

    before = asyncio.all_tasks()
    async with scripted(echo_lengths) as url, connect(url) as client:
        arrivals = client.stream(endless(), speed=100)
        assert isinstance(await anext(arrivals), Arrival)
        await arrivals.aclose()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("nonsense", ["no JSON", "[1]", b"\xff\xfe"])
async def test_another_protocol_is_one_sentence(nonsense: str | bytes) -> None:
    async def early(socket: ServerConnection, hello: dict[str, Any]) -> None:
        await socket.send(nonsense)
        await socket.wait_closed()

    async def late(socket: ServerConnection, hello: dict[str, Any]) -> None:
        await say(socket, message="SERVER_READY")
        await early(socket, hello)

    async with scripted(early) as url:
        with pytest.raises(WhisperLiveError, match="not WhisperLive's protocol"):
            async with connect(url):
                pytest.fail("admitted")
    async with scripted(late) as url, connect(url) as client:
        with pytest.raises(WhisperLiveError, match="not WhisperLive's protocol"):
            await client.receive()
