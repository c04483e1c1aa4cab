"""Word errors between two texts, compared without case and punctuation."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_live.text.words import is_word, normalise, split_words

__all__ = ["plain_words", "word_error_rate", "word_errors"]


def plain_words(text: str) -> list[str]:
    """The words of ``text`` as they are compared; tokens without a letter are none."""
    words = (normalise(word) for word in split_words(text))
    return [word for word in words if is_word(word)]


def word_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Least number of words replaced, left out or put in."""
    row = list(range(len(hypothesis) + 1))
    for i, said in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, heard in enumerate(hypothesis, 1):
            cost = min(row[j] + 1, row[j - 1] + 1, diagonal + (said != heard))
            diagonal, row[j] = row[j], cost
    return row[-1]


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Errors per word of the reference; 0 or 1 where the reference has no words."""
    said, heard = plain_words(reference), plain_words(hypothesis)
    if not said:
        return float(bool(heard))
    return word_errors(said, heard) / len(said)
