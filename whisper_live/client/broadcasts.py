"""A network stream as audio for a live client, for ever: opened again when it ends.

Owns the thread that reads, the silence that stands for the time without a connection,
and the pace of what is no live stream.  How an address is opened is ``media.network``'s
affair.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from whisper_live.audio import Samples, s_to_samples, samples_to_s
from whisper_live.client.backoff import Backoff
from whisper_live.client.connection import Clock, Sleep
from whisper_live.errors import WhisperLiveError
from whisper_live.media.network import Broadcast, open_address, shown

__all__ = ["broadcast"]

_SILENCE_S = 0.25  # given at a time while there is no connection
_READ_AHEAD = 50  # pieces, of a tenth of a second or more

# An address, and up to where it was heard by its own clock.
Open = Callable[[str, float | None], AbstractContextManager[Broadcast]]


@dataclass(frozen=True, slots=True)
class _Opened:
    duration_s: float | None  # None: it is live


@dataclass(frozen=True, slots=True)
class _Ended:
    error: Exception | None


_Item = Samples | _Opened | _Ended


class _Reader:
    """Reads one address in a thread of its own, a little ahead of who takes.

    A daemon thread: libav may sit in a read for as long as its timeout.
    """

    def __init__(self, url: str, open_: Open, heard_to_s: float | None = None) -> None:
        self._url, self._open = url, open_
        self.heard_to_s = heard_to_s
        self._loop = asyncio.get_running_loop()
        self._items: deque[_Item] = deque()
        self._arrived = asyncio.Event()
        self._room = threading.Semaphore(_READ_AHEAD)
        self._is_stopped = False
        threading.Thread(target=self._read, daemon=True).start()

    async def take(self) -> _Item:
        """The next item; ``_Ended`` is the last."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        self._room.release()
        return self._items.popleft()

    def stop(self) -> None:
        """Read no further; the thread ends when libav lets it."""
        self._is_stopped = True
        self._room.release()

    def _read(self) -> None:
        try:
            with self._open(self._url, self.heard_to_s) as opened:
                self._put(_Opened(opened.duration_s))
                try:
                    for piece in opened.pieces:
                        if self._is_stopped:
                            return
                        self._put(piece)
                finally:  # before the last item, which is taken after this
                    self.heard_to_s = opened.heard_to_s() or self.heard_to_s
            self._put(_Ended(None))
        except Exception as error:  # whoever takes it raises what is a fault of ours
            self._put(_Ended(error))

    def _put(self, item: _Item) -> None:
        self._room.acquire()
        if self._is_stopped:
            return
        self._items.append(item)
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop is closed: nobody takes anything any more
            self._is_stopped = True


async def broadcast(
    url: str,
    told: Callable[[str], None],
    *,
    open_: Open = open_address,
    backoff: Backoff = Backoff(),
    clock: Clock = time.monotonic,
    sleep: Sleep = asyncio.sleep,
    chance: Callable[[], float] = random.random,
) -> AsyncGenerator[Samples]:
    """The samples of an address, 16 kHz mono; ``told`` gets a sentence at each break.

    A live stream goes on for ever: where it ends or breaks off it is opened again, and
    silence stands for the time in between.  What has a length (a file, a playlist with
    an end) comes at the pace of its sound, goes on where it broke off, and ends.  Both
    end when ``backoff`` gives up.  Raises ``WhisperLiveError`` where the address cannot
    be opened the first time.
    """
    source = _Source(url, told, open_, backoff, clock, sleep, chance)
    try:
        while (samples := await source.next()) is not None:
            if len(samples):
                yield samples
    finally:
        source.stop()


class _Source:
    """One address across its openings; each ``next`` is a step of its own."""

    def __init__(
        self,
        url: str,
        told: Callable[[str], None],
        open_: Open,
        backoff: Backoff,
        clock: Clock,
        sleep: Sleep,
        chance: Callable[[], float],
    ) -> None:
        self._url, self._told, self._open = url, told, open_
        self._backoff, self._chance = backoff, chance
        self._clock, self._sleep = clock, sleep
        self._reader: _Reader | None = _Reader(url, open_)  # None: between two
        self._heard_to_s: float | None = None
        self._is_live: bool | None = None  # None: it was never opened
        self._began = 0.0  # when the first sample was due, of what is not live
        self._given = 0  # samples of the address
        self._to_skip = 0  # of them, that come again
        self._is_away = False
        self._gone_at = 0.0
        self._silence = 0  # samples given since
        self._retry_at = 0.0
        self._tries = 0

    def stop(self) -> None:
        """Read no further."""
        if self._reader is not None:
            self._reader.stop()

    async def next(self) -> Samples | None:
        """What comes next, maybe nothing yet; None at the end."""
        item = await self._item()
        match item:
            case None:
                return self._silence_by_now()
            case _Opened():
                return self._opened(item)
            case _Ended(error):
                if error is None and self._is_live is False:
                    return None
                return None if self._break(error) else self._silence_by_now()
        return await self._on_time(item)

    async def _item(self) -> _Item | None:
        """From the reader, or None after a while without one."""
        if self._reader is None:
            wait_s = self._retry_at - self._clock()
            if wait_s > 0:
                await self._sleep(min(wait_s, _SILENCE_S))
                return None
            self._reader = _Reader(self._url, self._open, self._heard_to_s)
        if not self._is_away:
            return await self._reader.take()
        try:
            async with asyncio.timeout(_SILENCE_S):
                return await self._reader.take()
        except TimeoutError:
            return None

    def _opened(self, opened: _Opened) -> Samples:
        if self._is_away:
            self._told("the source is there again")
        silence = self._silence_by_now()
        self._is_away = False
        self._is_live = opened.duration_s is None
        self._to_skip = 0 if self._is_live else self._given
        self._began = self._clock() - samples_to_s(self._given)
        return silence

    async def _on_time(self, samples: Samples) -> Samples:
        self._tries = 0
        skipped = min(self._to_skip, len(samples))
        self._to_skip -= skipped
        samples = samples[skipped:]
        self._given += len(samples)
        if not self._is_live:
            due = self._began + samples_to_s(self._given)
            if (wait_s := due - self._clock()) > 0:
                await self._sleep(wait_s)
        return samples

    def _break(self, error: Exception | None) -> bool:
        """Note that it broke off; whether it is given up."""
        # What cannot be opened at first is no broadcast.
        if error is not None and (
            self._is_live is None or not isinstance(error, WhisperLiveError)
        ):
            raise error
        if not self._is_away:
            self._is_away, self._gone_at, self._silence = True, self._clock(), 0
        wait_s = self._backoff.wait_s(self._tries, self._chance())
        self._tries += 1
        self._retry_at = self._clock() + wait_s
        assert self._reader is not None, "it has just told how it ended"
        self._heard_to_s, self._reader = self._reader.heard_to_s, None
        why = "it ended" if error is None else str(error)
        is_over = self._retry_at - self._gone_at > self._backoff.give_up_s
        self._told(
            f"{shown(self._url)} broke off ({why})"
            + ("" if is_over else f"; trying again in {wait_s:.1f} s")
        )
        return is_over

    def _silence_by_now(self) -> Samples:
        """What stands for the time without a live stream, as far as it is not given."""
        if not (self._is_away and self._is_live):
            return np.zeros(0, np.float32)
        missing = s_to_samples(self._clock() - self._gone_at) - self._silence
        self._silence += missing
        return np.zeros(missing, np.float32)
