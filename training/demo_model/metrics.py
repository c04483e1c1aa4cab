"""Word error rate, word alignment and LocalAgreement-2, on normalised words."""

from __future__ import annotations

from dataclasses import dataclass

from training.demo_model.grammar import normalise
from whisper_live.text.wer import word_errors

__all__ = ["Errors", "agreement", "matches", "word_errors"]


@dataclass
class Errors:
    """Counts that add up over recordings; ``rate`` is the word error rate, in %."""

    errors: int = 0
    words: int = 0

    def add(self, reference: str, hypothesis: str) -> None:
        """Count one recording."""
        expected = normalise(reference)
        self.errors += word_errors(expected, normalise(hypothesis))
        self.words += len(expected)

    @property
    def rate(self) -> float:
        """Return errors per reference word in percent; 0 if there is no word."""
        return 100 * self.errors / self.words if self.words else 0.0


def _table(reference: list[str], hypothesis: list[str]) -> list[list[int]]:
    table = [list(range(len(hypothesis) + 1))]
    for row, expected in enumerate(reference, start=1):
        line = [row]
        for column, got in enumerate(hypothesis, start=1):
            line.append(
                min(
                    table[row - 1][column] + 1,
                    line[column - 1] + 1,
                    table[row - 1][column - 1] + (expected != got),
                )
            )
        table.append(line)
    return table


def matches(reference: list[str], hypothesis: list[str]) -> list[tuple[int, int]]:
    """Return index pairs of equal words on one best alignment."""
    table = _table(reference, hypothesis)
    row, column = len(reference), len(hypothesis)
    pairs = []
    while row and column:
        here = table[row][column]
        equal = reference[row - 1] == hypothesis[column - 1]
        if equal and here == table[row - 1][column - 1]:
            pairs.append((row - 1, column - 1))
            row, column = row - 1, column - 1
        elif here == table[row - 1][column - 1] + 1:
            row, column = row - 1, column - 1
        elif here == table[row - 1][column] + 1:
            row -= 1
        else:
            column -= 1
    return pairs[::-1]


def agreement(hypotheses: list[str]) -> tuple[int, int]:
    """Run LocalAgreement-2 over hypotheses of growing windows.

    Words that two hypotheses in a row share from the start are committed for good.
    Returns (committed words equal to the last hypothesis there, committed words);
    what the last hypothesis alone would commit is not counted.
    """
    texts = [normalise(text) for text in hypotheses]
    committed: list[str] = []
    for before, after in zip(texts, texts[1:]):
        common = 0
        while common < min(len(before), len(after)) and before[common] == after[common]:
            common += 1
        if common > len(committed):
            committed += after[len(committed) : common]
    final = texts[-1]
    right = sum(a == b for a, b in zip(committed, final))
    return right, len(committed)
