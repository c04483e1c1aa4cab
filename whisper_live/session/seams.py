"""The words around a cut: none is said twice there, and none is lost.

A window that begins in the middle of speech hears the rest of the word before it, or
misses the beginning of its own first word.  The reading that made the cut heard all of
them in one piece, so it decides about the first word of whatever is read behind it.
Pure: knows only words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisper_live.inference.types import HypothesisSegment, Word
from whisper_live.text.words import normalise, split_words

__all__ = ["ANCHORS", "Seam", "mend"]

# Words behind a cut that are remembered.  The first is the one that may come out wrong,
# the others tell where in a later reading it belongs.
ANCHORS = 3


@dataclass(frozen=True, slots=True)
class Seam:
    """A cut at ``at`` and what was heard around it.

    ``follows`` holds at most ``ANCHORS`` words, never the newest one of its reading:
    that may have been cut off by the end of the audio.
    """

    at: int
    said: str  # the last word before the cut
    follows: tuple[str, ...]


def mend(
    segments: Sequence[HypothesisSegment], seam: Seam
) -> Sequence[HypothesisSegment]:
    """The hypothesis of a window that begins at the seam, its first word put right."""
    words = [word for segment in segments for word in split_words(segment.text)]
    wrong, right = _first_word([normalise(word) for word in words], seam)
    if not wrong and not right:
        return segments
    rest: list[HypothesisSegment] = []
    for segment in segments:
        count = min(wrong, len(split_words(segment.text)))
        wrong -= count
        segment = _without(segment, count)
        if segment.text:
            rest.append(segment)
    if right:  # what follows it was recognised, so there is a segment
        rest[0] = _beginning_with(right, rest[0], seam.at)
    return rest


def _first_word(heard: list[str], seam: Seam) -> tuple[int, str]:
    """How many words to take away from the front, and what to put there instead."""
    said = normalise(seam.said)
    follows = [normalise(word) for word in seam.follows]
    known = min(len(follows), len(heard))
    if not known or heard[:known] == follows[:known]:
        return 0, ""
    behind = heard[1 : 1 + len(follows)]
    is_sure = len(follows) == ANCHORS
    if behind and behind == follows[: len(heard) - 1]:
        if is_sure or heard[0] == said:
            return 1, ""
    if is_sure:
        # In the first word's place stand: another one, nothing, two pieces of it.
        for wrong in (1, 0) if heard[0] == follows[0] else (1, 0, 2):
            if heard[wrong : wrong + len(follows) - 1] == follows[1:]:
                return wrong, seam.follows[0]
    if heard[0] == said and said not in follows:
        return 1, ""
    if heard[0] == said + follows[0]:  # "eighty", then "Eighty-one"
        return 1, seam.follows[0]
    return 0, ""


def _without(segment: HypothesisSegment, count: int) -> HypothesisSegment:
    """The segment less its first ``count`` words."""
    if not count:
        return segment
    words = split_words(segment.text)
    gone, pieces = "".join(words[:count]), list(segment.words)
    while pieces and gone.startswith(pieces[0].text):
        gone = gone.removeprefix(pieces.pop(0).text)
    if gone:  # the text was repaired, and its words do not tell its parts
        pieces = []
    start = pieces[0].start if pieces else segment.start
    text = "".join(words[count:])
    return replace(segment, text=text, start=start, words=tuple(pieces))


def _beginning_with(
    word: str, segment: HypothesisSegment, at: int
) -> HypothesisSegment:
    words = segment.words
    if words:
        end = max(at, words[0].start)
        words = (Word(word, at, end, words[0].probability), *words)
    return replace(segment, text=word + segment.text, start=at, words=words)
