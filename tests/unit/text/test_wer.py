"""The one edit distance: exact, and of a size that hours of speech have."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_live.text import wer
from whisper_live.text.wer import word_error_rate, word_errors

Words = st.lists(st.sampled_from("abcd"), max_size=24)


def cell_by_cell(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The definition."""
    above = list(range(len(hypothesis) + 1))
    for row, said in enumerate(reference, 1):
        here = [row]
        for column, heard in enumerate(hypothesis, 1):
            replaced = above[column - 1] + (said != heard)
            here.append(min(above[column] + 1, here[-1] + 1, replaced))
        above = here
    return above[-1]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a c", 1),
        ("a b c", "a x c", 1),
        ("a b c", "a b b c", 1),
        ("a b c", "c a b", 2),
        ("", "a b", 2),
        ("a b", "", 2),
        ("", "", 0),
    ],
)
def test_words_replaced_left_out_and_put_in(
    reference: str, hypothesis: str, errors: int
) -> None:
    assert word_errors(reference.split(), hypothesis.split()) == errors


@given(Words, Words, st.integers(1, 26))
def test_as_many_as_by_the_definition_wherever_blocks_end(
    reference: list[str], hypothesis: list[str], rows: int
) -> None:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(wer, "_BLOCK_ROWS", rows)
        assert word_errors(reference, hypothesis) == cell_by_cell(reference, hypothesis)


def test_two_hours_of_words_are_counted_exactly() -> None:
    """Cell by cell this takes minutes."""
    chance = random.Random(1)
    said = [f"w{chance.randrange(3000)}" for _ in range(18_000)]
    heard = [word for at, word in enumerate(said) if at % 20]  # 900 left out
    for at in range(5, len(heard), 100):
        heard[at] = "x"  # and 171 replaced
    assert word_errors(said, heard) == 900 + 171


def test_rate_without_case_and_marks() -> None:
    assert word_error_rate("Turn on the light.", "turn of the light") == 0.25
    assert word_error_rate("", "") == word_error_rate("-", "...") == 0.0
    assert word_error_rate("", "a") == 1.0


def test_more_words_than_anybody_says_are_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wer, "_MOST_WORDS", 4)
    assert word_error_rate("a b c d e f", "a b x d y z") == 0.25
