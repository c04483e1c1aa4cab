"""What travels to an engine and back: a request, and its one outcome.

Frozen dataclasses only.  All positions are integer samples since session start; all
durations in seconds.  Arrays are handed over, never written to again.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from whisper_live.audio import Samples
from whisper_live.errors import EngineError
from whisper_live.inference.load_steps import LoadStep

__all__ = [
    "LEAST_LOGPROB",
    "MOST_COMPRESSION",
    "Cancelled",
    "DecodeOptions",
    "Hypothesis",
    "HypothesisSegment",
    "Outcome",
    "Request",
    "RequestFailed",
    "RequestKind",
    "Task",
    "Timing",
    "Word",
]

# Whisper's own thresholds: text that packs this well repeats itself, text this
# improbable was guessed.
MOST_COMPRESSION = 2.4
LEAST_LOGPROB = -1.0


class Task(enum.Enum):
    """What Whisper is asked to write: the words spoken, or English."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class RequestKind(enum.Enum):
    """How a request may be treated while it waits."""

    PARTIAL = "partial"  # a newer one of the same session may replace it
    FINAL = "final"  # never dropped, goes first
    BACKGROUND = "background"  # whole files and final passes: idle slots only


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How one window is to be decoded; rows of a batch may differ in all of it."""

    language: str | None = None
    task: Task = Task.TRANSCRIBE
    prompt: str = ""  # previous text, given as context
    prefix: str = ""  # the hypothesis begins with it, space for space, as far as fits
    hotwords: str = ""
    timestamps: bool = True  # ask for segment times
    word_timestamps: bool = False
    beam_size: int = 1
    temperatures: tuple[float, ...] = (0.0,)  # fallbacks, tried in order


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One window of one session, with everything needed to transcribe it."""

    id: int  # unique in the process
    session: str
    kind: RequestKind
    start: int  # position of audio[0]
    audio: Samples  # shape [samples], at most 30 s
    options: DecodeOptions = field(default_factory=DecodeOptions)
    timeout_s: float = 60.0  # from submission to outcome

    @property
    def end(self) -> int:
        """Position after the last sample of the window."""
        return self.start + len(self.audio)


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its own times; ``text`` keeps Whisper's leading space."""

    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class HypothesisSegment:
    """What the engine heard between two timestamps, in session positions."""

    start: int
    end: int
    text: str  # with Whisper's leading space
    no_speech_probability: float = 0.0
    average_logprob: float = 0.0
    compression_ratio: float = 1.0
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """Where one request's time went."""

    queue_s: float = 0.0  # from submission to the start of its call
    engine_s: float = 0.0  # the call that made the outcome
    batch_size: int = 1  # rows in that call
    padding: float = 0.0  # share of the row's audio context that held no audio
    context_s: float = 0.0  # audio context of the answer; 0: not known
    is_fallback: bool = False  # a shorter context was tried first, and doubted
    load: LoadStep = LoadStep.NOTHING  # what is given up at the moment


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Outcome: the engine's text for one window."""

    request_id: int
    segments: tuple[HypothesisSegment, ...]
    language: str
    language_probability: float  # 1.0 where the language was given
    timing: Timing = Timing()
    read_to: int | None = None  # where what it accounts for ends; None: the window's


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """Outcome: this request has no text, and why."""

    request_id: int
    error: EngineError


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Outcome: withdrawn or replaced before the engine saw it."""

    request_id: int


Outcome = Hypothesis | RequestFailed | Cancelled
