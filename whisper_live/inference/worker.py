"""Runs the engine: takes batches, awaits calls, gives each request its one outcome.

Owns the calls that run, the threads that prepare rows, and the table of requests
without an outcome.  What goes into a batch and when is ``batching``'s to decide; what a
hypothesis means is the session's.  Everything here happens on the loop thread, except
``Preparing.prepare``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from whisper_live.config.model import BatchConfig
from whisper_live.errors import EngineError, EngineUnavailable, WindowRejected
from whisper_live.inference.batching import Batcher
from whisper_live.inference.engine import (
    Again,
    Counting,
    Engine,
    Forgetting,
    Preparing,
)
from whisper_live.inference.load_steps import LoadSteps
from whisper_live.inference.pool import started_pool
from whisper_live.inference.types import (
    Cancelled,
    Hypothesis,
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
    Timing,
)
from whisper_live.observability.metrics import Metrics, OutcomeName
from whisper_live.text.counted import counted

__all__ = ["Load", "Worker"]

logger = logging.getLogger("whisper_live.worker")

Deliver = Callable[[Outcome], None]

CLOSE_S = 1.0  # that abandoned calls get to end
MOST_FAILURES = 3  # calls that raise in a row, after which the engine counts as down
PREPARE_THREADS = 2  # features cost some ms per row; more threads only fight the engine


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the worker is at one moment."""

    queue_depth: int  # requests that wait
    queue_delay_s: float  # smoothed wait of live requests
    running_calls: int
    workers: int  # most calls at the same time
    occupancy: float  # mean share of a batch's rows in use, 0..1, since the start


@dataclass(slots=True, eq=False)
class _Open:
    """A request without an outcome."""

    kind: RequestKind
    deliver: Deliver
    submitted_at: float
    prepared: Future[Request | None] | None
    # Made only for a call that has to wait: most rows are prepared while they queue,
    # and waking the loop for each costs more than the rest of a row's way.
    awaited: asyncio.Future[Request | None] | None = None
    is_first_try: bool = True


class Worker:
    """Drives one engine for all sessions; ``run`` must be running for work to be done.

    ``deliver`` of every submitted request is called exactly once, on the loop thread,
    and never from inside ``submit``, ``cancel`` or ``forget``.  ``clock`` is monotonic
    seconds, the loop's own time unless a test brings another.  Raises ``ConfigError``
    where the machine gives no threads for it.
    """

    def __init__(
        self,
        engine: Engine,
        config: BatchConfig,
        *,
        metrics: Metrics,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._engine = engine
        self._workers = engine.info.workers
        rows = min(config.batch_size, engine.info.max_batch)
        config = dataclasses.replace(config, batch_size=rows)
        self._batcher = Batcher(config, workers=self._workers)
        self._metrics = metrics
        self._clock = clock or asyncio.get_running_loop().time
        self._open: dict[int, _Open] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._is_closed = False
        self._failures = 0  # calls that raised since one did not
        self._load = LoadSteps()
        self._was_healthy = True
        self._stopped_at: float | None = self._clock()  # None while `run` is running
        # Set for good when the engine's device is gone, or `run` has failed.
        self.lost = asyncio.Event()
        # Asked once: looking a protocol's members up takes 40 us.
        self._engine_forget = engine.forget if isinstance(engine, Forgetting) else None
        self._engine_reads = (
            engine.characters_read if isinstance(engine, Counting) else None
        )
        self._engine_prepare = None
        self._pool: ThreadPoolExecutor | None = None
        if isinstance(engine, Preparing):
            self._engine_prepare = engine.prepare
            self._pool = started_pool(PREPARE_THREADS, "prepare")
        metrics.engine_up(True)

    # -------------------------------------------------------------- for connections

    def characters_read(self, *, hotwords: str, prompt: str) -> tuple[int, int]:
        """See ``Counting``; all of them where the engine has no limit."""
        if self._engine_reads is None:
            return len(hotwords), len(prompt)
        return self._engine_reads(hotwords=hotwords, prompt=prompt)

    def submit(self, request: Request, deliver: Deliver) -> None:
        """Queue a request.  After ``close`` its outcome is ``EngineUnavailable``.

        What raises leaves nothing behind.
        """
        now = self._clock()
        assert request.id not in self._open, "a request is submitted once"
        if self._is_closed:
            self._open[request.id] = _Open(request.kind, deliver, now, None)
            self._settle(RequestFailed(request.id, EngineUnavailable("shutting down")))
            return
        prepared = self._prepare(request)  # first: a pool may refuse
        self._open[request.id] = _Open(request.kind, deliver, now, prepared)
        self._settle(*self._batcher.offer(request, now=now))
        self._wake.set()

    def cancel(self, request_id: int) -> None:
        """Withdraw a request that waits; one that runs keeps its outcome."""
        self._settle(*self._batcher.cancel(request_id, now=self._clock()))
        self._wake.set()

    def speaking(self, session: str, is_open: bool) -> None:
        """Say whether a session has an utterance open; others then wait for it."""
        if self._batcher.speaking(session, is_open):
            self._wake.set()

    def forget(self, session: str) -> None:
        """The session is gone; cancel what waits and let the engine drop its state."""
        self._settle(*self._batcher.forget(session, now=self._clock()))
        if self._engine_forget is not None:
            self._engine_forget(session)
        self._wake.set()

    # ------------------------------------------------------------------- for the server

    @property
    def queue_delay_s(self) -> float:
        """How long live requests wait for a call these days, smoothed."""
        return self._batcher.queue_delay_s(now=self._clock())

    @property
    def load(self) -> Load:
        """Queue and calls as they are now."""
        return Load(
            queue_depth=self._batcher.queue_depth,
            queue_delay_s=self.queue_delay_s,
            running_calls=self._batcher.running_calls,
            workers=self._workers,
            occupancy=self._batcher.occupancy,
        )

    @property
    def is_healthy(self) -> bool:
        """False while a call is hung or the engine is down.

        It is down from ``EngineUnavailable``, or some calls in a row that raised
        anything else, until a call succeeds; for good once it is lost.
        """
        return not (
            self.lost.is_set()
            or self._failures >= MOST_FAILURES
            or self._batcher.overdue_calls
        )

    @property
    def progress_at(self) -> float:
        """When the engine last made progress, for a watchdog: now, if nothing is stuck.

        Otherwise the start of the longest running call, or, where ``run`` is not
        running, the moment when it stopped.
        """
        if self._stopped_at is not None:
            return self._stopped_at
        oldest = self._batcher.oldest_call_at
        return self._clock() if oldest is None else oldest

    async def run(self) -> None:
        """Start batches and end overdue requests, until cancelled or closed.

        What it raises is a bug, after which the worker counts as lost: it fails every
        request from then on.
        """
        assert self._stopped_at is not None, "one run at a time"
        self._stopped_at = None
        try:
            while not self._is_closed:
                self._wake.clear()
                now = self._clock()
                self._settle(*self._batcher.expire(now=now))
                while batch := self._batcher.take(now=now):
                    self._start(batch, now)
                self._report(now)
                await self._rest()
        except Exception:
            logger.exception("no more engine calls can be started")
            self.lost.set()
            self._metrics.engine_up(False)
            self._refuse("the batch worker has failed")
            raise
        finally:
            self._stopped_at = self._clock()

    async def close(self) -> None:
        """Fail every open request with ``EngineUnavailable`` and abandon the calls.

        All outcomes are delivered when this returns.  The engine is the caller's.
        """
        self._refuse("shutting down")
        for call in self._calls:
            call.cancel()
        if self._calls:  # not for ever: an engine may be deaf to cancellation
            await asyncio.wait(self._calls, timeout=CLOSE_S)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.sleep(0)  # what was settled above is delivered in this turn

    def _refuse(self, why: str) -> None:
        """From here on every request fails, and those without an outcome now."""
        self._is_closed = True
        self._wake.set()
        error = EngineUnavailable(why)
        self._settle(*[RequestFailed(request_id, error) for request_id in self._open])

    # ------------------------------------------------------------------------ calls

    async def _rest(self) -> None:
        """Until something happened or the batcher's deadline has come."""
        deadline = self._batcher.deadline()
        delay = None if deadline is None else max(deadline - self._clock(), 0)
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _start(self, batch: Sequence[Request], now: float) -> None:
        self._metrics.batch_started(len(batch))
        for entry in (self._open[request.id] for request in batch):
            if entry.is_first_try:
                self._metrics.stage("queue", now - entry.submitted_at)
        call = asyncio.create_task(self._call(batch, now), name="engine call")
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, batch: Sequence[Request], started_at: float) -> None:
        """One engine call, from its rows' preparation to their outcomes."""
        answers: dict[int, Outcome | Again] = {}
        failure: EngineError = EngineUnavailable("the call was abandoned")
        try:
            rows = [row for r in batch if (row := await self._prepared(r, answers))]
            if rows:
                called_at = self._clock()
                given = await self._engine.transcribe(rows)
                engine_s = self._clock() - called_at
                self._metrics.stage("infer", engine_s)
                for row, answer in zip(rows, given, strict=True):
                    assert _fits(answer, row), "answers come in the rows' order"
                    answers[row.id] = self._timed(
                        answer, started_at, engine_s, len(rows)
                    )
                self._failures = 0
        except EngineUnavailable as error:
            logger.error("the engine is not available: %s", error)
            failure, self._failures = error, MOST_FAILURES
            if error.kind == "device_lost":
                self.lost.set()
        except Exception as error:
            # The edge of one batch: whatever it was, only these rows pay for it.
            logger.exception("an engine call of %s raised", counted(len(batch), "row"))
            failure = EngineError(f"the engine raised {type(error).__name__}")
            self._failures += 1
        finally:
            now = self._clock()
            for request in batch:
                answer = answers.get(request.id, RequestFailed(request.id, failure))
                self._answer(answer, now)
            self._batcher.finished([request.id for request in batch], now=now)
            self._wake.set()

    def _answer(self, answer: Outcome | Again, now: float) -> None:
        """Settle a row, or queue it again; nothing if it timed out before."""
        if not isinstance(answer, Again):
            if self._batcher.answered(answer.request_id, now=now):
                self._settle(answer)
        elif (
            self._batcher.again(answer.request, answer.doubtful) and not self._is_closed
        ):
            entry = self._open[answer.request.id]
            entry.is_first_try, entry.prepared = False, None

    def _timed(
        self, answer: Outcome | Again, started_at: float, engine_s: float, rows: int
    ) -> Outcome | Again:
        """The answer with the parts of its timing that the engine left open."""
        entry = self._open.get(_id(answer))
        if entry is None or not isinstance(answer, Hypothesis):
            return answer
        given = answer.timing
        timing = Timing(
            queue_s=given.queue_s or started_at - entry.submitted_at,
            engine_s=given.engine_s or engine_s,
            batch_size=given.batch_size if given.engine_s else rows,
            padding=given.padding,
            context_s=given.context_s,
            is_fallback=given.is_fallback,
            load=self._load.step,
        )
        self._metrics.padding(timing.padding)
        if timing.is_fallback:
            self._metrics.context_fallback()
        return dataclasses.replace(answer, timing=timing)

    # ------------------------------------------------------------------ preparation

    def _prepare(self, request: Request) -> Future[Request | None] | None:
        if self._pool is None:
            return None
        assert self._engine_prepare is not None, "there is a pool for it alone"
        return self._pool.submit(self._engine_prepare, request)

    async def _prepared(
        self, request: Request, answers: dict[int, Outcome | Again]
    ) -> Request | None:
        """What to give to the engine for ``request``; None if its outcome is known."""
        entry = self._open.get(request.id)
        if entry is None or entry.prepared is None:
            return request if entry else None
        if not entry.prepared.done():
            entry.awaited = asyncio.wrap_future(entry.prepared)
            await asyncio.wait([entry.awaited])
            if entry.awaited.cancelled():  # it timed out meanwhile
                return None
            entry.awaited.exception()  # seen, by what follows
        error = entry.prepared.exception()
        if error is None:
            return entry.prepared.result() or request
        if not isinstance(error, EngineError):
            logger.error("preparing a row raised", exc_info=error)
            error = WindowRejected("the window could not be prepared")
        answers[request.id] = RequestFailed(request.id, error)
        return None

    # --------------------------------------------------------------------- outcomes

    def _settle(self, *outcomes: Outcome) -> None:
        """Hand outcomes over in the loop's next turn, when no caller is in the way."""
        for outcome in outcomes:
            entry = self._open.pop(outcome.request_id, None)
            if entry is None:
                continue  # closed meanwhile: it had its outcome then
            if entry.prepared is not None:
                entry.prepared.cancel()  # no thread begins it any more
            if entry.awaited is not None:
                entry.awaited.cancel()  # and no call waits for one that has begun
            self._metrics.request_done(entry.kind.value, _name(outcome))
            if isinstance(outcome, RequestFailed):
                self._metrics.error(outcome.error.kind)
            asyncio.get_running_loop().call_soon(
                self._hand_over, entry.deliver, outcome
            )

    def _hand_over(self, deliver: Deliver, outcome: Outcome) -> None:
        try:
            deliver(outcome)
        except Exception:  # the edge of one session: the others go on
            logger.exception("a session could not take its outcome")
            self._metrics.error("internal")

    def _report(self, now: float) -> None:
        batcher = self._batcher
        delay_s = batcher.queue_delay_s(now=now)
        self._metrics.queue(batcher.queue_depth, delay_s)
        if self._load.update(delay_s, now=now):
            name = self._load.step.name.lower()
            logger.info("requests wait %.2f s: giving up %s", delay_s, name)
            self._metrics.load_step(self._load.step)
        if self.is_healthy != self._was_healthy:
            self._was_healthy = self.is_healthy
            self._metrics.engine_up(self.is_healthy)
            if self.is_healthy:
                logger.info("the engine answers again")
            else:
                logger.error(
                    "the engine does not answer: %s overdue",
                    counted(batcher.overdue_calls, "call"),
                )


def _fits(answer: Outcome | Again, row: Request) -> bool:
    """Whether an engine's answer is one to this row."""
    if not isinstance(answer, Again):
        return answer.request_id == row.id
    again = answer.request
    return (again.id, again.session, again.kind) == (row.id, row.session, row.kind)


def _id(answer: Outcome | Again) -> int:
    return answer.request.id if isinstance(answer, Again) else answer.request_id


def _name(outcome: Outcome) -> OutcomeName:
    if isinstance(outcome, Hypothesis):
        return "hypothesis"
    return "cancelled" if isinstance(outcome, Cancelled) else "failed"
