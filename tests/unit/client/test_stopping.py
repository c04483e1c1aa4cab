"""A source that is ended from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from whisper_live.client.stopping import until


class Source:
    """Gives what it has, then waits for ever or ends."""

    def __init__(self, *items: int, ends: bool = False) -> None:
        self._items, self._ends = items, ends
        self.closed = False

    async def run(self) -> AsyncGenerator[int]:
        try:
            for item in self._items:
                yield item
            if not self._ends:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_it_ends_while_it_waits() -> None:
    stop, source, got = asyncio.Event(), Source(1, 2), list[int]()
    async for item in until(stop, source.run()):
        got.append(item)
        if item == 2:
            asyncio.get_running_loop().call_soon(stop.set)
    assert got == [1, 2] and source.closed


async def test_it_ends_where_the_source_does() -> None:
    source = Source(1, ends=True)
    assert [item async for item in until(asyncio.Event(), source.run())] == [1]
    assert source.closed


async def test_nothing_comes_after_the_stop() -> None:
    stop = asyncio.Event()
    run = until(stop, Source(1, 2).run())
    assert await anext(run) == 1
    stop.set()
    await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await anext(run)
