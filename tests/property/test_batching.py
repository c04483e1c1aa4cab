"""The batcher under random sessions, cancels, failures and slow calls.

``Simulation`` keeps books of its own, in the plainest way, and compares after every
step: exactly one outcome each, the order, fairness, no idle wait, no early start, and
a clock that always moves on.  Hypothesis plays it for small cases that shrink; a seeded
random crowd plays it for long.
"""

from __future__ import annotations

import gc
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from whisper_live.config.model import BatchConfig
from whisper_live.inference.batching import BACKGROUND_SHARE, PAUSE_S, Batcher
from whisper_live.inference.types import Outcome, Request, RequestKind

PARTIAL, FINAL = RequestKind.PARTIAL, RequestKind.FINAL
BACKGROUND = RequestKind.BACKGROUND
AUDIO = np.zeros(160, np.float32)


@dataclass
class Book:
    """What the simulation knows of one request without an outcome."""

    request: Request
    place: tuple[float, int]
    times_out_at: float
    passed_by: Counter[str] = field(default_factory=Counter)  # sessions, while ready

    @property
    def kind(self) -> RequestKind:
        return self.request.kind

    @property
    def rank(self) -> tuple[bool, tuple[float, int]]:
        return self.kind is not FINAL, self.place


@dataclass
class RunningCall:
    """A call, and those of its rows that still have no outcome."""

    started_at: float
    ids: list[int]
    is_background: bool


class Simulation:
    """Sessions and an engine around a real batcher; every method checks everything."""

    def __init__(self, *, size: int, window_ms: float, workers: int) -> None:
        config = BatchConfig(batch_size=size, batch_window_ms=window_ms)
        self.batcher = Batcher(config, workers=workers)
        self.size, self.window_s, self.workers = size, window_ms / 1000, workers
        self.now = 100.0
        self.offered = 0
        self.settled = bytearray()  # outcomes, by request id
        self.books: dict[int, Book] = {}
        self.queued: dict[str, int] = {}  # by session
        self.turn: dict[str, int] = {}  # by session: running or to run again
        self.again: set[int] = set()
        self.calls: list[RunningCall] = []
        self.speaking: set[str] = set()
        self.rests_until = 0.0
        self.pauses_until = -math.inf
        self.most_open = 0
        self.on_start: Callable[[RunningCall], None] = lambda call: None

    # ------------------------------------------------------------------- actions

    def offer(self, session: str, kind: RequestKind, timeout_s: float) -> None:
        """Submit, where a session that keeps to the contract could."""
        older = self.books[self.queued[session]] if session in self.queued else None
        if older is not None and older.kind is not PARTIAL:
            return
        number, self.offered = self.offered, self.offered + 1
        self.settled.append(0)
        request = Request(number, session, kind, 0, AUDIO, timeout_s=timeout_s)
        place = older.place if older is not None else (self.now, number)
        outcomes = self.batcher.offer(request, now=self.now)
        assert [o.request_id for o in outcomes] == [
            book.request.id for book in [older] if book is not None
        ]
        self.settle(outcomes)
        self.books[number] = Book(request, place, self.now + timeout_s)
        self.queued[session] = number
        self.most_open = max(self.most_open, len(self.books))
        self.pump()

    def cancel(self, number: int) -> None:
        waits = number in self.queued.values() or number in self.again
        outcomes = self.batcher.cancel(number, now=self.now)
        assert [o.request_id for o in outcomes] == [number] * waits
        self.settle(outcomes)
        self.pump()

    def speak(self, session: str, is_open: bool) -> None:
        self.batcher.speaking(session, is_open)
        (self.speaking.add if is_open else self.speaking.discard)(session)
        self.pump()

    def forget(self, session: str) -> None:
        expected = {self.queued.get(session), self.turn.get(session)} - {None}
        expected -= {row for call in self.calls for row in call.ids}
        outcomes = self.batcher.forget(session, now=self.now)
        assert {o.request_id for o in outcomes} == expected
        self.speaking.discard(session)
        self.settle(outcomes)
        self.pump()

    def end(self, call: RunningCall, *, again: Iterable[int] = ()) -> None:
        """End a call: its rows are answered, but those in ``again`` run once more."""
        repeats = set(again)
        self.calls.remove(call)
        for number in call.ids:
            if number not in self.books:  # it timed out in the call: a late answer
                assert not self.batcher.answered(number, now=self.now)
            elif number in repeats:
                assert self.batcher.again(self.books[number].request)
                self.again.add(number)
            else:
                assert self.batcher.answered(number, now=self.now)
                self.count(number)
        self.batcher.finished(call.ids, now=self.now)
        if call.is_background:
            took_s = self.now - call.started_at
            share = min(self.workers * BACKGROUND_SHARE, 1.0)
            self.rests_until = self.now + took_s * (1 / share - 1)
        self.pump()

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline on the way."""
        until = self.now + seconds
        while True:
            deadline = self.batcher.deadline()
            if deadline is None or deadline > until:
                break
            self.now = deadline
            self.pump()
        self.now = until

    def drain(self) -> None:
        """Nobody comes any more: every request must find its end by itself."""
        for session in list(self.speaking):
            self.speak(session, False)
        while self.books:
            if self.calls:
                self.end(self.calls[0])
            self.advance(1.0)
        while self.calls:
            self.end(self.calls[0])
        self.advance(0)
        assert bytes(self.settled) == b"\x01" * self.offered
        assert self.batcher.deadline() is None
        assert self.batcher.queue_depth == self.batcher.running_calls == 0

    # -------------------------------------------------------------------- checks

    def pump(self) -> None:
        """What the worker does whenever something happened."""
        self.settle(self.batcher.expire(now=self.now))
        if self.speaking:
            self.pauses_until = self.now + PAUSE_S
        assert all(book.times_out_at > self.now for book in self.books.values())
        while (batch := self.batcher.take(now=self.now)) is not None:
            self.check_batch(batch)
        self.check_idle()
        self.batcher.check()
        deadline = self.batcher.deadline()
        assert deadline is None or deadline > self.now, "time would stand still"

    def ready(self) -> list[Book]:
        waiting = [n for s, n in self.queued.items() if s not in self.turn]
        return [self.books[number] for number in [*waiting, *self.again]]

    def others_come(self) -> bool:
        return any(s not in self.queued and s not in self.turn for s in self.speaking)

    def check_batch(self, batch: list[Request]) -> None:
        ready = self.ready()
        live = [book for book in ready if book.kind is not BACKGROUND]
        chosen = [self.books[row.id] for row in batch]
        is_background = chosen[0].kind is BACKGROUND
        assert len(self.calls) < self.workers
        assert 0 < len(batch) <= self.size
        assert len({row.session for row in batch}) == len(batch)
        assert all(book in ready for book in chosen), "its session has its turn"
        if is_background:
            others = [call for call in self.calls if call.is_background]
            assert not live
            assert len(batch) == 1 or all(len(call.ids) == 1 for call in others)
            if self.speaking:
                assert len(batch) == 1 and not others
                assert self.now >= self.rests_until
            elif self.now < self.pauses_until:
                assert not others
                assert self.workers > 1 or len(batch) == 1
        else:
            assert all(book.kind is not BACKGROUND for book in chosen)
            waited = self.now >= min(b.place[0] for b in live) + self.window_s
            assert len(live) >= self.size or waited or not self.others_come()
            assert len(batch) == min(len(live), self.size), "room was left"
        rivals = ready if is_background else live
        left = [book for book in rivals if book not in chosen]
        if left:
            assert max(b.rank for b in chosen) < min(b.rank for b in left)
        for book in left:
            for other in chosen:
                if other.kind is book.kind and other.request.id not in self.again:
                    book.passed_by[other.request.session] += 1
            assert max(book.passed_by.values(), default=0) <= 1, "somebody pushed in"
        for book in chosen:
            session = book.request.session
            if book.request.id in self.again:
                self.again.remove(book.request.id)
            else:
                del self.queued[session]
                self.turn[session] = book.request.id
        call = RunningCall(self.now, [row.id for row in batch], is_background)
        self.calls.append(call)
        self.on_start(call)

    def check_idle(self) -> None:
        """If a worker is free and something is ready, there is a reason to wait."""
        ready = self.ready()
        assert self.batcher.running_calls == len(self.calls)
        if len(self.calls) == self.workers or not ready:
            return
        live = [book for book in ready if book.kind is not BACKGROUND]
        if live:
            assert len(live) < self.size
            assert self.others_come()
            assert self.now < min(b.place[0] for b in live) + self.window_s
        else:
            is_read = any(call.is_background for call in self.calls)
            if self.speaking:
                assert is_read or self.now < self.rests_until
            else:
                assert is_read and self.now < self.pauses_until

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.count(outcome.request_id)

    def count(self, number: int) -> None:
        self.settled[number] += 1
        assert self.settled[number] == 1, "a second outcome"
        session = self.books.pop(number).request.session
        self.again.discard(number)
        for place in (self.queued, self.turn):
            if place.get(session) == number:
                del place[session]


# ------------------------------------------------------------------------ Hypothesis

sessions = st.sampled_from("abcdef")
kinds = st.sampled_from([PARTIAL, PARTIAL, FINAL, BACKGROUND])


class BatcherMachine(RuleBasedStateMachine):
    """Any order of actions that the contract allows."""

    @initialize(
        size=st.integers(1, 4),
        window_ms=st.sampled_from([0.0, 50.0]),
        workers=st.integers(1, 3),
    )
    def begin(self, size: int, window_ms: float, workers: int) -> None:
        self.sim = Simulation(size=size, window_ms=window_ms, workers=workers)

    @rule(session=sessions, kind=kinds, timeout_s=st.sampled_from([0.02, 5, 60]))
    def offer(self, session: str, kind: RequestKind, timeout_s: float) -> None:
        self.sim.offer(session, kind, timeout_s)

    @rule(back=st.integers(0, 8))
    def cancel(self, back: int) -> None:
        self.sim.cancel(self.sim.offered - back)

    @rule(session=sessions, is_open=st.booleans())
    def speak(self, session: str, is_open: bool) -> None:
        self.sim.speak(session, is_open)

    @rule(session=sessions)
    def forget(self, session: str) -> None:
        self.sim.forget(session)

    @rule(which=st.integers(0, 2), again=st.booleans())
    def end_call(self, which: int, again: bool) -> None:
        if which < len(self.sim.calls):
            call = self.sim.calls[which]
            self.sim.end(call, again=call.ids[:1] if again else [])

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.05, 1.0, 30.0]))
    def advance(self, seconds: float) -> None:
        self.sim.advance(seconds)

    @invariant()
    def queue_delay_is_a_duration(self) -> None:
        if hasattr(self, "sim"):
            assert self.sim.batcher.queue_delay_s(now=self.sim.now) >= 0

    def teardown(self) -> None:
        if hasattr(self, "sim"):
            self.sim.drain()


BatcherMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestBatcherMachine = BatcherMachine.TestCase


# --------------------------------------------------------------------- a random crowd


class Crowd:
    """Sessions that speak, fall silent and leave; an engine that is slow or hangs."""

    def __init__(self, seed: int, *, size: int, workers: int, people: int) -> None:
        self.chance = random.Random(seed)
        self.sim = Simulation(size=size, window_ms=50, workers=workers)
        self.sim.on_start = self._start
        self.names = [f"s{number}" for number in range(people)]
        self.ends: list[tuple[float, RunningCall]] = []
        self.pause_s = 2.0 / people  # about one action per person and two seconds

    def _start(self, call: RunningCall) -> None:
        base, row = 0.08, 0.05
        cost = (base + row * len(call.ids)) * self.chance.lognormvariate(0, 0.5)
        if self.chance.random() < 0.001:
            cost = 90.0  # longer than any timeout: hung
        self.ends.append((self.sim.now + cost, call))

    def play(self, requests: int) -> None:
        while self.sim.offered < requests:
            self._pass(self.chance.expovariate(1 / self.pause_s))
            self._act()

    def _pass(self, seconds: float) -> None:
        until = self.sim.now + seconds
        while self.ends and (first := min(self.ends, key=lambda e: e[0]))[0] <= until:
            self.sim.advance(max(first[0] - self.sim.now, 0))
            self.ends.remove(first)
            again = [n for n in first[1].ids if self.chance.random() < 0.02]
            self.sim.end(first[1], again=again)
        self.sim.advance(until - self.sim.now)

    def _act(self) -> None:
        sim, name = self.sim, self.chance.choice(self.names)
        dice = self.chance.random()
        timeout_s = self.chance.choice([2.0, 20.0, 60.0])
        if dice < 0.55:
            sim.speak(name, True)
            sim.offer(name, PARTIAL, timeout_s)
        elif dice < 0.80:
            sim.offer(name, FINAL, timeout_s)
            sim.speak(name, False)
        elif dice < 0.85:
            sim.offer(name, BACKGROUND, timeout_s)
        elif dice < 0.95:
            sim.cancel(sim.offered - self.chance.randrange(20))
        else:
            sim.forget(name)


@pytest.mark.parametrize(
    ("seed", "size", "workers", "people"),
    [(1, 4, 1, 8), (2, 4, 2, 40), (3, 1, 1, 3), (4, 16, 2, 100)],
)
def test_every_request_has_one_outcome(
    seed: int, size: int, workers: int, people: int
) -> None:
    crowd = Crowd(seed, size=size, workers=workers, people=people)
    crowd.play(4000)
    crowd.sim.drain()
    stats = crowd.sim.batcher.stats
    # the run was worth its name: all ways for a request to end were taken
    assert min(stats.calls, stats.replaced, stats.cancelled, stats.repeated) > 0
    assert crowd.sim.most_open <= 2 * people


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_requests_leave_no_growth() -> None:
    crowd = Crowd(5, size=4, workers=2, people=24)
    crowd.play(20_000)
    early = _blocks_held()
    crowd.play(100_000)
    late = _blocks_held()
    crowd.sim.drain()
    batcher = crowd.sim.batcher
    print(
        f"{crowd.sim.offered} requests, {batcher.stats}, occupancy "
        f"{batcher.occupancy:.2f}, memory blocks {early} -> {late}"
    )
    assert min(batcher.stats.timed_out, batcher.stats.repeated) > 100
    assert late < early + 1000  # one lost object per request would be 80,000


def _blocks_held() -> int:
    gc.collect()  # it also empties the interpreter's free lists
    return sys.getallocatedblocks()
