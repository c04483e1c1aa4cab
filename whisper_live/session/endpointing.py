"""Speech probabilities in, utterances out.

Owns the hysteresis and the hangover, and finds where a full window is split.  Knows
nothing of text, requests or time: its only clock is the number of samples it was given.

    SILENCE --p >= threshold--> OPEN --p < release for `hangover`--> SILENCE
       `- p above silence: maybe its soft beginning
                                  |
                                  +-- `min_speech` voiced: Onset
                                  +-- p < release for `pause`: Pause, then maybe Resumed

As in Silero's own iterator, a probability between release and threshold changes
nothing: it neither ends speech nor cancels a silence that has begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from whisper_live.audio import (
    FRAME_SAMPLES,
    ms_to_samples,
    s_to_samples,
    samples_to_s,
)
from whisper_live.session.options import VadOptions

__all__ = [
    "Click",
    "Endpoint",
    "Mark",
    "Onset",
    "Pause",
    "Resumed",
    "Segmenter",
    "speech_spans",
]

_TAIL = ms_to_samples(200)  # silence left after the last voice: Whisper likes some
# A soft beginning is followed back from the threshold while it is above this, so far at
# most.  Of 216 synthesised utterances with pauses three began up to 0.36 s before what
# was read of them when 0.25 was asked for, none with 0.05, at 8 ms more audio each; in
# noise 5 dB below speech three of 74, then one.  White noise scores 0.04 or less for
# nine tenths of the time.
_SOFT = 0.05
_LONGEST_RISE = ms_to_samples(2000)


@dataclass(frozen=True, slots=True)
class Onset:
    """Speech is certain; ``at`` is where its audio starts, preroll included."""

    at: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence for the first while; the utterance may be over at ``at``."""

    at: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """Speech goes on after a pause."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The utterance ended; its audio ends at ``at``, a short tail included."""

    at: int


@dataclass(frozen=True, slots=True)
class Click:
    """What opened was too short to be speech; ``at`` is where it ended."""

    at: int


Mark = Onset | Pause | Resumed | Endpoint | Click


class Segmenter:
    """Cuts one session's frames into utterances."""

    def __init__(self, options: VadOptions, *, max_window: int) -> None:
        self._max_window = max_window
        self.configure(options)

        self._position = 0
        self._decided_to = 0  # no utterance's audio begins before this
        # A soft beginning, while closed: where it starts and was last heard.
        self._rises_from = self._rose_at = 0
        self._history: list[float] = []  # one probability per frame...
        self._history_at = 0  # ...from this position on

        # Meaningful only while an utterance is open.
        self._open = False
        self._opened_at = 0  # where its audio starts
        self._voiced = 0
        self._confirmed = False
        self._silent_from: int | None = None
        self._paused = False

    def configure(self, options: VadOptions) -> None:
        """Judge frames in this way from now on; the longest window stays."""
        self._threshold = options.threshold
        self._release = options.release
        self._min_speech = s_to_samples(options.min_speech_s)
        self._hangover = s_to_samples(options.hangover_s)
        self._pause = min(s_to_samples(options.pause_s), self._hangover)
        self._preroll = s_to_samples(options.preroll_s)
        self._tail = min(_TAIL, self._hangover)

    # ------------------------------------------------------------------ what is known

    @property
    def position(self) -> int:
        """Position after the newest frame."""
        return self._position

    @property
    def is_open(self) -> bool:
        """Speech may have started; it has not ended."""
        return self._open

    @property
    def is_speech(self) -> bool:
        """Speech is certain and has not ended."""
        return self._open and self._confirmed

    @property
    def keep_from(self) -> int:
        """Oldest position that may still belong to an utterance."""
        if self._open:
            return max(self._opened_at, self._decided_to)
        return self._first_start()

    @property
    def silence(self) -> int:
        """Samples of silence at the end of the open utterance."""
        return 0 if self._silent_from is None else self._position - self._silent_from

    def probabilities(self, start: int, end: int) -> list[float]:
        """Of speech, in the frames that ``start..end`` touches and that are known."""
        first = max((start - self._history_at) // FRAME_SAMPLES, 0)
        last = -(-(end - self._history_at) // FRAME_SAMPLES)
        return self._history[first : max(last, first)]

    def evidence(self, start: int, end: int) -> float:
        """Mean speech probability over ``start..end``, as far as it is remembered."""
        frames = self.probabilities(start, end)
        return sum(frames) / len(frames) if frames else 1.0

    def voiced(self, start: int, end: int) -> int:
        """Samples of ``start..end`` that are speech, as far as it is remembered."""
        frames = self.probabilities(start, end)
        return FRAME_SAMPLES * sum(p >= self._threshold for p in frames)

    def quietest(self, low: int, high: int, *, near: int | None = None) -> int:
        """The frame limit with the least speech around it inside ``low..high``.

        A cut falls between two frames, so both sides count.  With ``near``, a tenth
        of a second away from it weighs as much as a tenth more speech; without, the
        later of equals wins, which keeps the next window short.
        """
        first = max(-(-(low - self._history_at) // FRAME_SAMPLES), 1)
        last = min((high - self._history_at) // FRAME_SAMPLES, len(self._history) - 1)
        if first > last:
            return min(max(low, self._history_at), self._position)
        history, origin = self._history, self._history_at

        def loudness(index: int) -> float:
            sides = history[index - 1] + history[index]
            if near is None:
                return sides
            return sides + samples_to_s(abs(origin + index * FRAME_SAMPLES - near))

        best = min(range(last, first - 1, -1), key=loudness)
        return origin + best * FRAME_SAMPLES

    # -------------------------------------------------------------------- what happens

    def push(
        self, probability: float, samples: int = FRAME_SAMPLES
    ) -> tuple[Mark, ...]:
        """Take the next frame; only the last of a stream may be shorter than 512."""
        start = self._position
        self._position += samples
        self._history.append(probability)
        if not self._open:
            self._follow_rise(probability, start)
            if probability < self._threshold:
                return ()
            self._open_at(self._first_start())
        marks = self._advance_state(probability, start, samples)
        if self._open and not self._confirmed:
            if self._position - self._opened_at >= self._max_window:
                marks += (self._close(),)
        return marks

    def split_point(self, window_start: int) -> int | None:
        """Where the window of an open utterance must be split; None: it is not full.

        The first half is not searched: a cut there would double the work to come.
        """
        if not self.is_speech or self._position - window_start < self._max_window:
            return None
        return self.quietest(window_start + self._max_window // 2, self._position)

    def end_now(self) -> Endpoint | Click | None:
        """End an open utterance here: end of audio, a stall, or a stable text."""
        if not self._open:
            return None
        return self._close()

    def decide(self, to: int) -> None:
        """All before ``to`` is decided: no utterance's audio reaches back over it."""
        assert self._decided_to <= to <= self._position
        self._decided_to = to

    def forget(self, before: int) -> None:
        """Probabilities before this position are not asked for again."""
        frames = min((before - self._history_at) // FRAME_SAMPLES, len(self._history))
        if frames > 0:
            del self._history[:frames]
            self._history_at += frames * FRAME_SAMPLES

    # ------------------------------------------------------------------------ inside

    def _follow_rise(self, probability: float, start: int) -> None:
        if probability >= min(_SOFT, self._release):
            self._rose_at = self._position
        elif self._position - self._rose_at > self._preroll:
            self._rises_from = self._position  # a preroll from here reaches no voice
        self._rises_from = max(self._rises_from, start - _LONGEST_RISE)

    def _first_start(self) -> int:
        """Where the audio of an utterance would start that opens now."""
        return max(self._rises_from - self._preroll, self._decided_to)

    def _open_at(self, start: int) -> None:
        self._open = True
        self._opened_at = start
        self._voiced = 0
        self._confirmed = False
        self._silent_from = None
        self._paused = False

    def _advance_state(
        self, probability: float, start: int, samples: int
    ) -> tuple[Mark, ...]:
        if probability >= self._threshold:
            self._voiced += samples
            self._silent_from = None
            if not self._confirmed and self._voiced >= self._min_speech:
                self._confirmed = True
                return (Onset(self._opened_at),)
            if self._paused:
                self._paused = False
                return (Resumed(),)
            return ()
        if self._silent_from is None:
            if probability >= self._release:
                return ()
            self._silent_from = start
        if self.silence >= self._hangover:
            return (self._close(),)
        if self._confirmed and not self._paused and self.silence >= self._pause:
            self._paused = True
            return (Pause(self._end_of_voice()),)
        return ()

    def _end_of_voice(self) -> int:
        if self._silent_from is None:
            return self._position
        return min(self._silent_from + self._tail, self._position)

    def _close(self) -> Endpoint | Click:
        self._open = False
        self._paused = False
        self._rises_from = self._rose_at = self._position
        end = max(self._end_of_voice(), self._opened_at, self._decided_to)
        if not self._confirmed:
            # Nothing is decided: the next utterance's preroll may reach into this.
            return Click(end)
        self._decided_to = end
        return Endpoint(end)


def speech_spans(
    probabilities: Iterable[float], options: VadOptions, *, longest: int
) -> list[tuple[int, int]]:
    """The utterances of a whole recording as ``start, end``, none above ``longest``.

    ``probabilities`` has one speech probability per frame.
    """
    segmenter = Segmenter(options, max_window=longest)
    spans: list[tuple[int, int]] = []
    start = 0
    for probability in probabilities:
        for mark in segmenter.push(probability):
            match mark:
                case Onset(at):
                    start = at
                case Endpoint(at):
                    spans.append((start, at))
        if (split := segmenter.split_point(start)) is not None:
            spans.append((start, split))
            segmenter.decide(split)
            start = split
        segmenter.forget(segmenter.keep_from)
    if isinstance(last := segmenter.end_now(), Endpoint):
        spans.append((start, last.at))
    return spans
