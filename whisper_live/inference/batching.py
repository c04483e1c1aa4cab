"""Which requests form the next batch, when it starts, and what became of the rest.

Owns the queue, the places of running calls and every request's deadline.  Pure: it
reads no clock and awaits nothing, the caller brings ``now`` and asks ``deadline`` when
to come back.  Knows nothing of engines, sockets or text.

The rules.  A session has one request running and one queued at most, so no batch holds
two rows of a session and no session gets ahead of its own order.  Finals go before
partials, then the oldest place in the queue; a newer request of a session replaces its
queued partial and takes over that place, so that a session which speaks on is not sent
to the back each time.  With a free worker a batch starts when

- it is full, or
- nobody else can join it: no session has speech open without a request in here, or
- its oldest request has waited the batch window.

Background requests (whole files, final passes) never share a batch with live ones and
start only where no live request could; see ``BACKGROUND_SHARE``.  Between two
utterances (``PAUSE_S``) they leave one of several workers free.  In silence one call of
theirs is a full batch at a time, the others of several workers are one row: whoever
begins to speak then waits for one row at most.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from whisper_live.config.model import BatchConfig
from whisper_live.errors import EngineTimeout
from whisper_live.inference.types import (
    Cancelled,
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
)

__all__ = ["BACKGROUND_SHARE", "PAUSE_S", "BatchStats", "Batcher"]

# While somebody speaks, the next live request is never far.  Background work then runs
# one row at a time, and rests so long after each call that it keeps the workers busy
# for this share of their time: a 30 s window can cost seconds on a CPU.
BACKGROUND_SHARE = 0.1

# Who spoke just now will speak again: four windows of 28 s take tiny.en five seconds on
# one core, and with one live stream beside ten uploads finals waited as long.
PAUSE_S = 15.0

# The queue delay is smoothed over this time: long enough to ignore one full batch,
# short enough that admission opens again soon after a rush.
SMOOTHING_S = 5.0

_SLACK = 64  # gone requests whose timeouts are kept before they are swept out

_RANK = {RequestKind.FINAL: 0, RequestKind.PARTIAL: 1, RequestKind.BACKGROUND: 2}


class _State(enum.Enum):
    QUEUED = "queued"
    RUNNING = "running"
    AGAIN = "again"  # was in a call, awaits a further one; still its session's turn


@dataclass(slots=True, eq=False)
class _Call:
    """One engine call, from ``take`` to ``finished``."""

    started_at: float
    ids: tuple[int, ...]
    is_background: bool
    is_overdue: bool = False  # a row timed out in it


@dataclass(slots=True, eq=False)
class _Entry:
    """One request without an outcome."""

    request: Request
    placed_at: float  # since when its session holds this place in the queue
    ready_at: float  # since when only the load keeps it waiting; inf behind its own
    order: int  # breaks ties between places
    times_out_at: float
    state: _State = _State.QUEUED
    call: _Call | None = None
    doubtful: Outcome | None = None  # what an earlier call made of it

    @property
    def rank(self) -> tuple[int, float, int]:
        return _RANK[self.request.kind], self.placed_at, self.order

    @property
    def is_background(self) -> bool:
        return self.request.kind is RequestKind.BACKGROUND


@dataclass(slots=True)
class BatchStats:
    """Counters since the start."""

    calls: int = 0
    rows: int = 0  # in those calls
    replaced: int = 0  # queued partials that a newer request took the place of
    cancelled: int = 0  # withdrawn while queued, by request or with their session
    timed_out: int = 0
    repeated: int = 0  # rows that asked for a further call


class Batcher:
    """Decides; the worker does.

    The order of calls: ``offer`` any time; ``take`` until it returns None; for each row
    of a taken batch ``answered`` or ``again``, then ``finished`` with the batch's ids.
    Outcomes that no engine gave come as return values, each exactly once.
    """

    def __init__(self, config: BatchConfig, *, workers: int) -> None:
        self.stats = BatchStats()
        self._batch_size = config.batch_size
        self._window_s = config.batch_window_ms / 1000
        self._workers = workers
        self._open: dict[int, _Entry] = {}
        self._queued: dict[str, _Entry] = {}  # by session
        self._current: dict[str, _Entry] = {}  # by session: running, or to run again
        self._calls: dict[int, _Call] = {}  # by their first request's id
        self._speaking: set[str] = set()
        self._timeouts: list[tuple[float, int]] = []  # a heap; ids may be gone
        self._orders = 0
        self._background_rests_until = -math.inf
        self._pauses_until = -math.inf  # since somebody spoke last
        self._background_share = min(BACKGROUND_SHARE * workers, 1.0)  # of one worker
        self._delay_s = 0.0
        self._delay_at = -math.inf  # when it was last updated

    # ------------------------------------------------------------------ the queue

    def offer(self, request: Request, *, now: float) -> list[Outcome]:
        """Queue ``request``; the outcome of the partial that it replaces, if any."""
        assert request.id not in self._open, "a request is offered once"
        self._orders += 1
        placed_at, order = now, self._orders
        ready_at = math.inf if request.session in self._current else now
        outcomes: list[Outcome] = []
        older = self._queued.get(request.session)
        if older is not None:
            assert (
                older.request.kind is RequestKind.PARTIAL
            ), "a session queues one request, and only a partial may be replaced"
            placed_at, order = older.placed_at, older.order
            ready_at = older.ready_at
            self._remove(older, now)
            self.stats.replaced += 1
            outcomes.append(Cancelled(older.request.id))
        entry = _Entry(request, placed_at, ready_at, order, now + request.timeout_s)
        self._open[request.id] = self._queued[request.session] = entry
        heapq.heappush(self._timeouts, (entry.times_out_at, request.id))
        return outcomes

    def cancel(self, request_id: int, *, now: float) -> list[Outcome]:
        """Withdraw a request that waits; nothing if it runs or has its outcome."""
        entry = self._open.get(request_id)
        if entry is None or entry.state is _State.RUNNING:
            return []
        self._remove(entry, now)
        self.stats.cancelled += 1
        return [Cancelled(request_id)]

    def speaking(self, session: str, is_open: bool) -> bool:
        """Say whether a session has an utterance open and may soon offer.

        True if that is news.
        """
        if is_open == (session in self._speaking):
            return False
        if is_open:
            self._speaking.add(session)
        else:
            self._speaking.discard(session)
        return True

    def forget(self, session: str, *, now: float) -> list[Outcome]:
        """The session is gone: what it has waiting is cancelled."""
        self._speaking.discard(session)
        outcomes: list[Outcome] = []
        for entry in (self._current.get(session), self._queued.get(session)):
            if entry is not None:
                outcomes += self.cancel(entry.request.id, now=now)
        return outcomes

    # -------------------------------------------------------------------- batches

    def take(self, *, now: float) -> list[Request] | None:
        """The next batch, if one is to start now; it then holds a worker."""
        if self._speaking:
            self._pauses_until = now + PAUSE_S
        if len(self._calls) >= self._workers:
            return None
        live = self._ready(background=False)
        chosen = live[: self._batch_size]
        if live:
            is_full = len(live) >= self._batch_size
            if not is_full and now < self._gathers_until(live) and self._others_come():
                return None
        elif now >= self._background_from():
            chosen = self._ready(background=True)[: self._background_rows(now)]
        return self._start(chosen, now) if chosen else None

    def answered(self, request_id: int, *, now: float) -> bool:
        """An engine answered this row.

        True if the answer is its outcome; False if it timed out before, and the answer
        is to be thrown away.
        """
        entry = self._open.get(request_id)
        if entry is None:
            return False
        assert entry.state is _State.RUNNING, "only a running row is answered"
        self._remove(entry, now)
        return True

    def again(self, request: Request, doubtful: Outcome | None = None) -> bool:
        """A running row needs a further call, as ``request`` (same id and session).

        It goes back to the place that it had; ``doubtful`` is its outcome if it times
        out now.  False if it timed out before.
        """
        entry = self._open.get(request.id)
        if entry is None:
            return False
        assert entry.state is _State.RUNNING, "only a running row runs again"
        old = entry.request
        assert (request.session, request.kind) == (
            old.session,
            old.kind,
        ), "a further try belongs to the same session and kind"
        entry.request, entry.state, entry.call = request, _State.AGAIN, None
        entry.doubtful = doubtful
        self.stats.repeated += 1
        return True

    def finished(self, ids: Sequence[int], *, now: float) -> None:
        """The call with these ids has ended; all its rows were dealt with before."""
        call = self._calls.pop(ids[0])
        assert call.ids == tuple(ids), "a call ends as it was taken"
        assert not any(
            entry.call is call for entry in map(self._open.get, ids) if entry
        ), "every row of a finished call was answered or runs again"
        if call.is_background:
            rest_s = (now - call.started_at) * (1 / self._background_share - 1)
            self._background_rests_until = now + rest_s

    # ----------------------------------------------------------------------- time

    def deadline(self) -> float | None:
        """When ``take`` or ``expire`` may have something new, by time alone."""
        moments = []
        while self._timeouts and self._timeouts[0][1] not in self._open:
            heapq.heappop(self._timeouts)
        if self._timeouts:
            moments.append(self._timeouts[0][0])
        if len(self._calls) < self._workers:
            if live := self._ready(background=False):
                moments.append(self._gathers_until(live))
            elif self._ready(background=True):
                if (at := self._background_from()) < math.inf:
                    moments.append(at)
        return min(moments, default=None)

    def expire(self, *, now: float) -> list[Outcome]:
        """Outcomes of the requests that have passed their timeout, waiting or running.

        Failures, but for rows that had doubtful text from an earlier call.  A call
        keeps its worker until ``finished``, even when all its rows timed out.
        """
        outcomes: list[Outcome] = []
        while self._timeouts and self._timeouts[0][0] <= now:
            entry = self._open.get(heapq.heappop(self._timeouts)[1])
            if entry is None:
                continue
            where = "in the queue"
            if entry.call is not None:
                entry.call.is_overdue = True
                where = "in its call"
            self._remove(entry, now)
            self.stats.timed_out += 1
            error = EngineTimeout(
                f"no text within {entry.request.timeout_s:g} s (it was {where})"
            )
            outcomes.append(entry.doubtful or RequestFailed(entry.request.id, error))
        return outcomes

    # ----------------------------------------------------------------------- load

    @property
    def queue_depth(self) -> int:
        """Requests that wait, those to run again included."""
        again = sum(e.state is _State.AGAIN for e in self._current.values())
        return len(self._queued) + again

    @property
    def running_calls(self) -> int:
        """Workers in use."""
        return len(self._calls)

    @property
    def overdue_calls(self) -> int:
        """Running calls in which a row has timed out: the engine may be hung."""
        return sum(call.is_overdue for call in self._calls.values())

    @property
    def oldest_call_at(self) -> float | None:
        """When the call that runs longest was started."""
        return min((call.started_at for call in self._calls.values()), default=None)

    @property
    def occupancy(self) -> float:
        """Mean share of a batch's rows that were used, 0..1."""
        return self.stats.rows / max(self.stats.calls * self._batch_size, 1)

    def queue_delay_s(self, *, now: float) -> float:
        """How long a live request waits for its call these days.

        Smoothed over a few seconds; never less than what the oldest one in the queue
        has waited by now (a hung engine starts no calls), and falling to nothing when
        no call was started for a while.
        """
        ready = (e.ready_at for e in self._queued.values() if not e.is_background)
        return max(
            now - min(ready, default=now),
            self._delay_s * math.exp(-self._since_update(now)),
        )

    def check(self) -> None:
        """Assert the invariants; tests call it after every step."""
        waiting = {e.request.id for e in self._queued.values()}
        current = {e.request.id for e in self._current.values()}
        assert not waiting & current and waiting | current == set(self._open)
        for session, entry in self._queued.items():
            assert entry.request.session == session
            assert entry.state is _State.QUEUED and entry.call is None
            assert (entry.ready_at == math.inf) == (session in self._current)
        for session, entry in self._current.items():
            assert entry.request.session == session
            assert (entry.state is _State.RUNNING) == (entry.call is not None)
            assert entry.call is None or entry.request.id in entry.call.ids
            assert entry.call is None or self._calls[entry.call.ids[0]] is entry.call
        assert len(self._calls) <= self._workers
        assert all(0 < len(c.ids) <= self._batch_size for c in self._calls.values())
        pending = {request_id for _, request_id in self._timeouts}
        assert set(self._open) <= pending, "every open request can time out"
        assert len(self._timeouts) <= 2 * len(self._open) + _SLACK

    # -------------------------------------------------------------------- helpers

    def _ready(self, *, background: bool) -> list[_Entry]:
        """What could start now, best first."""
        waiting = [e for e in self._current.values() if e.state is _State.AGAIN]
        waiting += [e for s, e in self._queued.items() if s not in self._current]
        return sorted(
            (e for e in waiting if e.is_background == background),
            key=lambda entry: entry.rank,
        )

    def _gathers_until(self, live: Sequence[_Entry]) -> float:
        return min(entry.placed_at for entry in live) + self._window_s

    def _others_come(self) -> bool:
        """Whether a session that has nothing in here may soon offer."""
        return any(
            s not in self._queued and s not in self._current for s in self._speaking
        )

    def _background_rows(self, now: float) -> int:
        """How many background rows the next call may have."""
        runs_batch = any(
            len(c.ids) > 1 for c in self._calls.values() if c.is_background
        )
        is_alone = self._workers == 1 and now < self._pauses_until
        return 1 if self._speaking or runs_batch or is_alone else self._batch_size

    def _background_from(self) -> float:
        """From when on one may start; inf: when the one that runs has ended."""
        runs = any(call.is_background for call in self._calls.values())
        if self._speaking:
            return math.inf if runs else self._background_rests_until
        return self._pauses_until if runs else -math.inf

    def _start(self, chosen: Sequence[_Entry], now: float) -> list[Request]:
        ids = tuple(entry.request.id for entry in chosen)
        call = _Call(now, ids, chosen[0].is_background)
        waits = [
            now - entry.ready_at
            for entry in chosen
            if entry.state is _State.QUEUED and not entry.is_background
        ]
        for entry in chosen:
            if entry.state is _State.QUEUED:
                self._current[entry.request.session] = self._queued.pop(
                    entry.request.session
                )
            entry.state, entry.call = _State.RUNNING, call
        self._calls[ids[0]] = call
        self.stats.calls += 1
        self.stats.rows += len(chosen)
        if waits:
            # At least a tenth, so that calls of several workers that start in the same
            # moment all count.
            weight = max(0.1, 1 - math.exp(-self._since_update(now)))
            self._delay_s += weight * (sum(waits) / len(waits) - self._delay_s)
            self._delay_at = now
        return [entry.request for entry in chosen]

    def _since_update(self, now: float) -> float:
        return (now - self._delay_at) / SMOOTHING_S

    def _remove(self, entry: _Entry, now: float) -> None:
        """Take a request out of everything but its call's list of ids."""
        session = entry.request.session
        del self._open[entry.request.id]
        if entry.state is _State.QUEUED:
            del self._queued[session]
        else:
            del self._current[session]
            if session in self._queued:
                self._queued[session].ready_at = now
        if len(self._timeouts) > 2 * len(self._open) + _SLACK:
            self._timeouts = [t for t in self._timeouts if t[1] in self._open]
            heapq.heapify(self._timeouts)
