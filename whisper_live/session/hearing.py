"""What of a hypothesis is believed, and in which language the client speaks.

Stands between the engine's answer and the session: suppresses what nobody said,
keeps the detected language once it is certain, and knows whether the client has been
told.  Low confidence holds a first partial back; it never throws audio away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from whisper_live.audio import s_to_samples
from whisper_live.inference.types import Hypothesis, HypothesisSegment
from whisper_live.session.events import ClientOptions
from whisper_live.session.hallucination import Reason, remove_loop, suppress

__all__ = ["Hearing"]

_CERTAIN_AFTER = s_to_samples(2.0)  # speech from which a language is believed
_CERTAIN_PROBABILITY = 0.8  # or the probability with which it is believed at once


class Hearing:
    """One session's belief; ``suppressed`` counts what was not believed."""

    def __init__(self, options: ClientOptions, suppressed: Counter[str]) -> None:
        self._options = options
        self._suppressed = suppressed
        self._language = options.language
        self._told = options.language is not None

    @property
    def language(self) -> str | None:
        """The language to decode in; None: detect it."""
        return self._language

    def start_utterance(self) -> None:
        """A new utterance may be in another language, if the client said so."""
        if self._options.multilingual:
            self._language = self._options.language

    def believe(
        self,
        hypothesis: Hypothesis,
        speech: Callable[[int, int], float],
        *,
        is_final: bool,
    ) -> list[HypothesisSegment]:
        """The segments that somebody said; ``speech(start, end)`` is VAD evidence.

        Only what a final loses is counted: partials read the same audio many times.
        """
        believed = []
        for segment in hypothesis.segments:
            reason = suppress(
                segment,
                speech=speech(segment.start, segment.end),
                no_speech_threshold=self._options.no_speech_threshold,
                is_final=is_final,
            )
            if reason is not None:
                self._suppressed[reason.value] += is_final
                continue
            text = remove_loop(segment)
            if text != segment.text:
                self._suppressed[Reason.LOOP.value] += is_final
                segment = replace(segment, text=text, words=())
            believed.append(segment)
        return believed

    def settle_language(
        self, hypothesis: Hypothesis, heard: int, *, is_final: bool
    ) -> bool:
        """Keep the hypothesis' language if it is certain; False: show nothing yet.

        ``heard`` is the length of the window in samples.  A final is always shown,
        but a short one with a doubtful language does not decide it for the session.
        """
        if self._language is not None:
            return True
        certain = (
            heard >= _CERTAIN_AFTER
            or hypothesis.language_probability >= _CERTAIN_PROBABILITY
        )
        # Where each utterance has its own language, a final comes too late to tell
        # the next one's.
        if certain and not (is_final and self._options.multilingual):
            self._language = hypothesis.language
        return certain or is_final or self._told

    def announcement(self, hypothesis: Hypothesis) -> tuple[str, float] | None:
        """Language and probability to tell the client, once, before any segments."""
        if self._told:
            return None
        self._told = True
        return hypothesis.language, hypothesis.language_probability
