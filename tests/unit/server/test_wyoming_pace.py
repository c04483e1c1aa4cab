"""A microphone's pace and a recording's."""

from __future__ import annotations

import pytest

pytest.importorskip("wyoming", reason="pip install '.[wyoming]'")

from whisper_live.server.wyoming.pace import Pace  # noqa: E402


def test_a_microphone_is_none() -> None:
    pace = Pace(100.0)
    for number in range(1, 51):
        pace.took(number * 0.1, 100.0 + number * 0.1)
        assert not pace.is_recorded(100.0 + number * 0.1)


def test_a_file_is_one() -> None:
    pace = Pace(100.0)
    for number in range(1, 11):
        pace.took(number * 0.1, 100.0 + number * 0.001)
    assert pace.is_recorded(100.01)


def test_a_file_that_is_read_at_twice_the_pace_is_one() -> None:
    pace = Pace(0.0)
    for number in range(1, 101):
        pace.took(number * 0.1, number * 0.05)
    assert pace.is_recorded(5.0)


def test_what_was_kept_before_a_wake_word_is_forgotten() -> None:
    pace = Pace(0.0)
    pace.took(2.0, 0.01)
    assert pace.is_recorded(0.01)
    for number in range(1, 13):
        pace.took(2.0 + number * 0.1, 0.01 + number * 0.1)
    assert not pace.is_recorded(1.21)


def test_a_file_whose_end_was_never_told_is_none_after_a_while() -> None:
    pace = Pace(0.0)
    pace.took(3.0, 0.01)
    assert not pace.is_recorded(2.1)


def test_nothing_says_nothing() -> None:
    assert not Pace(0.0).is_recorded(0.0)
