"""Where the speaker's audio comes from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

import numpy as np
import pytest

from tests.virtual_time import virtual_time
from whisper_live.audio import Samples
from whisper_live.voice.source import muted_while, recording, until


async def _given(pieces: Iterable[Samples]) -> AsyncGenerator[Samples]:
    for piece in pieces:
        yield piece


@virtual_time
async def test_a_recording_comes_as_it_would_be_spoken() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    pieces = [np.arange(1000, dtype=np.float32), np.arange(24, dtype=np.float32)]
    came = [(loop.time() - start, part) async for part in recording(pieces)]
    assert [len(part) for _, part in came] == [512, 488, 24]
    assert [at for at, _ in came] == pytest.approx([0.032, 0.0625, 0.064])
    whole = np.concatenate([part for _, part in came])
    assert np.array_equal(whole, np.concatenate(pieces))


async def test_a_source_ends_with_the_first_piece_after_the_stop() -> None:
    stop = asyncio.Event()
    pieces = [np.full(2, n, np.float32) for n in range(5)]
    came = []
    source = _given(pieces)
    async for piece in until(stop, source):
        came.append(piece[0])
        if len(came) == 2:
            stop.set()
    assert came == [0, 1]
    assert [piece async for piece in source] == []  # it was let go


async def test_what_is_heard_while_it_is_muted_is_silence() -> None:
    pieces = [np.full(2, n, np.float32) for n in (1, 2, 3)]
    muted = iter([False, True, False])
    heard = muted_while(lambda: next(muted), _given(pieces))
    assert [piece.tolist() async for piece in heard] == [[1, 1], [0, 0], [3, 3]]
