"""The demo model's measures: word errors, alignment, LocalAgreement-2."""

from __future__ import annotations

import pytest

from training.demo_model.metrics import Errors, agreement, matches


def test_rate_adds_up_and_ignores_case_and_marks() -> None:
    errors = Errors()
    assert errors.rate == 0.0
    errors.add("Turn on the light.", "turn on the light")
    errors.add("Yes.", " No.")
    assert errors.rate == pytest.approx(20.0)


def test_matches_pair_equal_words() -> None:
    pairs = matches("a b c d".split(), "a x c c d".split())
    assert [reference for reference, _ in pairs] == [0, 2, 3]
    assert matches("a b".split(), "b".split()) == [(1, 0)]
    assert matches("a".split(), "b a".split()) == [(0, 1)]


def test_agreement_commits_what_two_in_a_row_share() -> None:
    assert agreement(["", "Turn", "Turn on", "Turn on the"]) == (2, 2)
    assert agreement(["Turn of", "Turn of the", "Turn on the light"]) == (1, 2)
    assert agreement(["a", "b"]) == (0, 0)
