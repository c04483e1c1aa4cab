"""The open window and what reads it, its final, and the windows decided."""

from __future__ import annotations

import pytest

from whisper_live.audio import SAMPLE_RATE
from whisper_live.config.model import StreamConfig
from whisper_live.errors import WindowRejected
from whisper_live.inference.types import Cancelled, Hypothesis, RequestFailed
from whisper_live.session.commit import Cut, Stitch
from whisper_live.session.window import DecidedWindows, Final, Window

S = 16_000


def opened(at: int = 0) -> Window:
    one = Window(StreamConfig(partial_floor_s=0.5, partial_interval_s=2.0))
    one.open(at)
    return one


def heard(request_id: int) -> Hypothesis:
    return Hypothesis(request_id, (), "en", 1.0)


@pytest.mark.parametrize(
    ("delay_s", "due_s"), [(0.0, 0.5), (0.25, 1.25), (0.5, 2.0), (9.0, 2.0)]
)
def test_the_interval_grows_with_the_queue(delay_s: float, due_s: float) -> None:
    one = opened(S)
    due = S + round(due_s * S)
    assert not one.is_due(due - 1, delay_s=delay_s)
    assert one.is_due(due, delay_s=delay_s)


def test_only_a_much_newer_one_joins_one_under_way() -> None:
    one = opened()
    one.begin(1, S)
    assert not one.is_due(3 * S - 1, delay_s=0.0)
    assert one.is_due(3 * S, delay_s=0.0)
    one.begin(2, 3 * S)
    assert not one.is_due(30 * S, delay_s=0.0), "one running, one queued"
    one.check()


def test_a_reading_counts_while_its_window_is_open() -> None:
    one = opened()
    one.begin(1, S)
    reading = one.finish(heard(1))
    assert reading is not None and (reading.start, reading.end) == (0, S)
    assert one.finish(heard(1)) is None, "answered once"
    one.begin(2, 2 * S)
    one.decide(3 * S)
    assert one.finish(heard(2)) is None
    one.open(5 * S)
    one.begin(3, 6 * S)
    one.open(9 * S)
    assert one.finish(heard(3)) is None and one.start == 9 * S


def test_a_cut_makes_what_reads_the_old_window_stale() -> None:
    one = opened()
    for _ in range(2):
        one.agreement.update([" a", " b", " c"])
    one.begin(1, 8 * S)
    one.cut(Cut(1, 4 * S, (), Stitch(4 * S, " a", ())))
    assert one.finish(heard(1)) is None
    assert (one.start, one.agreement.text) == (4 * S, " b c")
    one.begin(2, 9 * S)
    reading = one.finish(heard(2))
    assert reading is not None and reading.start == 4 * S


def test_what_a_withdrawn_one_was_to_read_is_due_again() -> None:
    one = opened()
    one.begin(1, S)
    one.finish(heard(1))
    one.begin(2, 2 * S)
    assert one.withdraw() == [2] and one.withdraw() == []
    assert one.finish(Cancelled(2)) is None
    assert one.is_due(S + S // 2, delay_s=0.0)


def test_a_replaced_one_leaves_its_audio_to_the_newer() -> None:
    one = opened()
    one.begin(1, S)
    one.begin(2, 3 * S)
    one.finish(Cancelled(1))
    assert not one.is_due(4 * S, delay_s=0.0)
    one.finish(heard(2))
    assert not one.is_due(3 * S + S // 4, delay_s=0.0)


def test_a_failed_one_is_not_tried_again_at_once() -> None:
    one = opened()
    one.begin(1, S)
    assert one.finish(RequestFailed(1, WindowRejected("odd"))) is None
    assert not one.is_due(S + S // 4, delay_s=0.0)
    assert one.is_due(S + S // 2, delay_s=0.0)


def test_a_withdrawn_one_that_ran_all_the_same_is_heard() -> None:
    one = opened()
    one.begin(1, S, is_withdrawn=True)
    assert one.withdraw() == []
    assert one.finish(heard(1)) is not None


def test_what_was_heard_otherwise_is_not_due() -> None:
    one = opened()
    one.heard(4 * S)
    assert not one.is_due(4 * S, delay_s=0.0)
    assert one.is_due(5 * S, delay_s=0.0)


# ------------------------------------------------------------------------- its final


def test_a_window_without_a_preflight_is_decided_as_it_is() -> None:
    one = opened(S)
    final = one.decide(3 * S)
    assert (final.start, final.end, final.request_id) == (S, 3 * S, None)
    assert not one.is_open


def test_a_preflight_takes_the_place_of_its_windows_final() -> None:
    one = opened()
    preflight = one.begin_preflight(10 * S)
    preflight.request_id = 3
    assert one.preflight is preflight
    one.check()
    assert one.decide(12 * S) is preflight and one.preflight is None


def test_only_one_preflight_at_a_time() -> None:
    one = opened()
    one.begin_preflight(10)
    with pytest.raises(AssertionError):
        one.begin_preflight(12)
    assert one.give_up_preflight() is not None
    assert one.give_up_preflight() is None


def test_a_preflight_that_reads_beyond_the_end_cannot_decide() -> None:
    one = opened()
    one.begin_preflight(10)
    with pytest.raises(AssertionError):
        one.decide(9)


def test_a_window_knows_the_cut_that_it_begins_with() -> None:
    one = opened()
    stitch = Stitch(4 * S, " a", ())
    for _ in range(2):
        one.agreement.update([" a", " b", " c"])
    one.cut(Cut(1, 4 * S, (), stitch))
    assert one.stitch_of(4 * S) is stitch and one.stitch_of(5 * S) is None


# ------------------------------------------------------------------ windows decided


def test_decided_windows_stay_in_order() -> None:
    decided = DecidedWindows()
    assert not decided
    for start, end in ((0, 10), (10, 20)):
        decided.add(Final(start, end))
    first = decided.first
    assert first is not None and (first.start, first.end) == (0, 10)
    first.request_id = 7
    decided.check()
    assert decided.pop() is first
    second = decided.pop()
    assert second.start == 10


def test_giving_all_up_names_the_requests_to_cancel() -> None:
    decided = DecidedWindows()
    decided.add(Final(0, 10, request_id=4))
    decided.add(Final(10, 20))
    assert decided.clear() == [4]
    assert decided.first is None


def test_check_finds_windows_that_overlap() -> None:
    decided = DecidedWindows()
    decided.add(Final(0, 10))
    decided.add(Final(5, 20))
    with pytest.raises(AssertionError, match="overlap"):
        decided.check()


@pytest.mark.parametrize(
    ("read_to_s", "voiced_to_s", "is_unread"),
    [
        (2.00, 2.95, False),  # "$900." ends at a whole second, and "dollars" later
        (2.02, 2.95, True),
        (2.00, 3.25, True),
        (2.02, 2.50, False),
        (2.02, 2.65, True),
    ],
)
def test_an_answer_may_end_a_little_before_its_last_word_does(
    read_to_s: float, voiced_to_s: float, is_unread: bool
) -> None:
    final = Final(5 * SAMPLE_RATE, 9 * SAMPLE_RATE)
    end = final.start + round(voiced_to_s * SAMPLE_RATE)

    def voiced(low: int, high: int) -> int:
        return max(min(high, end) - low, 0)

    read_to = final.start + round(read_to_s * SAMPLE_RATE)
    final.read_on(Hypothesis(1, (), "en", 1.0, read_to=read_to))
    assert final.is_unread(voiced) == is_unread
    assert (final.read_to, final.stuck) == (read_to, 0)


def test_a_reading_that_goes_no_further_ends_at_no_second() -> None:
    final = Final(0, SAMPLE_RATE)
    final.read_on(Hypothesis(1, (), "en", 1.0, read_to=0))
    assert final.stuck == 1
    assert final.is_unread(lambda low, high: high - low)
