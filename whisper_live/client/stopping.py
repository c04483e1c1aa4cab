"""An endless source that somebody can end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

__all__ = ["until"]

T = TypeVar("T")


async def until(stop: asyncio.Event, source: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """What ``source`` gives until ``stop`` is set, also while nothing comes."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while not stopping.done():
            coming = asyncio.ensure_future(anext(source))
            try:
                await asyncio.wait(
                    {coming, stopping}, return_when=asyncio.FIRST_COMPLETED
                )
                if not coming.done():
                    return
                yield coming.result()
            except StopAsyncIteration:
                return
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
    finally:
        stopping.cancel()
        await source.aclose()
