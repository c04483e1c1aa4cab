"""From timed text to subtitle cues: where they are split, wrapped, how long they stand.

A caption is as long as its sentence; a viewer gets two lines at a time, and the time to
read them.  Owns the limits that subtitles keep and the choice of the splits.  Pure; how
a cue is written down is ``captions``' affair.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from whisper_live.audio import samples_to_s
from whisper_live.inference.types import Word
from whisper_live.text.words import ends_sentence, split_words

__all__ = ["Cue", "Layout", "TimedWord", "split_into_cues", "timed_words"]

# What broadcasters ask of subtitles, one or the other a little more or less.
SHORTEST_S, LONGEST_S = 1.0, 7.0
MOST_PER_S = 20  # characters to be read in a second
_LONGEST_PAUSE_S = 2.0  # a text that waits for its end longer is two cues
_CLAUSE_PAUSE_S = 0.4
# A word that lasts longer, and has no mark behind it, has taken the pause before it for
# its own: in ordinary English that tiny.en wrote without marks, four of four such words
# began a sentence.
_LONG_WORD_S, _LONG_COLUMN_S = 0.8, 0.06

# What makes one split better than another.  Every cue costs 1.
# A split that is not at a sentence's end; the last where a script has no spaces, for it
# may be inside a word.
_BEHIND_CLAUSE, _BEHIND_WORD, _BEHIND_CHARACTER = 1.0, 3.0, 4.0
_SENTENCE_INSIDE = 1.5  # a sentence that ends where its cue goes on
_PAUSE_INSIDE_PER_S = 2.0
_HASTY, _HASTY_PER_S = 10.0, 10.0  # a cue that cannot stand as long as it should
# And one line break than another, against lines of unequal lengths.
_LINE_BEHIND_WORD, _LINE_BEHIND_CHARACTER = 0.2, 0.4
_CLAUSE = re.compile(
    r"[,;:\u060c\u061b\u3001\uff0c\uff1b\uff1a\u2026\u2013\u2014][\W_]*$"
)

# Two characters between which no line may be broken, in scripts without spaces: vowels
# and signs of Thai and Lao that are written before or behind their consonant, stacked
# consonants of Burmese and Khmer, small kana and signs of repetition, and katakana,
# which are mostly a foreign word.
_UNBROKEN = re.compile(
    "[\u0e40-\u0e44\u0ec0-\u0ec4\u1039\u17d2]."
    "|.[\u0e2f\u0e30\u0e32\u0e33\u0e45\u0e46]"
    "|.[\u0eaf\u0eb0\u0eb2\u0eb3\u0ebd\u0ec6]"
    "|.[\u3005\u3041\u3043\u3045\u3047\u3049\u3063\u3083\u3085\u3087\u308e]"
    "|.[\u309d\u309e]"
    "|[\u30a1-\u30fe]{2}"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How much text a cue holds; a wide (East Asian) character counts as two."""

    max_line_width: int = 42
    max_line_count: int = 2


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word, with its leading space if it has one, and when it is said."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Cue:
    """What is on the screen from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def timed_words(
    text: str, start_s: float, end_s: float, words: Sequence[Word]
) -> list[TimedWord]:
    """The words of a text said from ``start_s`` to ``end_s``, a space before the first.

    ``words`` give the times where they spell the text; else each character is taken to
    last equally long.
    """
    text = " " + " ".join(text.split())
    spoken = [
        ("".join(word.text.split()), samples_to_s(word.start), samples_to_s(word.end))
        for word in words
    ]
    whole = "".join(text.split())
    if "".join(word for word, _, _ in spoken) != whole:
        spoken = [(whole, start_s, end_s)]
    limits: list[tuple[float, float]] = []  # of each character
    for word, start, end in spoken:
        step = (end - start) / max(len(word), 1)
        limits += [(start + n * step, start + (n + 1) * step) for n in range(len(word))]
    found, first = [], 0
    for piece in _unbroken(split_words(text)):
        last = first + len("".join(piece.split())) - 1
        found.append(TimedWord(piece, limits[first][0], limits[last][1]))
        first = last + 1
    return found


def _unbroken(words: Sequence[str]) -> list[str]:
    """Words, those joined between which no line may be broken."""
    joined: list[str] = []
    for word in words:
        if joined and _UNBROKEN.fullmatch(joined[-1][-1] + word[0]):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def split_into_cues(words: Sequence[TimedWord], layout: Layout) -> list[Cue]:
    """The cues of a recording, in order and without overlap.

    Split at the ends of sentences where that gives cues of a good length, else at
    clauses and between words.  A cue stands while it is spoken, and longer where it
    could not be read in that time, until the next one begins.
    """
    pieces = [_Piece.of(word) for word in words]
    count = len(pieces)
    # The cheapest way to split the first n words, and where its last cue begins.
    costs = [0.0] + [math.inf] * count
    begins = [0] * (count + 1)
    for first in range(count):
        candidate = _Candidate(pieces[first], layout)
        for end in range(first + 1, count + 1):
            if end > first + 1 and not candidate.add(pieces[end - 1]):
                break
            following = pieces[end] if end < count else None
            cost = costs[first] + candidate.cost(following)
            if cost < costs[end]:
                costs[end], begins[end] = cost, first
    splits = [count]
    while splits[-1]:
        splits.append(begins[splits[-1]])
    splits.reverse()
    return [
        _cue(pieces[first:end], pieces[end] if end < count else None, layout)
        for first, end in zip(splits, splits[1:])
    ]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word as a split sees it; each is looked at some twenty times."""

    text: str
    start_s: float
    end_s: float
    width: int
    space: int  # columns of its leading space
    ends_sentence: bool
    ends_clause: bool  # or a sentence
    begins_late: bool  # behind a pause that its times do not show

    @classmethod
    def of(cls, word: TimedWord) -> _Piece:
        width = _width(word.text)
        is_clause = ends_sentence(word.text) or _CLAUSE.search(word.text) is not None
        long_s = _LONG_WORD_S + width * _LONG_COLUMN_S
        return cls(
            word.text,
            word.start_s,
            word.end_s,
            width,
            width - _width(word.text.lstrip()),
            ends_sentence(word.text),
            is_clause,
            not is_clause and word.end_s - word.start_s >= long_s,
        )


class _Candidate:
    """A cue that grows word by word, and what it costs."""

    def __init__(self, first: _Piece, layout: Layout) -> None:
        self._layout = layout
        self._start_s = first.start_s
        self._last = first
        self._filled = first.width - first.space  # of its last line
        self._full_lines = 0  # those before it
        self._width = self._filled
        self._inside = 0.0  # what lies within it costs

    def add(self, piece: _Piece) -> bool:
        """Take one more word; False where it does not fit."""
        self._width += piece.width
        self._filled += piece.width
        if self._filled > self._layout.max_line_width:
            self._filled = piece.width - piece.space
            self._full_lines += 1
        pause_s = max(piece.start_s - self._last.end_s, 0.0)
        self._inside += _PAUSE_INSIDE_PER_S * pause_s
        if self._last.ends_sentence:
            self._inside += _SENTENCE_INSIDE
        self._last = piece
        return (
            self._full_lines < self._layout.max_line_count
            and piece.end_s - self._start_s <= LONGEST_S
            and pause_s <= _LONGEST_PAUSE_S
        )

    def cost(self, following: _Piece | None) -> float:
        """Of a cue that ends here, ``following`` being the next one's first word."""
        most = self._layout.max_line_width * self._layout.max_line_count
        cost = 1 + self._inside + (self._width / most) ** 2  # squares: equal lengths
        if following is None:
            return cost
        stands_s = following.start_s - self._start_s
        if (missing_s := _reading_s(self._width) - stands_s) > 0:
            cost += _HASTY + _HASTY_PER_S * missing_s
        if self._last.ends_sentence:
            return cost
        # A speaker who pauses makes as good a split as a comma.
        pauses = following.start_s - self._last.end_s >= _CLAUSE_PAUSE_S
        if pauses or self._last.ends_clause or following.begins_late:
            return cost + _BEHIND_CLAUSE
        return cost + (_BEHIND_WORD if following.space else _BEHIND_CHARACTER)


def _cue(pieces: Sequence[_Piece], following: _Piece | None, layout: Layout) -> Cue:
    start_s, end_s = pieces[0].start_s, pieces[-1].end_s
    width = sum(piece.width for piece in pieces) - pieces[0].space
    end_s = min(max(end_s, start_s + _reading_s(width)), start_s + LONGEST_S)
    if following is not None:
        end_s = min(end_s, max(following.start_s, start_s))
    return Cue(start_s, end_s, _wrapped(pieces, layout.max_line_width))


def _reading_s(width: int) -> float:
    return min(max(width / MOST_PER_S, SHORTEST_S), LONGEST_S)


def _wrapped(pieces: Sequence[_Piece], most: int) -> tuple[str, ...]:
    """As few lines as there must be, of like lengths and broken at clauses.

    A word wider than a line stays whole.
    """
    count = len(pieces)
    # The best lines for the first n words: their number, what they cost, and where the
    # last of them begins.
    best = [(0, 0.0, 0)] + [(count, math.inf, 0)] * count
    for first in range(count):
        lines, cost, _ = best[first]
        if first and not pieces[first - 1].ends_clause:
            spaced = pieces[first].space > 0
            cost += _LINE_BEHIND_WORD if spaced else _LINE_BEHIND_CHARACTER
        width = -pieces[first].space
        for end in range(first + 1, count + 1):
            width += pieces[end - 1].width
            if width > most and end > first + 1:
                break
            best[end] = min(best[end], (lines + 1, cost + (width / most) ** 2, first))
    lines_of: list[str] = []
    end = count
    while end:
        first = best[end][2]
        lines_of.append("".join(piece.text for piece in pieces[first:end]).lstrip())
        end = first
    return tuple(reversed(lines_of))


def _width(text: str) -> int:
    """Columns on a screen, as terminals count them."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
