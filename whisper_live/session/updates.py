"""What a session tells its client, before any protocol gives it a form.

An ``Update`` adds what is new (completed segments, spans given up, moments of speech)
and repeats what stands open (the interim text).  Positions are samples since the
session's first one, durations are seconds.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from whisper_live.inference.load_steps import LoadStep
from whisper_live.inference.types import Word

__all__ = [
    "Dropped",
    "Ending",
    "FinalTranscript",
    "Language",
    "Segment",
    "SpeechEvent",
    "SpeechMoment",
    "Timings",
    "Update",
]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text: ``completed`` iff committed, and then it never changes."""

    start: int
    end: int
    text: str  # with Whisper's leading space
    completed: bool
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A span that was given up without text, and why; never kept from the client."""

    start: int
    end: int
    reason: str  # "engine_timeout", "window_rejected", "unread", ...


@dataclass(frozen=True, slots=True)
class Language:
    """The language that was detected."""

    code: str
    probability: float


class SpeechMoment(enum.Enum):
    """What happened to the speech of one utterance."""

    STARTED = "started"  # it began
    STOPPED = "stopped"  # silence since ``at``; it may go on
    TURN_PROBABLY_OVER = "turn_probably_over"  # and the text up to there is settled
    RESUMED = "resumed"  # it went on after all
    TURN_ENDED = "turn_ended"  # it will not: what follows is another utterance


@dataclass(frozen=True, slots=True)
class SpeechEvent:
    """A moment of speech and where in the audio it is."""

    moment: SpeechMoment
    at: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of the newest audio and the newest request went.

    None is what is not known yet.
    """

    decode_s: float | None = None  # making the samples of the newest message
    vad_s: float | None = None  # and scoring them
    queue_s: float | None = None  # the newest request's wait for its call
    engine_s: float | None = None  # and that call
    batch_size: int | None = None  # requests in it
    context_s: float | None = None  # the audio context that was computed for it
    is_fallback: bool = False  # after a shorter one had given doubtful text
    load: LoadStep = LoadStep.NOTHING  # what the server gives up, being busy
    emit_s: float | None = None  # sending the message before this one


@dataclass(frozen=True, slots=True)
class Update:
    """What is new, and what stands open now.

    ``interim`` is text that may still change, behind everything completed; None where
    there is none, which takes back an earlier one unless its span was ``dropped``.
    ``lag`` is the newest sample received minus the newest one that the text covers.
    """

    completed: tuple[Segment, ...] = ()
    interim: Segment | None = None
    dropped: tuple[Dropped, ...] = ()
    language: Language | None = None
    speech: SpeechEvent | None = None
    timings: Timings = Timings()
    lag: int = 0


class Ending(enum.Enum):
    """Why a session has said all that it will."""

    FINISHED = "finished"  # the client ended its audio
    OVER_TIME = "over_time"  # its time was up
    RESTARTING = "restarting"  # the server stops


@dataclass(frozen=True, slots=True)
class FinalTranscript:
    """The second reading of a whole recording.

    ``live_wer`` are the word errors of the live text against this one.
    """

    segments: tuple[Segment, ...]
    duration: int  # samples
    live_wer: float
    dropped: tuple[Dropped, ...] = ()
