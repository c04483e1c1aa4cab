"""Decided windows in their order, and the one that is tried in advance."""

from __future__ import annotations

import pytest

from whisper_live.inference.types import Cancelled
from whisper_live.session.finals import Finals


def test_windows_are_answered_in_order() -> None:
    assert not Finals()
    assert Finals().first is None
    finals = Finals()
    finals.decide(0, 10)
    finals.decide(10, 20)
    first = finals.first
    assert first is not None and (first.start, first.end) == (0, 10)
    first.request_id = 7
    finals.check()
    assert finals.answer(Cancelled(8)) is None
    assert finals.answer(Cancelled(7)) is first and first.outcome == Cancelled(7)
    assert finals.pop() is first
    assert finals.first is not None and finals.first.start == 10


def test_a_final_in_advance_takes_the_place_of_its_window() -> None:
    finals = Finals()
    advance = finals.begin_advance(0, 10)
    advance.request_id = 3
    assert finals.advance is advance and not finals
    assert finals.answer(Cancelled(3)) is advance
    finals.decide(0, 12)
    assert finals.first is advance and finals.advance is None


def test_only_one_in_advance_and_none_beside_decided_ones() -> None:
    finals = Finals()
    finals.begin_advance(0, 10)
    with pytest.raises(AssertionError):
        finals.begin_advance(0, 12)
    assert finals.give_up_advance() is not None
    assert finals.give_up_advance() is None
    finals.decide(0, 10)
    with pytest.raises(AssertionError):
        finals.begin_advance(10, 20)


@pytest.mark.parametrize("window", [(5, 20), (0, 9)])
def test_another_windows_final_cannot_decide(window: tuple[int, int]) -> None:
    finals = Finals()
    finals.begin_advance(0, 10)
    with pytest.raises(AssertionError):
        finals.decide(*window)


def test_clearing_names_the_requests_to_cancel() -> None:
    finals = Finals()
    finals.decide(0, 10)
    finals.decide(10, 20)
    assert finals.first is not None
    finals.first.request_id = 4
    assert finals.clear() == [4] and not finals
    finals.begin_advance(20, 30).request_id = 5
    assert finals.clear() == [5] and finals.advance is None


def test_check_finds_a_second_one_under_way() -> None:
    finals = Finals()
    finals.decide(0, 10)
    finals.decide(5, 20)
    with pytest.raises(AssertionError, match="overlap"):
        finals.check()
