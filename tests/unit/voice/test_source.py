"""Where the speaker's audio comes from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from tests.virtual_time import virtual_time
from whisper_live.audio import Samples
from whisper_live.errors import WhisperLiveError
from whisper_live.voice.source import microphone, muted_while, recording, until


async def _given(pieces: Iterable[Samples]) -> AsyncIterator[Samples]:
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
    async for piece in until(stop, _given(pieces)):
        came.append(piece[0])
        if len(came) == 2:
            stop.set()
    assert came == [0, 1]


async def test_what_is_heard_while_it_is_muted_is_silence() -> None:
    pieces = [np.full(2, n, np.float32) for n in (1, 2, 3)]
    muted = iter([False, True, False])
    heard = muted_while(lambda: next(muted), _given(pieces))
    assert [piece.tolist() async for piece in heard] == [[1, 1], [0, 0], [3, 3]]


class Card:
    """PortAudio with a microphone that hears when a test does."""

    class PortAudioError(Exception):
        pass

    def __init__(self, *, is_there: bool = True) -> None:
        self._is_there = is_there
        self.options: dict[str, Any] = {}
        self.is_open = False

    def InputStream(self, **options: Any) -> Any:
        if not self._is_there:
            raise self.PortAudioError("Error querying device -1")
        self.options = options
        return self

    def start(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def hears(self, value: float) -> None:
        data = np.full((512, 1), value, np.float32)
        self.options["callback"](data, 512, None, None)
        data[:] = 9  # the card uses its buffer again


async def test_a_microphone_gives_what_it_hears_in_order_and_is_let_go() -> None:
    card = Card()
    async with aclosing(microphone("usb", sounddevice=card)) as pieces:
        first = asyncio.ensure_future(anext(pieces))
        while not card.is_open:
            await asyncio.sleep(0)
        for value in (1, 2, 3):
            card.hears(value)
        heard = [await first, await anext(pieces), await anext(pieces)]
    assert [piece[0] for piece in heard] == [1, 2, 3]
    assert all(piece.shape == (512,) for piece in heard)
    assert (card.options["samplerate"], card.options["device"]) == (16000, "usb")
    assert not card.is_open


async def test_a_loop_too_slow_for_its_microphone_is_told() -> None:
    card = Card()
    async with aclosing(microphone(sounddevice=card)) as pieces:
        first = asyncio.ensure_future(anext(pieces))
        while not card.is_open:
            await asyncio.sleep(0)
        for value in range(300):
            card.hears(value)
        await first
        await asyncio.sleep(0)
        with pytest.raises(WhisperLiveError, match="too slow"):
            await anext(pieces)
    assert not card.is_open


async def test_no_microphone_is_told_with_the_way_out() -> None:
    with pytest.raises(WhisperLiveError, match="no microphone: .* --input FILE"):
        await anext(microphone(sounddevice=Card(is_there=False)))
