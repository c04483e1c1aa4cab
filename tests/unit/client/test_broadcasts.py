"""Network streams that break off, are opened again, and what stands in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

import numpy as np
import pytest

from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client.backoff import Backoff
from whisper_live.client.broadcasts import broadcast
from whisper_live.errors import DecodeError
from whisper_live.media.network import Broadcast

URL = "http://ann:secret@radio.example/live"


class Clock:
    """Time that passes only in ``sleep``."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def piece(number: int, seconds: float = 0.5) -> Samples:
    return np.full(int(seconds * SAMPLE_RATE), number, np.float32)


Opening = list[int | Exception]


class Station:
    """Each opening gives pieces by their numbers, or fails where an error stands."""

    def __init__(self, *openings: Opening, duration_s: float | None = None) -> None:
        self._openings = iter(openings)
        self._duration_s = duration_s
        self.heard_to_s: list[float | None] = []  # as each opening was told

    @contextmanager
    def open(self, url: str, heard_to_s: float | None) -> Iterator[Broadcast]:
        assert url == URL
        self.heard_to_s.append(heard_to_s)
        opening = next(self._openings)
        if opening and isinstance(opening[0], Exception):
            raise opening[0]
        clock_s = float(len(self.heard_to_s)) if opening == [1] else None
        yield Broadcast(self._pieces(opening), self._duration_s, lambda: clock_s)

    def _pieces(self, opening: Opening) -> Iterator[Samples]:
        for each in opening:
            if isinstance(each, Exception):
                raise each
            yield piece(each)


def listen(
    station: Station, told: Callable[[str], None], clock: Clock
) -> AsyncGenerator[Samples]:
    return broadcast(
        URL,
        told,
        open_=station.open,
        backoff=Backoff(first_s=2.0),
        clock=clock,
        sleep=clock.sleep,
        chance=lambda: 1.0,
    )


async def taken(source: AsyncGenerator[Samples], seconds: float) -> list[float]:
    """Each half second of what came by its first sample, until there is so much."""
    heard: list[Samples] = []
    async with aclosing(source):
        async for samples in source:
            heard.append(samples)
            if sum(map(len, heard)) >= seconds * SAMPLE_RATE:
                break
    half = SAMPLE_RATE // 2
    return [float(value) for value in np.concatenate(heard)[::half]]


GONE = DecodeError("cannot open it: no route", kind="unreachable")


async def test_a_live_stream_goes_on_behind_silence_as_long_as_the_gap() -> None:
    told: list[str] = []
    station = Station([1, 2], [GONE], [3, 4])
    source = listen(station, told.append, Clock())
    # 2 s to the second opening, which fails, and 4 s to the third.
    assert await taken(source, 8.0) == [1, 2, *[0] * 12, 3, 4]
    assert told == [
        "http://radio.example/live broke off (it ended); trying again in 2.0 s",
        "http://radio.example/live broke off (cannot open it: no route); "
        "trying again in 4.0 s",
        "the source is there again",
    ]


async def test_an_error_in_mid_stream_is_a_break_like_any_other() -> None:
    told: list[str] = []
    broken = DecodeError("the connection was reset")
    source = listen(Station([1, broken], [2]), told.append, Clock())
    assert await taken(source, 3.0) == [1, 0, 0, 0, 0, 2]
    assert "(the connection was reset)" in told[0]


async def test_a_recording_goes_on_where_it_broke_off_and_ends() -> None:
    clock, told = Clock(), list[str]()
    broken = DecodeError("the connection was reset")
    station = Station([1, 2, broken], [1, 2, 3], duration_s=1.5)
    heard = []
    async for samples in listen(station, told.append, clock):
        heard.append((float(samples[0]), clock.now))
    # At the pace of its sound, but for the two seconds that it was away.
    assert heard == [(1, 100.5), (2, 101.0), (3, 103.5)]
    assert len(told) == 2


async def test_what_cannot_be_opened_at_first_is_an_error() -> None:
    source = listen(Station([GONE]), lambda sentence: None, Clock())
    with pytest.raises(DecodeError, match="no route"):
        await anext(source)


async def test_it_ends_when_it_is_told_to_give_up() -> None:
    clock, told = Clock(), list[str]()
    source = broadcast(
        *(URL, told.append),
        open_=Station([1], [GONE], [GONE]).open,
        backoff=Backoff(first_s=2.0, give_up_s=5.0),
        clock=clock,
        sleep=clock.sleep,
        chance=lambda: 1.0,
    )
    assert sum([len(samples) async for samples in source]) == 2.5 * SAMPLE_RATE
    assert told == [
        "http://radio.example/live broke off (it ended); trying again in 2.0 s",
        "http://radio.example/live broke off (cannot open it: no route)",
    ]


async def test_each_opening_is_told_up_to_where_the_stream_was_heard() -> None:
    station = Station([1], [GONE], [1], [2], [3])
    await taken(listen(station, lambda sentence: None, Clock()), 13.0)
    assert station.heard_to_s == [None, 1.0, 1.0, 3.0, 3.0]


async def test_waits_begin_anew_once_something_came() -> None:
    told: list[str] = []
    station = Station([1], [GONE], [2], [3])
    await taken(listen(station, told.append, Clock()), 9.5)
    waits = [sentence.split()[-2] for sentence in told if "trying" in sentence]
    assert waits == ["2.0", "4.0", "2.0"]


async def test_a_fault_of_our_own_is_not_tried_again() -> None:
    fault = ZeroDivisionError("a fault")
    source = listen(Station([1, fault]), lambda sentence: None, Clock())
    with pytest.raises(ZeroDivisionError):
        await taken(source, 9.0)


async def test_a_reader_that_is_far_ahead_waits() -> None:
    given: list[int] = []

    def pieces() -> Iterator[Samples]:
        for number in range(1000):
            given.append(number)
            yield piece(number, 0.001)

    @contextmanager
    def open_(url: str, heard_to_s: float | None) -> Iterator[Broadcast]:
        yield Broadcast(pieces(), None)

    source = broadcast(URL, lambda sentence: None, open_=open_)
    async with aclosing(source):
        await anext(source)
        assert len(given) < 100
        for _ in range(200):
            await anext(source)
        assert 200 < len(given) < 300
