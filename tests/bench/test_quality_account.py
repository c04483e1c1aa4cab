"""What the quality bench counts against the policy that it measures."""

from __future__ import annotations

from typing import Any

import pytest

from bench.quality.account import Heard, account
from bench.quality.simulation import Told

SPOKEN = [
    ("Turn", 0.5, 0.7),
    ("on", 0.7, 0.8),
    ("the", 0.8, 0.9),
    ("light.", 0.9, 1.3),
    ("Thank", 2.0, 2.2),
    ("you.", 2.2, 2.5),
]


def segment(
    text: str, *words: tuple[str, float, float], completed: bool = False
) -> Any:
    """One segment as a client gets it."""
    told = [{"word": word, "start": start, "end": end} for word, start, end in words]
    return {"text": text, "completed": completed, "words": told}


def heard(*messages: tuple[float, list[Any]]) -> Heard:
    """The account of a client who got these segments at these times."""
    return account(SPOKEN, [Told(at, {"segments": it}) for at, it in messages])


LIGHT = segment(
    " Turn on the light.",
    ("Turn", 0.5, 0.7),
    ("on", 0.8, 0.8),
    ("the", 0.8, 0.9),
    ("light.", 0.9, 1.4),
    completed=True,
)


def test_what_stayed_as_it_was_shown_costs_nothing() -> None:
    thanks = segment(" Thank you.", completed=True)
    got = heard(
        (1.0, [segment(" Turn on")]),
        (1.2, [segment(" turn on the")]),
        (1.8, [LIGHT]),
        (3.0, [LIGHT, thanks]),
    )
    assert got.text == " Turn on the light. Thank you."
    assert (got.errors, got.changed, got.doubled) == (0, 0, 0)
    assert (got.taken_back, got.shown) == (0, 6)
    assert got.first_s == pytest.approx(0.5)
    assert got.final_s == pytest.approx(0.5)


def test_a_word_put_right_takes_back_all_words_from_it_on() -> None:
    got = heard(
        (1.0, [segment(" Turn off the")]),
        (1.2, [segment(" Turn on the light")]),
        (1.8, [LIGHT]),
    )
    assert got.taken_back == 2
    assert (got.errors, got.shown) == (2, 4)


def test_a_completed_segment_that_changes_is_counted() -> None:
    other = segment(" Turn on the lamp.", completed=True)
    assert heard((1.8, [LIGHT]), (2.0, [other])).changed == 1
    assert heard((1.8, [LIGHT]), (2.0, [])).changed == 0
    assert heard((1.8, [LIGHT]), (2.0, [segment(" Thank")])).changed == 1


def test_words_said_again_at_a_seam_are_counted() -> None:
    again = segment(" The light. Thank you.", completed=True)
    assert heard((1.8, [LIGHT]), (2.0, [LIGHT, again])).doubled == 1


def test_word_times_are_compared_with_those_spoken() -> None:
    got = heard((1.8, [LIGHT]))
    assert got.word_errors_s == pytest.approx([0, 0, 0.1, 0, 0, 0, 0, 0.1])
