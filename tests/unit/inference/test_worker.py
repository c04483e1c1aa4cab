"""The worker on a recording engine: calls, outcomes, health, preparation."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.virtual_time import settle, virtual_time
from whisper_live.config.model import BatchConfig
from whisper_live.errors import (
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    WindowRejected,
)
from whisper_live.inference.engine import Again, EngineInfo
from whisper_live.inference.load_steps import LoadStep
from whisper_live.inference.types import (
    Cancelled,
    Hypothesis,
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
    Timing,
)
from whisper_live.inference.worker import PREPARE_THREADS, Worker
from whisper_live.observability.metrics import Metrics

PARTIAL, FINAL = RequestKind.PARTIAL, RequestKind.FINAL


def request(
    number: int, session: str = "", kind: RequestKind = PARTIAL, timeout_s: float = 60
) -> Request:
    audio = np.zeros(1600, np.float32)
    name = session or f"s{number}"
    return Request(number, name, kind, 0, audio, timeout_s=timeout_s)


def hypothesis(row: Request, timing: Timing = Timing()) -> Hypothesis:
    return Hypothesis(row.id, (), "en", 1.0, timing)


def _rounded(timing: Timing) -> Timing:
    queue_s, engine_s = round(timing.queue_s, 6), round(timing.engine_s, 6)
    return dataclasses.replace(timing, queue_s=queue_s, engine_s=engine_s)


class Call:
    """One call that the engine is in; the test says how it ends."""

    def __init__(self, batch: Sequence[Request]) -> None:
        self.batch = list(batch)
        self.ids = [row.id for row in batch]
        self._end: asyncio.Future[Sequence[Outcome | Again]] = (
            asyncio.get_running_loop().create_future()
        )

    async def ended(self) -> Sequence[Outcome | Again]:
        return await self._end

    def succeed(self) -> None:
        self.answer(*map(hypothesis, self.batch))

    def answer(self, *answers: Outcome | Again) -> None:
        self._end.set_result(answers)

    def fail(self, error: Exception) -> None:
        self._end.set_exception(error)


class RecordingEngine:
    """Every call waits until the test ends it."""

    def __init__(self, *, workers: int = 1, max_batch: int = 8) -> None:
        self.info = EngineInfo(
            "fake", "fake", "cpu", "", ("en",), max_batch, workers=workers
        )
        self.calls: list[Call] = []

    async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome | Again]:
        self.calls.append(Call(batch))
        return await self.calls[-1].ended()

    async def close(self) -> None:
        raise AssertionError("the engine is its owner's to close")


class Desk:
    """A running worker and everything it delivered."""

    def __init__(self, engine: RecordingEngine, config: BatchConfig) -> None:
        self.engine = engine
        self.metrics = Metrics()
        self.worker = Worker(engine, config, metrics=self.metrics)
        self.delivered: list[Outcome] = []

    def submit(self, *requests: Request) -> None:
        for each in requests:
            self.worker.submit(each, self.delivered.append)

    @property
    def results(self) -> list[tuple[int, type[Outcome]]]:
        return [(outcome.request_id, type(outcome)) for outcome in self.delivered]

    def is_healthy(self) -> bool:  # no property: mypy would take it for settled
        return self.worker.is_healthy

    def error(self, request_id: int) -> EngineError:
        (found,) = [o for o in self.delivered if o.request_id == request_id]
        assert isinstance(found, RequestFailed)
        return found.error

    def metric(self, line: str) -> float:
        """The value of one series, given as it stands on the page."""
        page = self.metrics.render().decode().splitlines()
        (found,) = [entry for entry in page if entry.startswith(line + " ")]
        return float(found.rpartition(" ")[2])


@asynccontextmanager
async def desk(
    engine: RecordingEngine | None = None, config: BatchConfig | None = None
) -> AsyncIterator[Desk]:
    """A desk whose worker runs inside the block."""
    made = Desk(engine or RecordingEngine(), config or BatchConfig())
    running = asyncio.create_task(made.worker.run())
    try:
        yield made
    finally:
        await made.worker.close()
        await asyncio.wait_for(running, 1)


# ---------------------------------------------------------------------------- calls


@virtual_time
async def test_requests_of_one_moment_share_a_call() -> None:
    async with desk() as d:
        d.submit(request(1), request(2), request(3))
        await settle()
        assert [call.ids for call in d.engine.calls] == [[1, 2, 3]]
        d.engine.calls[0].succeed()
        await settle()
        assert d.results == [(n, Hypothesis) for n in (1, 2, 3)]
        assert d.worker.load.running_calls == 0


@virtual_time
async def test_next_batch_gathers_while_a_call_runs() -> None:
    async with desk() as d:
        d.submit(request(1))
        await settle()
        d.submit(request(2), request(3, kind=FINAL))
        await settle()
        assert [call.ids for call in d.engine.calls] == [[1]]
        assert d.worker.load.queue_depth == 2
        d.engine.calls[0].succeed()
        await settle()
        assert [call.ids for call in d.engine.calls] == [[1], [3, 2]]


@virtual_time
async def test_window_passes_without_a_further_event() -> None:
    async with desk() as d:
        loop = asyncio.get_running_loop()
        d.worker.speaking("other", True)
        d.submit(request(1))
        await settle()
        assert d.engine.calls == []
        submitted_at = loop.time()
        while not d.engine.calls:
            await asyncio.sleep(0.001)
        assert loop.time() - submitted_at == pytest.approx(0.05, abs=0.002)


@virtual_time
async def test_end_of_the_other_speech_starts_the_batch_at_once() -> None:
    async with desk() as d:
        d.worker.speaking("other", True)
        d.submit(request(1))
        await settle()
        assert d.engine.calls == []
        d.worker.speaking("other", False)
        await settle()
        assert [call.ids for call in d.engine.calls] == [[1]]


@virtual_time
async def test_as_many_calls_at_once_as_the_engine_has_workers() -> None:
    engine = RecordingEngine(workers=2, max_batch=2)
    async with desk(engine) as d:
        d.submit(*map(request, range(6)))
        await settle()
        assert [call.ids for call in engine.calls] == [[0, 1], [2, 3]]
        assert d.worker.load.workers == 2
        engine.calls[1].succeed()
        await settle()
        assert [call.ids for call in engine.calls][2:] == [[4, 5]]
        assert d.metric("whisper_live_batch_size_sum") == 6
        assert d.worker.load.occupancy == 1.0


# ------------------------------------------------------------------------- outcomes


@virtual_time
async def test_outcomes_never_come_from_inside_the_call_that_causes_them() -> None:
    async with desk() as d:
        d.submit(request(1))
        await settle()
        d.submit(request(2, "a"), request(3, "a"), request(4, "b"), request(5, "c"))
        d.worker.cancel(4)
        d.worker.forget("c")
        assert d.delivered == []
        await settle()
        assert d.results == [(2, Cancelled), (4, Cancelled), (5, Cancelled)]
        d.worker.cancel(4)
        d.worker.cancel(1)  # it runs: its outcome is still to come
        await settle()
        assert len(d.delivered) == 3
        d.engine.calls[0].succeed()
        await settle()
        assert d.results[3:] == [(1, Hypothesis)]
        assert d.metric(
            'whisper_live_requests_total{kind="partial",outcome="cancelled"}'
        ) == (3)


@virtual_time
async def test_timing_is_filled_in() -> None:
    async with desk() as d:
        d.submit(request(1))
        await settle()
        d.submit(request(2), request(3))
        await asyncio.sleep(0.25)
        d.engine.calls[0].succeed()
        await settle()
        await asyncio.sleep(0.5)
        second = d.engine.calls[1]
        own = Timing(engine_s=0.125, padding=0.75, context_s=30.0, is_fallback=True)
        second.answer(
            hypothesis(second.batch[0]), hypothesis(second.batch[1], timing=own)
        )
        await settle()
        first, after, third = (o for o in d.delivered if isinstance(o, Hypothesis))
        assert _rounded(first.timing) == Timing(0.0, 0.25, 1)
        assert _rounded(after.timing) == Timing(0.25, 0.5, 2)
        # its own, and queue
        assert _rounded(third.timing) == dataclasses.replace(own, queue_s=0.25)
        assert d.metric("whisper_live_context_fallbacks_total") == 1
        assert d.metric("whisper_live_padding_ratio_sum") == 0.75
        assert d.metric("whisper_live_padding_ratio_count") == 3
        stage = "whisper_live_stage_duration_seconds_sum"
        assert d.metric(stage + '{stage="infer"}') == pytest.approx(0.75)
        assert d.metric(stage + '{stage="queue"}') == pytest.approx(0.5)


@virtual_time
async def test_what_is_given_up_under_load_is_told_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "whisper_live.worker")
    async with desk() as d:
        d.submit(request(1))
        await settle()
        d.submit(request(2))
        await asyncio.sleep(8.0)  # the second one waits for the only worker
        d.engine.calls[0].succeed()
        await settle()
        assert d.metric("whisper_live_load_step") == LoadStep.GREEDY_FINALS
        d.engine.calls[1].succeed()
        await settle()
        first, second = (o for o in d.delivered if isinstance(o, Hypothesis))
        assert first.timing.load is LoadStep.NOTHING
        assert second.timing.load is LoadStep.GREEDY_FINALS
        (line,) = [r.getMessage() for r in caplog.records if "giving up" in r.msg]
        assert line.endswith("giving up greedy_finals")


@virtual_time
async def test_row_that_needs_a_further_call_does_not_hold_up_its_neighbours() -> None:
    @dataclass(frozen=True, slots=True, eq=False)
    class Retry(Request):
        kept: str = ""

    async with desk() as d:
        d.submit(request(1, kind=FINAL), request(2))
        await settle()
        d.submit(request(3, kind=FINAL))
        first = d.engine.calls[0]
        row = first.batch[0]
        retry = Retry(row.id, row.session, row.kind, row.start, row.audio, kept="x")
        first.answer(Again(retry), hypothesis(first.batch[1]))
        await settle()
        assert d.results == [(2, Hypothesis)]
        second = d.engine.calls[1]
        assert second.ids == [1, 3]
        assert second.batch[0] is retry
        second.succeed()
        await settle()
        assert d.results[1:] == [(1, Hypothesis), (3, Hypothesis)]
        assert d.metric('whisper_live_stage_duration_seconds_count{stage="queue"}') == (
            3
        )


@virtual_time
async def test_deliver_that_raises_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(outcome: Outcome) -> None:
        raise KeyError("session")

    async with desk() as d:
        d.worker.submit(request(1), broken)
        d.submit(request(2))
        await settle()
        d.engine.calls[0].succeed()
        await settle()
        assert d.results == [(2, Hypothesis)]
        assert d.metric('whisper_live_errors_total{type="internal"}') == 1
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [KeyError]


# ------------------------------------------------------------------------- failures


@virtual_time
async def test_call_that_raises_fails_its_rows_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with desk() as d:
        d.submit(request(1), request(2))
        await settle()
        d.submit(request(3))
        d.engine.calls[0].fail(ValueError("no such thing"))
        await settle()
        assert d.results == [(1, RequestFailed), (2, RequestFailed)]
        assert type(d.error(1)) is EngineError
        assert "no such thing" not in str(d.error(1))
        assert d.is_healthy()
        d.engine.calls[1].succeed()
        await settle()
        assert d.results[2:] == [(3, Hypothesis)]
        assert d.metric('whisper_live_errors_total{type="engine"}') == 2
    assert len([r for r in caplog.records if r.exc_info]) == 1


@virtual_time
@pytest.mark.parametrize("kind", ["too few", "wrong order", "other session's"])
async def test_answers_that_fit_no_rows_are_a_failed_call(kind: str) -> None:
    async with desk() as d:
        d.submit(request(1), request(2))
        await settle()
        call = d.engine.calls[0]
        one, two = map(hypothesis, call.batch)
        if kind == "too few":
            call.answer(one)
            expected = [(1, Hypothesis), (2, RequestFailed)]
        elif kind == "wrong order":
            call.answer(two, one)
            expected = [(1, RequestFailed), (2, RequestFailed)]
        else:
            call.answer(Again(request(1, "stranger")), two)
            expected = [(1, RequestFailed), (2, RequestFailed)]
        await settle()
        assert d.results == expected
        assert d.worker.load.running_calls == 0


@virtual_time
async def test_engine_that_keeps_raising_is_down_until_a_call_succeeds() -> None:
    async with desk() as d:
        for number in range(3):
            assert d.is_healthy()
            d.submit(request(number))
            await settle()
            d.engine.calls[-1].fail(RuntimeError("out of memory"))
            await settle()
        assert not d.is_healthy()
        assert d.metric("whisper_live_engine_up") == 0
        d.submit(request(9))
        await settle()
        d.engine.calls[-1].succeed()
        await settle()
        assert d.is_healthy()
        assert d.metric("whisper_live_engine_up") == 1


@virtual_time
async def test_unavailable_engine_is_down_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with desk() as d:
        d.submit(request(1))
        await settle()
        d.engine.calls[0].fail(EngineUnavailable("the GPU is gone"))
        await settle()
        assert str(d.error(1)) == "the GPU is gone"
        assert not d.is_healthy()
        assert not d.worker.lost.is_set()
        d.submit(request(2))
        await settle()
        d.engine.calls[1].fail(EngineUnavailable("gone", kind="device_lost"))
        await settle()
        assert d.worker.lost.is_set()
    assert not [r for r in caplog.records if r.exc_info]


@virtual_time
async def test_cancelled_engine_call_frees_its_worker() -> None:
    async with desk() as d:
        d.submit(request(1))
        await settle()
        d.submit(request(2))
        d.engine.calls[0]._end.cancel()
        await settle()
        assert type(d.error(1)) is EngineUnavailable
        assert d.engine.calls[1].ids == [2]


@virtual_time
async def test_hung_call_times_out_and_keeps_its_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with desk() as d:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        d.submit(request(1, timeout_s=10), request(2, timeout_s=20))
        await settle()
        d.submit(request(3, timeout_s=10))
        while len(d.delivered) < 3:
            assert d.worker.progress_at == began_at
            await asyncio.sleep(0.5)
        assert loop.time() - began_at == pytest.approx(20, abs=1)
        assert d.results == [(1, RequestFailed), (3, RequestFailed), (2, RequestFailed)]
        assert all(type(d.error(n)) is EngineTimeout for n in (1, 2, 3))
        assert not d.is_healthy()
        assert d.metric("whisper_live_engine_up") == 0
        d.submit(request(4))
        await settle()
        assert len(d.engine.calls) == 1
        assert d.worker.load.running_calls == 1

        d.engine.calls[0].succeed()  # late: thrown away, and the worker is back
        await settle()
        assert len(d.delivered) == 3
        assert d.is_healthy()
        assert d.worker.progress_at == loop.time()
        assert d.engine.calls[1].ids == [4]
    assert "does not answer" in caplog.text


@virtual_time
async def test_further_try_of_a_row_that_timed_out_is_dropped() -> None:
    async with desk() as d:
        d.submit(request(1, timeout_s=1))
        await asyncio.sleep(2)
        call = d.engine.calls[0]
        call.answer(Again(call.batch[0]))
        await settle()
        assert d.results == [(1, RequestFailed)]
        assert d.worker.load.queue_depth == 0
        assert len(d.engine.calls) == 1


@virtual_time
async def test_doubtful_text_is_delivered_where_no_further_try_is_in_time() -> None:
    async with desk() as d:
        d.submit(request(1, timeout_s=5))
        await settle()
        call = d.engine.calls[0]
        call.answer(Again(call.batch[0], Hypothesis(1, (), "de", 0.5)))
        await asyncio.sleep(4)
        assert not d.delivered and len(d.engine.calls) == 2
        await asyncio.sleep(2)
        assert d.results == [(1, Hypothesis)]
        assert not d.is_healthy()  # the further try hangs


# ---------------------------------------------------------------------------- close


@virtual_time
async def test_close_fails_every_open_request() -> None:
    async with desk() as d:
        d.submit(request(1))
        await settle()
        d.submit(request(2))
        await d.worker.close()
        assert d.results == [(1, RequestFailed), (2, RequestFailed)]
        assert all(type(d.error(n)) is EngineUnavailable for n in (1, 2))
        d.submit(request(3))
        await settle()
        assert type(d.error(3)) is EngineUnavailable
        assert len(d.delivered) == 3
        stopped_at = d.worker.progress_at
        await asyncio.sleep(5)
        assert d.worker.progress_at == stopped_at


@virtual_time
async def test_close_does_not_wait_for_an_engine_deaf_to_cancellation() -> None:
    class Deaf(RecordingEngine):
        async def transcribe(
            self, batch: Sequence[Request]
        ) -> Sequence[Outcome | Again]:
            self.calls.append(Call(batch))
            while True:
                try:
                    return await asyncio.shield(self.calls[-1].ended())
                except asyncio.CancelledError:
                    pass

    engine = Deaf()
    async with desk(engine) as d:
        d.submit(request(1))
        await settle()
        await d.worker.close()
        assert type(d.error(1)) is EngineUnavailable
        engine.calls[0].succeed()
        await settle()
        assert len(d.delivered) == 1


@virtual_time
async def test_cancelled_run_can_be_seen_by_a_watchdog() -> None:
    worker = Worker(RecordingEngine(), BatchConfig(), metrics=Metrics())
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1)
    assert worker.progress_at == asyncio.get_running_loop().time()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    stopped_at = asyncio.get_running_loop().time()
    await asyncio.sleep(1)
    assert worker.progress_at == stopped_at
    await worker.close()


@virtual_time
async def test_a_worker_that_fails_is_lost_and_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*, now: float) -> None:
        raise KeyError(1)

    d = Desk(RecordingEngine(), BatchConfig())
    running = asyncio.create_task(d.worker.run())
    d.submit(request(1))
    monkeypatch.setattr(d.worker._batcher, "take", fail)
    with pytest.raises(KeyError):
        await running
    assert d.worker.lost.is_set() and not d.is_healthy()
    assert d.metric("whisper_live_engine_up") == 0
    d.submit(request(2))
    await settle()
    assert d.results == [(1, RequestFailed), (2, RequestFailed)]
    assert type(d.error(1)) is type(d.error(2)) is EngineUnavailable
    assert "no more engine calls can be started" in caplog.text
    await d.worker.close()


# ---------------------------------------------------------------------- preparation


class PreparingEngine(RecordingEngine):
    """Prepares rows in threads, which a test can hold up, and hears of sessions."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten: list[str] = []
        self.prepared: list[int] = []
        self.threads: set[str] = set()
        self.open_gate = threading.Event()

    def prepare(self, request: Request) -> Request | None:
        self.threads.add(threading.current_thread().name)
        if request.session == "poison":
            raise ValueError("NaN")
        if request.session == "refused":
            raise WindowRejected("too loud")
        assert self.open_gate.wait(10)
        self.prepared.append(request.id)
        if request.session != "replaced":
            return None
        return Request(request.id, request.session, request.kind, 7, request.audio)

    def forget(self, session: str) -> None:
        self.forgotten.append(session)


async def called(engine: RecordingEngine, count: int) -> None:
    """Until the engine has been called so many times (threads are at work)."""
    while len(engine.calls) < count:
        await asyncio.sleep(0)


async def test_rows_are_prepared_in_threads_before_their_call() -> None:
    engine = PreparingEngine()
    async with desk(engine) as d:
        d.submit(request(1), request(2, "replaced"), request(3, "poison"))
        d.submit(request(4, "refused"))
        await settle(50)
        assert engine.calls == []
        engine.open_gate.set()
        await called(engine, 1)
        call = engine.calls[0]
        assert call.ids == [1, 2]
        assert [row.start for row in call.batch] == [0, 7]
        assert all(name.startswith("prepare") for name in engine.threads)
        call.succeed()
        await settle()
        assert d.results == [
            (1, Hypothesis),
            (2, Hypothesis),
            (3, RequestFailed),
            (4, RequestFailed),
        ]
        assert type(d.error(3)) is WindowRejected
        assert str(d.error(4)) == "too loud"


def preparing_threads() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name.startswith("prepare")}


async def test_the_threads_that_prepare_rows_run_from_the_start() -> None:
    before = preparing_threads()  # of other tests, about to end
    async with desk(PreparingEngine()):
        assert len(preparing_threads() - before) == PREPARE_THREADS


async def test_a_row_that_no_thread_takes_is_not_queued_and_the_next_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    engine = PreparingEngine()
    engine.open_gate.set()
    async with desk(engine) as d:
        with monkeypatch.context() as limited:
            limited.setattr(d.worker._pool, "submit", refuse)
            with pytest.raises(RuntimeError):
                d.submit(request(1))
        assert d.worker.load.queue_depth == 0
        d.submit(request(1), request(2))
        await called(engine, 1)
        assert engine.calls[0].ids == [1, 2]
        engine.calls[0].succeed()
        await settle()
        assert d.results == [(1, Hypothesis), (2, Hypothesis)]


async def test_further_try_is_not_prepared_again() -> None:
    engine = PreparingEngine()
    engine.open_gate.set()
    async with desk(engine) as d:
        d.submit(request(1, "replaced"))
        await called(engine, 1)
        row = engine.calls[0].batch[0]
        again = Request(row.id, row.session, row.kind, 99, row.audio)
        engine.calls[0].answer(Again(again))
        await called(engine, 2)
        assert engine.calls[1].batch == [again]
        assert engine.prepared == [1]
        engine.calls[1].succeed()
        await settle()
        assert d.results == [(1, Hypothesis)]


async def test_cancelled_rows_are_not_prepared() -> None:
    engine = PreparingEngine()
    async with desk(engine) as d:
        d.submit(*map(request, range(1, 5)))  # a batch, two of its rows in the threads
        await settle()
        d.submit(request(5), request(6))
        d.worker.cancel(5)
        d.worker.forget("s6")
        await settle()
        assert d.results == [(5, Cancelled), (6, Cancelled)]
        assert engine.forgotten == ["s6"]
        engine.open_gate.set()
        await called(engine, 1)
        assert sorted(engine.prepared) == [1, 2, 3, 4]


async def test_failed_preparation_of_a_cancelled_row_is_not_heard_of() -> None:
    engine = PreparingEngine()
    engine.open_gate.set()
    unheard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: unheard.append(context))
    async with desk(engine) as d:
        d.submit(request(1))
        await called(engine, 1)
        d.submit(request(2, "poison"))
        entry = d.worker._open[2]
        assert entry.prepared is not None
        assert await asyncio.to_thread(entry.prepared.exception) is not None
        del entry
        d.worker.cancel(2)
        await settle()
        assert d.results == [(2, Cancelled)]
        gc.collect()
    assert unheard == []


async def test_close_ends_the_preparing_threads() -> None:
    engine = PreparingEngine()
    engine.open_gate.set()
    async with desk(engine) as d:
        d.submit(request(1))
        await called(engine, 1)
        threads = preparing_threads()
        assert threads
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()


async def test_row_whose_preparation_hangs_times_out_and_leaves_its_batch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = PreparingEngine()
    async with desk(engine) as d:
        d.submit(request(1, timeout_s=0.01), request(2))
        while not d.delivered:
            await asyncio.sleep(0)
        assert type(d.error(1)) is EngineTimeout
        engine.open_gate.set()
        await called(engine, 1)
        assert engine.calls[0].ids == [2]
        engine.calls[0].succeed()
        await settle()
        assert d.results == [(1, RequestFailed), (2, Hypothesis)]
    assert not [r for r in caplog.records if r.levelno > logging.ERROR]
