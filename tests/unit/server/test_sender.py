"""What waits for one client: who counts as one that reads nothing, and who does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from tests.virtual_time import settle, virtual_time
from whisper_live.protocols.base import Close, Message
from whisper_live.server import sender
from whisper_live.server.sender import Sender

LONG = "x" * (sender._MOST_CHARACTERS * 2 // 3)


class Pipe:
    """A socket whose peer reads while ``reads`` is set."""

    peer = "local"
    own_close_code = peer_close_code = 0

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.reads.set()
        self.sent: list[str] = []

    async def receive(self) -> str | bytes:
        raise AssertionError("a sender reads nothing")

    async def send(self, text: str) -> None:
        await self.reads.wait()
        self.sent.append(text)

    async def ping(self) -> Awaitable[object]:
        raise AssertionError("a sender sends no pings")

    async def close(self, code: int, reason: str = "") -> None:
        self.sent.append(f"{code}")

    async def wait_closed(self) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def sending(limit: int = 4) -> AsyncIterator[tuple[Sender, Pipe]]:
    pipe = Pipe()
    made = Sender(pipe, limit=limit, sent=lambda seconds: None)
    running = asyncio.create_task(made.run())
    await settle()
    yield made, pipe
    made.abandon()
    pipe.reads.set()
    await running


@virtual_time
async def test_what_one_turn_posts_is_sent_however_much_it_is() -> None:
    async with sending() as (one, pipe):
        for turn in range(3):
            told = [f"{turn}.{n}" + LONG for n in range(10)]
            assert all(one.post(Message(text)) for text in told)
            await settle()
            assert pipe.sent == told
            pipe.sent.clear()


@virtual_time
async def test_too_many_messages_behind_one_that_is_not_read_are_refused() -> None:
    async with sending(limit=4) as (one, pipe):
        pipe.reads.clear()
        assert one.post(Message("first"))
        await settle()
        assert [one.post(Message(f"{n}")) for n in range(5)] == [True] * 4 + [False]


@virtual_time
async def test_too_many_characters_behind_one_that_is_not_read_are_refused() -> None:
    async with sending() as (one, pipe):
        pipe.reads.clear()
        assert one.post(Message(LONG))
        await settle()
        assert [one.post(Message(LONG)) for _ in range(2)] == [True, False]
        assert one.post(Close(1000))  # always has room


@virtual_time
async def test_one_message_of_any_length_may_wait_behind_another() -> None:
    async with sending() as (one, pipe):
        pipe.reads.clear()
        assert one.post(Message("first"))
        await settle()
        assert one.post(Message(10 * LONG)) and one.post(Close(1000))
        pipe.reads.set()
        await settle()
        assert pipe.sent == ["first", 10 * LONG, "1000"]


@virtual_time
async def test_a_newer_partial_takes_the_place_of_an_unsent_one() -> None:
    async with sending() as (one, pipe):
        pipe.reads.clear()
        assert one.post(Message("first"))
        await settle()
        for n in range(100):
            assert one.post(Message(f"partial {n}" + LONG, replaceable=True))
        assert one.post(Message("last")) and one.post(Close(1000))
        pipe.reads.set()
        await settle()
        assert pipe.sent == ["first", "partial 99" + LONG, "last", "1000"]
