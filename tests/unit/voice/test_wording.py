"""Which texts say the same."""

from __future__ import annotations

import pytest

from whisper_live.voice.wording import wording


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is it warm?", " is it  warm"),
        ("Well - yes, it is...", "well yes it is."),
        ("STRASSE", "straße"),
        ("...", ""),
    ],
)
def test_the_same(one: str, other: str) -> None:
    assert wording(one) == wording(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 1.5?", "What is 15?"),
        ("Is it -5?", "Is it 5?"),
        ("I like C++.", "I like C."),
        ("the rapist", "therapist"),
        ("It's warm.", "Its warm."),
    ],
)
def test_not_the_same(one: str, other: str) -> None:
    assert wording(one) != wording(other)
