"""The batcher's rules, one by one, on a clock that the test writes down."""

from __future__ import annotations

import numpy as np
import pytest

from whisper_live.config.model import BatchConfig
from whisper_live.errors import EngineTimeout
from whisper_live.inference.batching import BACKGROUND_SHARE, PAUSE_S, Batcher
from whisper_live.inference.types import (
    Cancelled,
    Hypothesis,
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
)

PARTIAL, FINAL = RequestKind.PARTIAL, RequestKind.FINAL
BACKGROUND = RequestKind.BACKGROUND

AUDIO = np.zeros(160, np.float32)


def request(
    number: int, session: str, kind: RequestKind = PARTIAL, timeout_s: float = 60
) -> Request:
    return Request(number, session, kind, 0, AUDIO, timeout_s=timeout_s)


class Desk:
    """A batcher with shorthands; every step is followed by ``check``."""

    def __init__(self, *, size: int = 4, window_ms: float = 50, workers: int = 1):
        config = BatchConfig(batch_size=size, batch_window_ms=window_ms)
        self.batcher = Batcher(config, workers=workers)

    def offer(
        self,
        at: float,
        number: int,
        session: str,
        kind: RequestKind = PARTIAL,
        timeout_s: float = 60,
    ) -> list[Outcome]:
        made = request(number, session, kind, timeout_s)
        return self._checked(self.batcher.offer(made, now=at))

    def take(self, at: float) -> list[int] | None:
        batch = self.batcher.take(now=at)
        self.batcher.check()
        return None if batch is None else [row.id for row in batch]

    def finish(self, at: float, *ids: int) -> list[bool]:
        """End a call in which every row is answered."""
        awaited = [self.batcher.answered(number, now=at) for number in ids]
        self.batcher.finished(ids, now=at)
        self.batcher.check()
        return awaited

    def cancel(self, at: float, number: int) -> list[Outcome]:
        return self._checked(self.batcher.cancel(number, now=at))

    def expire(self, at: float) -> list[Outcome]:
        return self._checked(self.batcher.expire(now=at))

    def speaking(self, *sessions: str) -> None:
        for session in sessions:
            self.batcher.speaking(session, True)

    def _checked(self, outcomes: list[Outcome]) -> list[Outcome]:
        self.batcher.check()
        return outcomes


# ------------------------------------------------------------------- when it starts


def test_lone_request_starts_at_once() -> None:
    d = Desk()
    assert d.take(10.0) is None
    d.offer(10.0, 1, "a")
    assert d.take(10.0) == [1]


def test_own_open_speech_is_not_waited_for() -> None:
    d = Desk()
    d.speaking("a")
    d.offer(10.0, 1, "a")
    assert d.take(10.0) == [1]


def test_other_open_speech_is_waited_for_until_the_window_of_the_oldest() -> None:
    d = Desk()
    d.speaking("a", "b", "c")
    d.offer(10.0, 1, "a")
    assert d.take(10.0) is None
    assert d.batcher.deadline() == 10.05
    d.offer(10.03, 2, "b")
    assert d.take(10.03) is None
    assert d.batcher.deadline() == 10.05
    assert d.take(10.0499) is None
    assert d.take(10.05) == [1, 2]


def test_last_of_those_who_could_come_starts_the_batch() -> None:
    d = Desk()
    d.speaking("a", "b")
    d.offer(10.0, 1, "a")
    assert d.take(10.0) is None
    d.offer(10.01, 2, "b")
    assert d.take(10.01) == [1, 2]


@pytest.mark.parametrize("how", ["silence", "gone"])
def test_who_falls_silent_is_not_waited_for(how: str) -> None:
    d = Desk()
    d.speaking("b")
    d.offer(10.0, 1, "a")
    assert d.take(10.0) is None
    if how == "silence":
        assert d.batcher.speaking("b", False) is True
        assert d.batcher.speaking("b", False) is False
    else:
        assert d.batcher.forget("b", now=10.0) == []
    assert d.take(10.0) == [1]


def test_full_batch_starts_at_once() -> None:
    d = Desk(size=2)
    d.speaking("x")
    d.offer(10.0, 1, "a")
    d.offer(10.0, 2, "b")
    d.offer(10.0, 3, "c")
    assert d.take(10.0) == [1, 2]


def test_next_batch_gathers_while_a_call_runs() -> None:
    d = Desk()
    d.offer(10.0, 1, "a")
    assert d.take(10.0) == [1]
    d.speaking("x")
    d.offer(10.1, 2, "b")
    d.offer(10.2, 3, "c")
    assert d.take(10.2) is None
    assert d.batcher.deadline() == 70.0  # nothing but timeouts: no worker is free
    assert d.finish(10.3, 1) == [True]
    assert d.take(10.3) == [2, 3]  # the oldest has waited the window already


def test_worker_that_frees_early_still_waits_for_the_window() -> None:
    d = Desk()
    d.offer(10.0, 1, "a")
    d.take(10.0)
    d.speaking("x")
    d.offer(10.1, 2, "b")
    d.finish(10.12, 1)
    assert d.take(10.12) is None
    assert d.batcher.deadline() == pytest.approx(10.15)
    assert d.take(10.151) == [2]


def test_session_whose_request_runs_elsewhere_is_not_waited_for() -> None:
    d = Desk(workers=2)
    d.speaking("a", "b")
    d.offer(10.0, 1, "a")
    assert d.take(10.05) == [1]
    d.offer(10.06, 2, "b")
    assert d.take(10.06) == [2]
    d.offer(10.07, 3, "c")
    assert d.take(10.07) is None  # both workers are taken
    assert d.batcher.running_calls == 2


# ------------------------------------------------------------------------- the order


def test_finals_first_then_the_oldest() -> None:
    d = Desk(size=3)
    d.offer(10.0, 1, "a")
    d.take(10.0)
    d.offer(10.1, 2, "b")
    d.offer(10.2, 3, "c")
    d.offer(10.3, 4, "d", FINAL)
    d.offer(10.4, 5, "e", FINAL)
    d.finish(11.0, 1)
    assert d.take(11.0) == [4, 5, 2]
    d.finish(12.0, 4, 5, 2)
    assert d.take(12.0) == [3]


def test_session_that_asks_again_goes_behind_those_who_waited() -> None:
    d = Desk(size=1)
    d.offer(10.0, 1, "a")
    d.take(10.0)
    d.offer(10.1, 2, "b")
    d.offer(10.2, 3, "a")
    d.finish(11.0, 1)
    d.offer(11.0, 4, "c")
    order = []
    for now in (11.0, 12.0, 13.0):
        (number,) = d.take(now) or []
        order.append(number)
        d.finish(now + 0.5, number)
    assert order == [2, 3, 4]


def test_newer_partial_replaces_the_queued_one_in_its_place() -> None:
    d = Desk(size=1)
    d.offer(10.0, 1, "x")
    d.take(10.0)
    d.offer(10.1, 2, "a")
    d.offer(10.2, 3, "b")
    assert d.offer(10.3, 4, "a") == [Cancelled(2)]
    assert d.batcher.stats.replaced == 1
    d.finish(11.0, 1)
    assert d.take(11.0) == [4]


def test_replacing_does_not_start_the_window_anew() -> None:
    d = Desk()
    d.speaking("x")
    d.offer(10.0, 1, "a")
    d.offer(10.04, 2, "a")
    assert d.batcher.deadline() == 10.05
    assert d.take(10.05) == [2]


def test_final_replaces_the_queued_partial_and_becomes_first() -> None:
    d = Desk(size=1)
    d.offer(10.0, 1, "x")
    d.take(10.0)
    d.offer(10.1, 2, "a")
    d.offer(10.2, 3, "b")
    assert d.offer(10.3, 4, "b", FINAL) == [Cancelled(3)]
    d.finish(11.0, 1)
    assert d.take(11.0) == [4]


def test_queued_final_is_not_to_be_replaced() -> None:
    d = Desk()
    d.offer(10.0, 1, "a", FINAL)
    with pytest.raises(AssertionError, match="only a partial may be replaced"):
        d.offer(10.0, 2, "a")


def test_final_behind_its_own_running_partial_waits_for_it() -> None:
    d = Desk(workers=2)
    d.offer(10.0, 1, "a")
    assert d.take(10.0) == [1]
    d.offer(10.1, 2, "a", FINAL)
    assert d.take(11.0) is None  # though a worker is free
    d.offer(11.0, 3, "b")
    assert d.take(11.0) == [3]
    d.finish(12.0, 1)
    assert d.take(12.0) == [2]


# -------------------------------------------------------------------- background work


def test_background_never_shares_a_batch_with_live_requests() -> None:
    d = Desk()
    d.offer(10.0, 1, "file", BACKGROUND)
    d.offer(10.0, 2, "other file", BACKGROUND)
    d.offer(10.0, 3, "a")
    assert d.take(10.0) == [3]
    d.finish(11.0, 3)
    assert d.take(11.0) == [1, 2]


def test_background_does_not_take_the_worker_that_a_live_batch_gathers_for() -> None:
    d = Desk()
    d.speaking("x")
    d.offer(10.0, 1, "file", BACKGROUND)
    d.offer(10.0, 2, "a")
    assert d.take(10.0) is None
    assert d.take(10.05) == [2]


def test_background_rests_while_somebody_speaks() -> None:
    d = Desk()
    d.speaking("a")
    d.offer(10.0, 1, "file", BACKGROUND)
    d.offer(10.0, 2, "other file", BACKGROUND)
    assert d.take(10.0) == [1]  # one row
    d.finish(12.0, 1)
    assert d.take(12.0) is None
    free_at = 12.0 + 2.0 * (1 / BACKGROUND_SHARE - 1)
    assert d.batcher.deadline() == pytest.approx(free_at)
    assert d.take(free_at - 0.1) is None
    assert d.take(free_at + 0.1) == [2]


def test_of_two_workers_one_is_free_while_somebody_speaks() -> None:
    d = Desk(workers=2)
    d.speaking("a")
    d.offer(10.0, 1, "file", BACKGROUND)
    d.offer(10.0, 2, "other file", BACKGROUND)
    assert d.take(10.0) == [1]
    assert d.take(10.0) is None
    assert d.batcher.deadline() == 70.0  # the requests' own
    d.offer(10.5, 3, "a")
    assert d.take(10.5) == [3]
    d.finish(11.0, 3)
    d.finish(12.0, 1)
    # As much of both workers together as of one alone.
    free_at = 12.0 + 2.0 * (1 / (2 * BACKGROUND_SHARE) - 1)
    assert d.batcher.deadline() == pytest.approx(free_at)
    assert d.take(free_at + 0.1) == [2]


def test_in_silence_one_call_is_a_full_batch_and_the_others_are_short() -> None:
    d = Desk(workers=3)
    for number in range(1, 8):
        d.offer(10.0, number, f"file {number}", BACKGROUND)
    assert [d.take(10.0) for _ in range(4)] == [[1, 2, 3, 4], [5], [6], None]
    d.finish(11.0, 5)
    assert d.take(11.0) == [7]
    d.offer(12.0, 8, "file 8", BACKGROUND)
    d.offer(12.0, 9, "file 9", BACKGROUND)
    d.finish(12.0, 1, 2, 3, 4)
    assert d.take(12.0) == [8, 9]


def test_between_two_utterances_one_of_two_workers_stays_free() -> None:
    d = Desk(workers=2)
    d.speaking("a")
    assert d.take(10.0) is None
    d.batcher.speaking("a", False)
    for number in range(1, 7):
        d.offer(10.0, number, f"file {number}", BACKGROUND)
    assert d.take(11.0) == [1, 2, 3, 4]
    assert d.take(11.0) is None
    assert d.batcher.deadline() == 10.0 + PAUSE_S
    assert d.take(10.0 + PAUSE_S) == [5]


def test_between_two_utterances_a_lone_worker_reads_row_by_row() -> None:
    d = Desk()
    d.speaking("a")
    assert d.take(10.0) is None
    d.batcher.speaking("a", False)
    for number in range(1, 4):
        d.offer(10.0, number, f"file {number}", BACKGROUND)
    assert d.take(11.0) == [1]
    d.finish(12.0, 1)
    assert d.take(10.0 + PAUSE_S) == [2, 3]


def test_background_does_not_rest_in_silence() -> None:
    d = Desk()
    d.speaking("a")
    d.offer(10.0, 1, "file", BACKGROUND)
    d.take(10.0)
    d.finish(12.0, 1)
    d.offer(12.0, 2, "file", BACKGROUND)
    d.batcher.speaking("a", False)
    assert (d.batcher.deadline() or 0) <= 12.0
    assert d.take(12.0) == [2]


# ---------------------------------------------------------------- cancels and timeouts


def test_cancelled_while_queued_costs_nothing() -> None:
    d = Desk()
    d.offer(10.0, 1, "a")
    assert d.cancel(10.0, 1) == [Cancelled(1)]
    assert d.cancel(10.0, 1) == []
    assert d.cancel(10.0, 99) == []
    assert d.take(10.0) is None
    assert d.batcher.deadline() is None
    assert d.batcher.stats.cancelled == 1


def test_running_request_is_not_cancelled() -> None:
    d = Desk()
    d.offer(10.0, 1, "a")
    d.take(10.0)
    assert d.cancel(10.1, 1) == []
    assert d.finish(10.2, 1) == [True]


def test_forgotten_session_loses_what_waits() -> None:
    d = Desk()
    d.offer(10.0, 1, "a")
    d.take(10.0)
    d.offer(10.1, 2, "a")
    assert d.batcher.forget("a", now=10.2) == [Cancelled(2)]
    d.batcher.check()
    assert d.finish(10.3, 1) == [True]
    assert d.batcher.forget("a", now=10.4) == []


def test_timeout_in_the_queue() -> None:
    d = Desk()
    d.offer(10.0, 1, "a")
    d.take(10.0)
    d.offer(10.0, 2, "b", timeout_s=5)
    assert d.batcher.deadline() == 15.0
    assert d.expire(14.9) == []
    (outcome,) = d.expire(15.0)
    assert isinstance(outcome, RequestFailed) and outcome.request_id == 2
    assert isinstance(outcome.error, EngineTimeout)
    assert "in the queue" in str(outcome.error)
    assert d.batcher.overdue_calls == 0
    assert d.batcher.queue_depth == 0


def test_timeout_in_a_call_frees_the_session_and_not_the_worker() -> None:
    d = Desk(workers=2)
    d.offer(10.0, 1, "a", timeout_s=5)
    d.offer(10.0, 2, "b", timeout_s=50)
    assert d.take(10.0) == [1, 2]
    d.offer(11.0, 3, "a", FINAL)
    assert d.take(11.0) is None
    (outcome,) = d.expire(15.0)
    assert isinstance(outcome, RequestFailed) and "in its call" in str(outcome.error)
    assert d.batcher.overdue_calls == 1
    assert d.batcher.oldest_call_at == 10.0
    assert d.take(15.0) == [3]
    assert d.batcher.running_calls == 2
    assert d.finish(16.0, 1, 2) == [False, True]  # late: the first is thrown away
    assert d.batcher.overdue_calls == 0
    assert d.batcher.stats.timed_out == 1


def test_replacement_has_a_timeout_of_its_own() -> None:
    d = Desk()
    d.offer(10.0, 1, "x")
    d.take(10.0)
    d.offer(10.0, 2, "a", timeout_s=5)
    d.offer(14.0, 3, "a", timeout_s=5)
    assert d.expire(15.0) == []
    assert [outcome.request_id for outcome in d.expire(19.0)] == [3]


# ------------------------------------------------------------------------ further tries


def test_further_try_keeps_place_and_turn() -> None:
    d = Desk(size=2)
    d.offer(10.0, 1, "a", FINAL)
    d.offer(10.0, 2, "b")
    assert d.take(10.0) == [1, 2]
    d.offer(10.5, 3, "a")
    d.offer(10.5, 4, "c", FINAL)
    second = request(1, "a", FINAL)
    assert d.batcher.again(second)
    assert d.batcher.answered(2, now=11.0)
    d.batcher.finished([1, 2], now=11.0)
    d.batcher.check()
    assert d.batcher.queue_depth == 3
    batch = d.batcher.take(now=11.0)
    assert batch is not None and [row.id for row in batch] == [1, 4]
    assert batch[0] is second
    d.finish(12.0, 1, 4)
    assert d.take(12.0) == [3]
    assert d.batcher.stats.repeated == 1


@pytest.mark.parametrize("how", ["cancel", "forget", "timeout"])
def test_further_try_may_end_before_it_starts(how: str) -> None:
    d = Desk()
    d.offer(10.0, 1, "a", FINAL, timeout_s=5)
    d.take(10.0)
    assert d.batcher.again(request(1, "a", FINAL))
    d.batcher.finished([1], now=11.0)
    if how == "cancel":
        assert d.cancel(11.0, 1) == [Cancelled(1)]
    elif how == "forget":
        assert d.batcher.forget("a", now=11.0) == [Cancelled(1)]
    else:
        assert [outcome.request_id for outcome in d.expire(15.0)] == [1]
    d.batcher.check()
    assert d.take(20.0) is None
    assert d.batcher.overdue_calls == 0


@pytest.mark.parametrize("is_running", [False, True])
def test_doubtful_text_is_the_outcome_where_time_ran_out(is_running: bool) -> None:
    d = Desk()
    d.offer(10.0, 1, "a", FINAL, timeout_s=5)
    d.take(10.0)
    doubtful = Hypothesis(1, (), "en", 0.5)
    assert d.batcher.again(request(1, "a", FINAL), doubtful)
    d.batcher.finished([1], now=11.0)
    if is_running:
        assert d.take(11.0) == [1]
    assert d.batcher.expire(now=15.0) == [doubtful]
    d.batcher.check()
    assert d.batcher.stats.timed_out == 1
    assert d.batcher.overdue_calls == is_running


def test_further_try_of_what_timed_out_is_refused() -> None:
    d = Desk()
    d.offer(10.0, 1, "a", FINAL, timeout_s=5)
    d.take(10.0)
    d.expire(15.0)
    assert not d.batcher.again(request(1, "a", FINAL))
    d.batcher.finished([1], now=16.0)
    d.batcher.check()
    assert d.batcher.queue_depth == 0


def test_call_does_not_end_before_its_rows() -> None:
    d = Desk()
    d.offer(10.0, 1, "a")
    d.take(10.0)
    with pytest.raises(AssertionError, match="every row"):
        d.batcher.finished([1], now=11.0)


# ---------------------------------------------------------------------------- measures


def test_queue_delay_follows_a_rush_and_falls_after_it() -> None:
    d = Desk(size=1)
    assert d.batcher.queue_delay_s(now=10.0) == 0
    for step in range(20):
        now = 10.0 + step
        d.offer(now, step, f"s{step}")
        assert d.take(now + 0.8) == [step]
        d.finish(now + 0.9, step)
    assert d.batcher.queue_delay_s(now=29.8) == pytest.approx(0.8, rel=0.05)
    assert d.batcher.queue_delay_s(now=60.0) < 0.01


def test_queue_delay_sees_a_queue_that_does_not_move() -> None:
    d = Desk(size=1)
    d.offer(10.0, 1, "a")
    d.take(10.0)
    d.offer(11.0, 2, "b")
    assert d.batcher.queue_delay_s(now=41.0) == 30.0


def test_queue_delay_is_the_sessions_wait_not_its_newest_partials() -> None:
    d = Desk(size=1)
    d.offer(10.0, 1, "x")
    d.take(10.0)
    d.offer(11.0, 2, "a")
    d.offer(14.0, 3, "a")
    assert d.batcher.queue_delay_s(now=15.0) == 4.0


def test_queue_delay_leaves_out_background_and_a_sessions_own_turn() -> None:
    d = Desk(size=1)
    d.offer(10.0, 1, "a")
    d.take(10.0)
    d.offer(10.0, 2, "a", FINAL)
    d.offer(10.0, 3, "file", BACKGROUND)
    assert d.batcher.queue_delay_s(now=20.0) == 0
    d.finish(20.0, 1)
    assert d.batcher.queue_delay_s(now=20.5) == 0.5
    d.take(20.5)
    d.finish(21.0, 2)
    d.take(21.0)
    assert 0.35 < d.batcher.queue_delay_s(now=21.0) < 0.5  # smoothed; not 10 s


def test_occupancy_is_the_share_of_rows_in_use() -> None:
    d = Desk(size=4)
    assert d.batcher.occupancy == 0
    for number in range(3):
        d.offer(10.0, number, f"s{number}")
    d.take(10.0)
    assert d.batcher.occupancy == 0.75
    assert (d.batcher.stats.calls, d.batcher.stats.rows) == (1, 3)


def test_gone_requests_leave_nothing_behind() -> None:
    d = Desk()
    d.offer(10.0, 0, "x")
    d.take(10.0)
    for number in range(1, 1000):
        d.offer(10.0 + number / 100, number, "a")
    d.cancel(20.0, 999)
    d.finish(20.0, 0)
    assert len(d.batcher._timeouts) <= 64
    assert d.batcher.deadline() is None
