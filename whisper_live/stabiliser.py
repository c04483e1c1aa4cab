"""Successive hypotheses of one window in, a steady reading of it out.

LocalAgreement-2: a word on which two successive hypotheses agree is taken as heard
and shown unchanged until its window is decided; the newest word is held back, for it
may be cut off by the end of the audio.  Words are compared without case and
punctuation.  Owns no times and no audio: positions are the session's affair.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["Stabiliser", "ends_sentence", "normalise", "split_words"]


# Thai, Lao, Burmese, Khmer, and kana to Hangul's neighbours: written without spaces.
# Punctuation and marks belong to the character before them.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"\s*(?:[{_UNSPACED}][^\w\s]*|[^\s{_UNSPACED}]+)")

# Not dots in a row: with them Whisper writes that somebody broke off.
_CLOSED = re.compile(r"(?:(?<!\.)\.(?!\.)|[!?\u3002\uff01\uff1f\u061f\u0964])[\W_]*$")


def split_words(text: str) -> list[str]:
    """Words with their leading space, so that joining them gives the text back.

    Scripts written without spaces are compared character by character.
    """
    return _WORD.findall(text)


def ends_sentence(text: str) -> bool:
    """Whether ``text`` closes with a full stop or the like, quotes aside."""
    return _CLOSED.search(text) is not None


def normalise(word: str) -> str:
    """The word as it is compared: letters, marks and digits only, case folded.

    A token of nothing else (a dash, an ellipsis) keeps its symbols, so that it is
    not equal to every other one.
    """
    folded = unicodedata.normalize("NFKC", word).casefold().strip()
    kept = "".join(c for c in folded if c.isalnum() or unicodedata.combining(c))
    return kept or folded


class Stabiliser:
    """Agreement over the hypotheses of one window."""

    def __init__(self) -> None:
        self._agreed: list[str] = []
        self._tail: list[str] = []

    @property
    def agreed(self) -> tuple[str, ...]:
        """Words confirmed by two hypotheses, as they were first agreed upon."""
        return tuple(self._agreed)

    @property
    def text(self) -> str:
        """What to show: the agreed words, then the newest reading of the rest."""
        return "".join(self._agreed + self._tail)

    def update(self, words: Sequence[str]) -> None:
        """Take a newer hypothesis of the same window, longer or not."""
        rest = list(words[self._overlap(words) :])
        common = 0
        for old, new in zip(self._tail, rest[:-1], strict=False):
            if normalise(old) != normalise(new):
                break
            common += 1
        self._agreed += rest[:common]
        self._tail = rest[common:]

    def confirms(self, words: Sequence[str]) -> int:
        """How many leading ``words`` are agreed upon, word for word."""
        count = 0
        for mine, theirs in zip(self._agreed, words, strict=False):
            if normalise(mine) != normalise(theirs):
                break
            count += 1
        return count

    def cut(self, count: int) -> None:
        """The first ``count`` agreed words are decided and leave the window."""
        assert count <= len(self._agreed), "only agreed words can be decided"
        del self._agreed[:count]

    def reset(self) -> None:
        """A new window: nothing was heard yet."""
        self._agreed.clear()
        self._tail.clear()

    def _overlap(self, words: Sequence[str]) -> int:
        """How many of ``words`` the agreed ones stand for.

        Nearly always the words simply begin with them.  Where the engine changed its
        mind about one, the cheapest alignment decides, so that the rest is neither
        lost nor shown twice.
        """
        agreed = [normalise(word) for word in self._agreed]
        heard = [normalise(word) for word in words]
        if heard[: len(agreed)] == agreed:
            return len(agreed)
        row = list(range(len(heard) + 1))  # edits from no agreed word to heard[:j]
        for i, mine in enumerate(agreed, 1):
            left, row[0] = row[0], i
            for j, theirs in enumerate(heard, 1):
                edit = min(row[j] + 1, row[j - 1] + 1, left + (mine != theirs))
                left, row[j] = row[j], edit
        # Equal costs: the longer prefix, so that an agreed word is not repeated.
        return min(range(len(row)), key=lambda j: (row[j], -j))
