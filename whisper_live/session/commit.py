"""Where a long window is cut while speech goes on, and how its pieces are joined.

What lies before the cut is decided and never decoded again, so a cut falls only
behind words that two hypotheses agree on, and at the quietest frame near their end.

A window that begins in the middle of speech hears the rest of the word before it, or
misses the beginning of its own first word.  The reading that made the cut heard all of
them in one piece, so it decides about the first word of whatever is read behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from whisper_live.audio import FRAME_SAMPLES, s_to_samples
from whisper_live.inference.types import HypothesisSegment, Word
from whisper_live.session.updates import Segment
from whisper_live.text.words import ends_sentence, normalise, split_words

__all__ = ["Cut", "Stitch", "find_cut", "joined", "settled", "spaced", "stitched"]

_EDGE = s_to_samples(1.0)  # words nearer to the window's end may still change
_LONGEST_JOINED = s_to_samples(15.0)  # what a reader takes in at once, and more
_SEARCH = s_to_samples(0.15)  # how far around a word limit a quiet frame is sought
# Words behind a cut that are remembered.  The first is the one that may come out wrong,
# the others tell where in a later reading it belongs.
_ANCHORS = 3


@dataclass(frozen=True, slots=True)
class Stitch:
    """A cut at ``at`` and what was heard around it.

    ``follows`` holds at most ``_ANCHORS`` words, never the newest one of its reading:
    that may have been cut off by the end of the audio.
    """

    at: int
    said: str  # the last word before the cut
    follows: tuple[str, ...]


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
    stitch: Stitch


def spaced(text: str) -> str:
    """Whisper's leading space, by which clients tell repeats and join texts."""
    return text if not text or text.startswith(" ") else " " + text


def settled(heard: HypothesisSegment) -> Segment:
    """The completed segment for what was heard."""
    return Segment(heard.start, heard.end, spaced(heard.text), True, heard.words)


def joined(segments: Sequence[HypothesisSegment]) -> list[HypothesisSegment]:
    """The segments of one window, each up to the end of a sentence.

    Whisper ends a segment at a pause, in the middle of a sentence too; readers get
    whole ones, unless they grow too long for that.
    """
    whole: list[HypothesisSegment] = []
    for segment in segments:
        last = whole[-1] if whole else None
        if (
            last is None
            or ends_sentence(last.text)
            or segment.end - last.start > _LONGEST_JOINED
        ):
            whole.append(segment)
            continue
        has_words = bool(last.words) == bool(last.text.strip()) and segment.words
        whole[-1] = replace(
            last,
            end=max(segment.end, last.end),
            text=last.text + spaced(segment.text),
            words=last.words + segment.words if has_words else (),
        )
    return whole


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
    behind the cut: where a word ends is not certain before.  Behind the end of a
    sentence if possible, for what follows is read without what comes before; else, in a
    window twice as long as ``shorten_after``, between two of the engine's segments, or
    behind a word, for which the segments must carry word times.  There the speech goes
    on, so enough words are left to join the pieces.
    """

    def quiet_between(left: int, right: int) -> int | None:
        low = max(min(left, right) - _SEARCH, start + FRAME_SAMPLES)
        high = min(max(left, right) + _SEARCH, end - FRAME_SAMPLES)
        if low > high:
            return None
        return loudness.quietest(low, high, near=(left + right) // 2)

    def made(count: int, at: int, done: Sequence[Segment]) -> Cut:
        follows = tuple(heard[count:-1][:_ANCHORS])
        return Cut(count, at, tuple(done), Stitch(at, heard[count - 1], follows))

    if end - start < shorten_after:
        return None
    heard = [word for segment in segments for word in split_words(segment.text)]
    is_long = end - start >= 2 * shorten_after
    best: Cut | None = None
    count = 0
    for index, (segment, after) in enumerate(zip(segments, segments[1:]), 1):
        count += len(split_words(segment.text))
        if count >= agreed:
            break
        at = quiet_between(segment.end, after.start)
        if at is None:
            continue
        found = made(count, at, [settled(s) for s in joined(segments[:index])])
        is_whole = ends_sentence(segment.text)
        if is_whole or is_long and not (best and ends_sentence(best.segments[-1].text)):
            best = found
    if best is not None or not segments or not is_long:
        return best
    # No segment but the first was confirmed, so only its own words can be decided.
    words = segments[0].words
    if "".join(word.text for word in words) != segments[0].text:
        return None  # the text was repaired, and its words gone
    text = ""
    for index, (word, after_word) in enumerate(zip(words, words[1:]), 1):
        text += word.text
        count = len(split_words(text))
        if count >= min(agreed, len(heard) - _ANCHORS) or word.end > end - _EDGE:
            break
        if len(split_words(text + after_word.text)) == count:
            continue  # two pieces of one written word: "twenty", "-five"
        at = quiet_between(word.end, after_word.start)
        if at is not None:
            done = Segment(words[0].start, word.end, spaced(text), True, words[:index])
            best = made(count, at, [done])
    return best


# --------------------------------------------------------------- joining the pieces


def stitched(
    segments: Sequence[HypothesisSegment], stitch: Stitch
) -> Sequence[HypothesisSegment]:
    """The hypothesis of a window that begins at the cut, its first word put right."""
    words = [word for segment in segments for word in split_words(segment.text)]
    wrong, right = _first_word([normalise(word) for word in words], stitch)
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
        rest[0] = _beginning_with(right, rest[0], stitch.at)
    return rest


def _first_word(heard: list[str], stitch: Stitch) -> tuple[int, str]:
    """How many words to take away from the front, and what to put there instead."""
    said = normalise(stitch.said)
    follows = [normalise(word) for word in stitch.follows]
    known = min(len(follows), len(heard))
    if not known or heard[:known] == follows[:known]:
        return 0, ""
    behind = heard[1 : 1 + len(follows)]
    is_sure = len(follows) == _ANCHORS
    if behind and behind == follows[: len(heard) - 1]:
        if is_sure or heard[0] == said:
            return 1, ""
    if is_sure:
        # In the first word's place stand: another one, nothing, two pieces of it.
        for wrong in (1, 0) if heard[0] == follows[0] else (1, 0, 2):
            if heard[wrong : wrong + len(follows) - 1] == follows[1:]:
                return wrong, stitch.follows[0]
    if heard[0] == said and said not in follows:
        return 1, ""
    if heard[0] == said + follows[0]:  # "eighty", then "Eighty-one"
        return 1, stitch.follows[0]
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
