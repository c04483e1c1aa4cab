"""What a speaker's audio goes through: played in real time, ended, muted.

Knows nothing of servers or sound cards; ``client.microphone`` is a source.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

import numpy as np

from whisper_live.audio import FRAME_SAMPLES, Samples, samples_to_s

__all__ = ["muted_while", "recording", "until"]


async def recording(pieces: Iterable[Samples]) -> AsyncGenerator[Samples]:
    """Samples (each piece ``[n]``, 16 kHz mono) as a microphone would give them."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    given = 0
    for piece in pieces:
        for at in range(0, len(piece), FRAME_SAMPLES):
            part = piece[at : at + FRAME_SAMPLES]
            given += len(part)
            await asyncio.sleep(max(start + samples_to_s(given) - loop.time(), 0))
            yield part


async def until(
    stop: asyncio.Event, source: AsyncGenerator[Samples]
) -> AsyncGenerator[Samples]:
    """The source, up to the first piece after ``stop``; then it is closed."""
    async with aclosing(source):
        async for piece in source:
            if stop.is_set():
                return
            yield piece


async def muted_while(
    is_muted: Callable[[], bool], source: AsyncGenerator[Samples]
) -> AsyncGenerator[Samples]:
    """The source, with silence in place of what is heard while it is muted."""
    async with aclosing(source):
        async for piece in source:
            yield np.zeros_like(piece) if is_muted() else piece
