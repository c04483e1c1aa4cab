"""One request on its way through the calls: what is known of it so far.

Owns the choice among a row's answers and what becomes of it as an outcome.  Knows
nothing of its neighbours, nor how rows share a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ctranslate2
import numpy as np

from whisper_live.audio import samples_to_s
from whisper_live.errors import EngineError
from whisper_live.inference.ctranslate2.alignment import Aligned
from whisper_live.inference.ctranslate2.features import Features
from whisper_live.inference.ctranslate2.prompts import Prompt
from whisper_live.inference.ctranslate2.tokens import Answer
from whisper_live.inference.types import (
    Hypothesis,
    HypothesisSegment,
    Outcome,
    Request,
    RequestFailed,
    RequestKind,
    Timing,
    Word,
)

__all__ = ["Encoded", "Row"]

# Fast English is 5 words or 7 tokens a second; the rest is for timestamps and the
# first words of a window that was cut in mid-word.  No other language has such a bound:
# Hindi spoken slowly takes 13 tokens a second, Bengali 20, Georgian 28.
TOKENS_PER_S, TOKENS_AT_LEAST = 10, 16
WHISPERS_OWN = 224  # tokens of the longest answer, in any language


@dataclass(slots=True, eq=False)
class Encoded:
    """Output of one ``encode``; rows are taken from it without encoding again."""

    view: ctranslate2.StorageView
    _host: Any = None

    def __getitem__(self, index: int) -> Any:
        if self._host is None:
            view = self.view
            if view.device != "cpu":
                view = view.to_device(ctranslate2.Device.cpu)
            if view.dtype == ctranslate2.DataType.bfloat16:  # numpy has no such type
                view = view.to(ctranslate2.DataType.float32)
            self._host = np.asarray(view)
        return self._host[index]


@dataclass(slots=True, eq=False)
class Row:
    """One request on its way through the calls; ``outcome`` is set when it is done."""

    request: Request
    features: Features
    hops: int  # audio context, in mel columns...
    widest: int  # ...and the one in which the weights were trained
    outcome: Outcome | None = None
    encoded: Encoded | None = None
    index: int = 0  # in `encoded`
    language: str | None = None
    language_probability: float = 1.0
    prompt: Prompt | None = None
    answers: list[Answer] = field(default_factory=list)
    doubted: Answer | None = None  # of an attempt that was not counted, and why:
    is_widened: bool = False  # the audio context seemed to be too short
    without_prompt: bool = False  # it said previous text again
    gave_up: bool = False  # an error ended the attempts: the answers are all there is
    words: Sequence[Sequence[Aligned]] = ()  # per span of the answer

    @property
    def temperature(self) -> float:
        """Of the next attempt."""
        return self.request.options.temperatures[len(self.answers)]

    @property
    def most_tokens(self) -> int:
        """Longest plausible answer, without what the prompt forces."""
        if self.language != "en":
            return WHISPERS_OWN
        seconds = samples_to_s(len(self.request.audio))
        return TOKENS_AT_LEAST + int(TOKENS_PER_S * seconds)

    def take(self, answer: Answer) -> None:
        """The answer to an attempt; one that its circumstances spoiled is not counted.

        The row is then read without previous text, or in the whole audio context, and
        so in its next attempts.
        """
        if answer.is_echo and not self.without_prompt:
            self.doubted, self.without_prompt, self.prompt = answer, True, None
        elif self.hops < self.widest and not self._fits_context(answer):
            self.doubted, self.is_widened = answer, True
            self.hops, self.encoded = self.widest, None
        else:
            self.answers.append(answer)

    def _fits_context(self, answer: Answer) -> bool:
        """Whether there is no sign that the audio context was too short.

        base said " men" of "Mend the coat before you go out" and closed nothing: of 46
        recordings five answers were open in 12 s, none in 30 s.  An interim reading
        breaks off in mid-speech anyway.  Being improbable is no sign: reading such
        answers again in 30 s as well changed no word of tiny.en's 203 recordings (13.6
        errors either way), and texts stood half a second later for it.
        """
        is_interim = self.request.kind is RequestKind.PARTIAL
        return not answer.is_loop and (is_interim or not answer.is_open)

    def detach(self) -> None:
        """Keep this row's encoder output, let go of its neighbours'."""
        if self.encoded is not None:
            own = np.array(self.encoded[self.index], ndmin=3)
            self.encoded = Encoded(ctranslate2.StorageView.from_array(own))
            self.index = 0

    def fail(self, error: EngineError) -> None:
        """Settle the row as failed, unless it has an answer.

        Doubtful text that no further attempt could better, and text whose words could
        not be aligned, are worth more than none.
        """
        if self.answers or self.doubted:
            self.gave_up = True
        else:
            self.outcome = RequestFailed(self.request.id, error)

    @property
    def is_settled(self) -> bool:
        """Whether the row needs no further attempt."""
        attempts = len(self.request.options.temperatures)
        if self.gave_up or len(self.answers) == attempts:
            return True
        return bool(self.answers) and self.answers[-1].believable

    @property
    def chosen(self) -> Answer:
        """The believable answer, else the best of all."""
        if not self.answers:
            assert self.doubted is not None, "there is an answer"
            return self.doubted
        last = self.answers[-1]
        return last if last.believable else max(self.answers, key=lambda a: a.rank)

    def hypothesis(self, timing: Timing) -> Hypothesis:
        """The chosen answer, as an outcome."""
        request, answer = self.request, self.chosen
        segments = []
        aligned = self.words if request.options.word_timestamps else ()
        for index, (span, text) in enumerate(zip(answer.spans, answer.texts)):
            start, end = span.start, span.end
            words = aligned[index] if aligned else ()
            if words and words[0].start < words[-1].end:
                start, end = words[0].start, words[-1].end
            segments.append(
                HypothesisSegment(
                    start=request.start + start,
                    end=request.start + end,
                    text=text,
                    no_speech_probability=answer.no_speech_probability,
                    average_logprob=answer.average_logprob,
                    compression_ratio=answer.compression_ratio,
                    words=tuple(
                        Word(
                            text=word.text,
                            start=request.start + word.start,
                            end=request.start + word.end,
                            probability=word.probability,
                        )
                        for word in words
                    ),
                )
            )
        return Hypothesis(
            request_id=request.id,
            segments=tuple(segments),
            language=self.language or "",
            language_probability=self.language_probability,
            timing=timing,
            read_to=request.start + self._read_to(answer),
        )

    def _read_to(self, answer: Answer) -> int:
        """Where in the window the text ends; by its words where tokens ran out."""
        if answer.ran_out and self.words and self.words[-1]:
            return self.words[-1][-1].end
        return answer.read_to

    def so_far(self) -> Hypothesis | None:
        """The best of the answers while another attempt is wanted; without words."""
        if not self.answers and self.doubted is None:
            return None
        return self.hypothesis(Timing())
