"""Whole recordings in long windows: where they are cut, and how one is read.

Live windows are short and decided early; a recording that is there whole is cut at its
silences into windows as long as the model takes.  Each is read to its end: what an
answer leaves out is asked for again, and what stays unread is reported.  Pure but for
waiting on the engine; knows no files and no sessions.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from whisper_live.audio import FRAME_SAMPLES, Samples, s_to_samples
from whisper_live.config.model import Config
from whisper_live.inference.types import (
    Cancelled,
    Hypothesis,
    HypothesisSegment,
    Outcome,
    Request,
    RequestFailed,
)
from whisper_live.session.commit import joined, settled
from whisper_live.session.decode_policy import DecodePolicy
from whisper_live.session.endpointing import Endpoint, Onset, Segmenter
from whisper_live.session.hallucination import HallucinationFilter
from whisper_live.session.language import SpokenLanguage
from whisper_live.session.options import SessionOptions, VadOptions
from whisper_live.session.updates import Dropped, Language, Segment
from whisper_live.session.window import MOST_STUCK, UNREAD, Final

__all__ = ["AudioWindow", "Reader", "Submit", "WindowPlanner", "WindowText", "plan"]

LONGEST_WINDOW = s_to_samples(28.0)

Submit = Callable[[Request, Callable[[Outcome], None]], None]


class WindowPlanner:
    """Spans that hold all speech and are as long as a window may be.

    Utterances are joined while they fit: what was said before helps to understand what
    follows.
    """

    def __init__(self, options: VadOptions, *, longest: int = LONGEST_WINDOW) -> None:
        self._longest = longest
        self._segmenter = Segmenter(options, max_window=longest)
        self._start = 0  # of the open utterance
        self._span: tuple[int, int] | None = None  # utterances that are over

    @property
    def keep_from(self) -> int:
        """The oldest position that may still belong to a span."""
        oldest = self._segmenter.keep_from
        return oldest if self._span is None else min(oldest, self._span[0])

    def push(self, probability: float, samples: int) -> list[tuple[int, int]]:
        """The next frame; the spans that it closed, oldest first."""
        closed: list[tuple[int, int]] = []
        for mark in self._segmenter.push(probability, samples):
            match mark:
                case Onset(at):
                    self._start = at
                case Endpoint(at):
                    closed += self._add(self._start, at)
        if (split := self._segmenter.split_point(self._start)) is not None:
            closed += self._add(self._start, split)
            self._segmenter.decide(split)
            self._start = split
        self._segmenter.forget(self._segmenter.keep_from)
        return closed

    def finish(self) -> list[tuple[int, int]]:
        """There are no more frames: the spans that are left."""
        closed: list[tuple[int, int]] = []
        if isinstance(last := self._segmenter.end_now(), Endpoint):
            closed += self._add(self._start, last.at)
        if self._span is not None:
            closed.append(self._span)
        self._span = None
        return closed

    def _add(self, start: int, end: int) -> list[tuple[int, int]]:
        if self._span is None:
            self._span = (start, end)
            return []
        if end - self._span[0] <= self._longest:
            self._span = (self._span[0], end)
            return []
        closed, self._span = self._span, (start, end)
        return [closed]


@dataclass(frozen=True, slots=True, eq=False)
class AudioWindow:
    """One span with its audio (``[end - start]``, 16 kHz mono).

    ``speech`` holds a probability for each frame from the one that ``first_frame``
    counts on; it covers the span.
    """

    start: int
    audio: Samples
    speech: Sequence[float]
    first_frame: int

    @property
    def end(self) -> int:
        """Position after its last sample."""
        return self.start + len(self.audio)

    def frames(self, start: int, end: int) -> Sequence[float]:
        """Probabilities of the frames that ``start..end`` touches."""
        first = max(start // FRAME_SAMPLES - self.first_frame, 0)
        return self.speech[first : max(-(-end // FRAME_SAMPLES) - self.first_frame, 0)]

    def voiced(self, start: int, end: int, *, threshold: float) -> int:
        """Samples of ``start..end`` in frames of voice."""
        frames = self.frames(start, end)
        return FRAME_SAMPLES * sum(p >= threshold for p in frames)


@dataclass(frozen=True, slots=True)
class WindowText:
    """What a window came to; segments end with their sentences where they can."""

    segments: tuple[Segment, ...]
    dropped: tuple[Dropped, ...]
    heard: tuple[HypothesisSegment, ...] = ()  # what they are made of, with its scores

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(segment.text for segment in self.segments)


class Reader:
    """Reads the windows of one recording with time to spare.

    ``language`` is detected once, by the first window whose language is certain, unless
    the options say otherwise.
    """

    def __init__(
        self,
        config: Config,
        options: SessionOptions,
        submit: Submit,
        *,
        session: str,
        ids: Iterator[int],
        beam_size: int,
        timeout_s: float,
    ) -> None:
        """``session`` names the recording; ``ids`` gives request ids.

        ``beam_size`` is the least, ``timeout_s`` for one request.
        """
        self.language = SpokenLanguage(
            options.language, multilingual=options.multilingual
        )
        self.detected: Language | None = None  # by the first window that said one
        self._options = options
        self._policy = DecodePolicy(config, options, session=session, ids=ids)
        self._filter = HallucinationFilter(
            no_speech_threshold=options.no_speech_threshold, suppressed=Counter()
        )
        self._submit = submit
        self._beam_size = beam_size
        self._timeout_s = timeout_s

    async def read(
        self,
        window: AudioWindow,
        *,
        lane: str,
        context: str = "",
        word_timestamps: bool,
    ) -> WindowText:
        """Read one window to its end.

        ``lane`` names the one request that may be under way at a time; ``context`` is
        the text before the window.
        """
        final = Final(window.start, window.end)
        voiced = functools.partial(window.voiced, threshold=self._options.vad.threshold)
        segments: list[HypothesisSegment] = []
        dropped: list[Dropped] = []
        self.language.start_utterance()
        while not dropped:
            request = self._policy.accurate(
                window.audio[final.read_to - window.start :],
                final.read_to,
                session=lane,
                language=self.language.current,
                context=context + "".join(s.text for s in segments),
                word_timestamps=word_timestamps,
                beam_size=self._beam_size,
                timeout_s=self._timeout_s,
            )
            outcome = await answered(self._submit, request)
            match outcome:
                case Hypothesis():
                    final.read_on(outcome)
                    segments += self._filter.keep(outcome, window.frames, is_final=True)
                    length = window.end - window.start
                    self.language.settle(outcome, length, is_final=True)
                    if self.detected is None:
                        self.detected = self.language.announcement(outcome)
                    if not final.is_unread(voiced):
                        break
                    if final.stuck >= MOST_STUCK:
                        dropped.append(Dropped(final.read_to, window.end, UNREAD))
                case RequestFailed():
                    kind = outcome.error.kind
                    dropped.append(Dropped(final.read_to, window.end, kind))
                case Cancelled():
                    dropped.append(Dropped(final.read_to, window.end, "cancelled"))
        settled_segments = tuple(map(settled, joined(segments)))
        return WindowText(settled_segments, tuple(dropped), tuple(segments))


async def answered(submit: Submit, request: Request) -> Outcome:
    """The outcome of a request; who gives up waiting leaves it unheard."""
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def deliver(outcome: Outcome) -> None:
        if not answer.done():
            answer.set_result(outcome)

    submit(request, deliver)
    return await answer


def plan(speech: Iterable[float], options: VadOptions) -> list[tuple[int, int]]:
    """The spans of a recording that is over; one probability for each frame."""
    planner = WindowPlanner(options)
    spans = [
        span
        for probability in speech
        for span in planner.push(probability, FRAME_SAMPLES)
    ]
    return spans + planner.finish()
