"""Where a window that grew long can be shortened while speech goes on.

What lies before the cut is decided and never decoded again, so a cut falls only
behind words that two hypotheses agree on, and at the quietest frame near their end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from whisper_live.audio import FRAME_SAMPLES, s_to_samples
from whisper_live.inference.types import HypothesisSegment
from whisper_live.session.events import Segment
from whisper_live.session.seams import ANCHORS, Seam
from whisper_live.text.words import split_words

__all__ = ["Cut", "find_cut", "settled", "spaced"]

_EDGE = s_to_samples(1.0)  # words nearer to the window's end may still change
_SEARCH = s_to_samples(0.15)  # how far around a word limit a quiet frame is sought


class Loudness(Protocol):
    """The one thing that is asked of the segmenter."""

    def quietest(self, low: int, high: int, *, near: int | None = None) -> int:
        """The quietest frame limit inside ``low..high``, best ``near`` a position."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Decide ``segments``, which hold ``words`` words, and go on at ``at``."""

    words: int
    at: int
    segments: tuple[Segment, ...]
    seam: Seam


def spaced(text: str) -> str:
    """Whisper's leading space, by which clients tell repeats and join texts."""
    return text if not text or text.startswith(" ") else " " + text


def settled(heard: HypothesisSegment) -> Segment:
    """The completed segment for what was heard."""
    return Segment(heard.start, heard.end, spaced(heard.text), True, heard.words)


def find_cut(
    segments: Sequence[HypothesisSegment],
    agreed: int,
    *,
    start: int,
    end: int,
    shorten_after: int,
    loudness: Loudness,
) -> Cut | None:
    """The latest safe cut of the window ``start..end``, or None.

    ``agreed`` leading words of ``segments`` are confirmed, and so must be the first one
    behind the cut: where a word ends is not certain before.  Between two of the
    engine's segments if possible; else, in a window twice as long as
    ``shorten_after``, behind a word, for which the segments must carry word times.
    Behind a word the speech goes on, so enough words are left there to mend the seam.
    """

    def quiet_between(left: int, right: int) -> int | None:
        low = max(min(left, right) - _SEARCH, start + FRAME_SAMPLES)
        high = min(max(left, right) + _SEARCH, end - FRAME_SAMPLES)
        if low > high:
            return None
        return loudness.quietest(low, high, near=(left + right) // 2)

    def made(count: int, at: int, done: Sequence[Segment]) -> Cut:
        follows = tuple(heard[count:-1][:ANCHORS])
        return Cut(count, at, tuple(done), Seam(at, heard[count - 1], follows))

    if end - start < shorten_after:
        return None
    heard = [word for segment in segments for word in split_words(segment.text)]
    best: Cut | None = None
    count = 0
    for index, (segment, after) in enumerate(zip(segments, segments[1:]), 1):
        count += len(split_words(segment.text))
        if count >= agreed:
            break
        at = quiet_between(segment.end, after.start)
        if at is not None:
            best = made(count, at, [settled(s) for s in segments[:index]])
    if best is not None or not segments or end - start < 2 * shorten_after:
        return best
    # No segment but the first was confirmed, so only its own words can be decided.
    words = segments[0].words
    if "".join(word.text for word in words) != segments[0].text:
        return None  # the text was repaired, and its words gone
    text = ""
    for index, (word, after_word) in enumerate(zip(words, words[1:]), 1):
        text += word.text
        count = len(split_words(text))
        if count >= min(agreed, len(heard) - ANCHORS) or word.end > end - _EDGE:
            break
        if len(split_words(text + after_word.text)) == count:
            continue  # two pieces of one written word: "twenty", "-five"
        at = quiet_between(word.end, after_word.start)
        if at is not None:
            done = Segment(words[0].start, word.end, spaced(text), True, words[:index])
            best = made(count, at, [done])
    return best
