"""Which hypothesised segments were not said by anybody.

Whisper writes plausible text for noise.  No single score tells: real quiet speech has
a high no-speech probability too.  So scores decide together, and the detector's own
speech probabilities over the segment weigh most.  What is suppressed is counted by
the reason returned here; nothing is dropped for one bad score alone.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from whisper_live.audio import s_to_samples
from whisper_live.inference.types import (
    LEAST_LOGPROB,
    MOST_COMPRESSION,
    Hypothesis,
    HypothesisSegment,
)
from whisper_live.text.words import is_word, normalise, split_words

__all__ = ["HallucinationFilter", "Reason", "remove_loop", "suppress"]

_SHAKY_LOGPROB = -0.8  # enough where there is little speech to go with the text
_WEAK_SPEECH = 0.25  # mean speech probability of what is mostly not speech
# Of what may be. Two noises to which tiny.en gave text had 0.30 and 0.36, with
# no-speech probabilities of 0.95 and 0.74. Of 43 letters and digits said by people
# several had 0.27 to 0.46, with at most 0.53, and with that no bad logprob.
_LITTLE_SPEECH = 0.5
_LIKELY_SILENT = 0.55  # no-speech probability; base wrote "You" for music at 0.58
# A word said alone has silence around it, which Whisper counts in: of 80 digits and 72
# letters by people tiny.en had no-speech probabilities of 0.45 to 0.9 for a seventh.
# What is this short is judged by its strongest voice, which was 0.4 or more for all of
# them; up to 1 s no noise got a word.  Longer noise had 0.29 to 0.37 on the mean.
_SHORT = s_to_samples(1.0)
_VOICE = 0.4
_SURE_VOICE = 0.5  # of two bad scores; music that base took for "You" had 0.43
_SYLLABLE = 4  # frames, 0.13 s
# Frames of voice, 1 s, in a long segment of words with pauses between them, whose mean
# is low: "Today. This morning. Goodbye." had 0.23.
_MUCH_VOICE = 31
_LOOP_REPEATS = 5  # "no no no no" is still said by people; five equal phrases are not
_LONGEST_LOOP = 12  # words
_SAID_APART = 0.7  # voice sets in so many times a word, where a repeated word is said


class Reason(enum.Enum):
    """Why a segment is not shown; the values label a metric."""

    NO_WORDS = "no_words"
    NO_SPEECH = "no_speech"
    WEAK_SPEECH = "weak_speech"
    LOOP = "loop"
    UNSURE = "unsure"  # partials only, so it is never counted


def suppress(
    segment: HypothesisSegment,
    probabilities: Sequence[float],
    *,
    no_speech_threshold: float,
    is_final: bool,
) -> Reason | None:
    """The reason not to show ``segment``, or None.

    ``probabilities`` are those of speech in each frame of its span; where there are
    none, nothing speaks against it.  A partial has to be surer than a final: no audio
    is lost by waiting for better text, one reading in twenty of speech and nearly every
    one of many voices at once are held back.
    """
    if not is_word(segment.text):
        return Reason.NO_WORDS
    doubted = segment.no_speech_probability > no_speech_threshold
    unsure = segment.average_logprob < LEAST_LOGPROB
    is_short = segment.end - segment.start <= _SHORT
    voice = _SURE_VOICE if doubted and unsure else _VOICE
    if is_final and is_short and _strongest(probabilities) >= voice:
        return None
    speech = sum(probabilities) / len(probabilities) if probabilities else 1.0
    if doubted and unsure:
        return Reason.NO_SPEECH
    shaky = segment.average_logprob < _SHAKY_LOGPROB
    is_voiced = sum(p >= _VOICE for p in probabilities) >= _MUCH_VOICE
    if speech < _WEAK_SPEECH and (doubted or shaky and not is_voiced):
        return Reason.WEAK_SPEECH
    likely_silent = segment.no_speech_probability > _LIKELY_SILENT
    if speech < _LITTLE_SPEECH and doubted and likely_silent and shaky:
        return Reason.WEAK_SPEECH
    if unsure and not is_final:
        return Reason.UNSURE
    return None


def _strongest(probabilities: Sequence[float]) -> float:
    """The mean over a syllable's frames where speech is most sure; 1 without frames."""
    if not probabilities:
        return 1.0
    starts = range(max(len(probabilities) - _SYLLABLE + 1, 1))
    sums = (sum(probabilities[at : at + _SYLLABLE]) for at in starts)
    return max(sums) / min(_SYLLABLE, len(probabilities))


def _bursts(probabilities: Sequence[float]) -> int:
    """How many times voice sets in."""
    voiced = [p >= _VOICE for p in probabilities]
    return sum(now and not before for before, now in zip([False, *voiced], voiced))


def remove_loop(segment: HypothesisSegment, probabilities: Sequence[float]) -> str:
    """The segment's text with a phrase that repeats without end said once.

    Only where the compression ratio shows a loop, and where voice did not set in about
    as many times as there are words: "six", said ten times, is left alone.
    """
    if segment.compression_ratio <= MOST_COMPRESSION:
        return segment.text
    words = split_words(segment.text)
    plain = [normalise(word) for word in words]
    for size in range(1, _LONGEST_LOOP + 1):
        for at in range(len(plain) - size * _LOOP_REPEATS + 1):
            end = at + size
            while plain[end : end + size] == plain[at : at + size]:
                end += size
            if end - at >= size * _LOOP_REPEATS:
                if _bursts(probabilities) >= _SAID_APART * (end - at):
                    return segment.text
                return "".join(words[: at + size] + words[end:])
    return segment.text


class HallucinationFilter:
    """Keeps of one session's hypotheses what somebody said.

    ``suppressed`` counts what was not, by reason.
    """

    def __init__(self, *, no_speech_threshold: float, suppressed: Counter[str]) -> None:
        self._no_speech_threshold = no_speech_threshold
        self._suppressed = suppressed

    def keep(
        self,
        hypothesis: Hypothesis,
        speech: Callable[[int, int], Sequence[float]],
        *,
        is_final: bool,
    ) -> list[HypothesisSegment]:
        """The segments that were said.

        ``speech(start, end)`` gives the speech probabilities of that span's frames.
        Only what a final loses is counted: partials read the same audio many times.
        """
        kept = []
        for segment in hypothesis.segments:
            probabilities = speech(segment.start, segment.end)
            reason = suppress(
                segment,
                probabilities,
                no_speech_threshold=self._no_speech_threshold,
                is_final=is_final,
            )
            if reason is not None:
                self._suppressed[reason.value] += is_final
                continue
            text = remove_loop(segment, probabilities)
            if text != segment.text:
                self._suppressed[Reason.LOOP.value] += is_final
                segment = replace(segment, text=text, words=())
            kept.append(segment)
        return kept
