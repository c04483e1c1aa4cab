"""Which heard words are which spoken words: edit-distance alignment of two lists.

Pure and small; the lists are sentences or single streams (some hundred words).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Alignment", "Pair", "align"]

# A misheard word stands in the place of a spoken one rather than beside it; never at
# the price of one edit more.
_EDIT, _ADDED = 1000, 1001


class Pair(NamedTuple):
    """A heard word that stands where a spoken one stood; equal or not."""

    heard: int
    spoken: int
    is_equal: bool


@dataclass(frozen=True, slots=True)
class Alignment:
    """The cheapest way to turn the spoken words into the heard ones."""

    pairs: tuple[Pair, ...]
    substituted: int
    missing: int  # spoken, not heard
    added: int  # heard, not spoken

    @property
    def errors(self) -> int:
        """Edits in all; over the number of spoken words this is the WER."""
        return self.substituted + self.missing + self.added


def align(
    heard: Sequence[str], spoken: Sequence[str], *, part: bool = False
) -> Alignment:
    """Align; with ``part`` the heard words may be any piece of the spoken ones.

    Then spoken words before and after the piece cost nothing and are not missing.
    """
    rows, columns = len(heard), len(spoken)
    costs = [[0 if part else _EDIT * j for j in range(columns + 1)]]
    for i, word in enumerate(heard, start=1):
        above, row = costs[-1], [_ADDED * i]
        for j, other in enumerate(spoken, start=1):
            change = above[j - 1] + _EDIT * (word != other)
            row.append(min(change, above[j] + _ADDED, row[j - 1] + _EDIT))
        costs.append(row)
    last = costs[rows]
    end = last.index(min(last)) if part else columns
    pairs, first = _trace(costs, heard, spoken, end, part)
    equal = sum(pair.is_equal for pair in pairs)
    return Alignment(
        pairs=tuple(pairs),
        substituted=len(pairs) - equal,
        missing=(end - first) - len(pairs),
        added=rows - len(pairs),
    )


def _trace(
    costs: Sequence[Sequence[int]],
    heard: Sequence[str],
    spoken: Sequence[str],
    end: int,
    part: bool,
) -> tuple[list[Pair], int]:
    """The pairs, and where in the spoken words the alignment begins."""
    pairs: list[Pair] = []
    i, j = len(heard), end
    while i > 0 or (j > 0 and not part):
        cost = costs[i][j]
        is_equal = i > 0 and j > 0 and heard[i - 1] == spoken[j - 1]
        if i and j and cost == costs[i - 1][j - 1] + _EDIT * (not is_equal):
            i, j = i - 1, j - 1
            pairs.append(Pair(i, j, is_equal))
        elif i and cost == costs[i - 1][j] + _ADDED:
            i -= 1
        else:
            j -= 1
    return pairs[::-1], j
