"""What a live transcription tells its reader: one frozen type for each kind of news.

Times of the audio are seconds since the first sample that was sent, also across
reconnections.  ``at_s`` is when the news came, in seconds since that sample was spoken,
by the client's clock: for live audio ``at_s - end_s`` is how late a text is.
Knows nothing of sockets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from whisper_live.audio import samples_to_s
from whisper_live.inference.types import Word
from whisper_live.session.updates import (
    Dropped,
    FinalTranscript,
    Language,
)
from whisper_live.session.updates import Segment as SegmentInSamples
from whisper_live.session.updates import SpeechMoment, Timings, Update

__all__ = [
    "Closed",
    "Disconnected",
    "Event",
    "Final",
    "Gap",
    "Heard",
    "LanguageDetected",
    "News",
    "Partial",
    "Reconnected",
    "Segment",
    "Stages",
    "Turn",
    "Warned",
    "unrolled",
]


@dataclass(frozen=True, slots=True)
class Partial:
    """The text behind all segments, as it is understood now; the next one replaces it.

    An empty ``text`` takes the last one back.
    """

    text: str  # without the leading space
    start_s: float
    end_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Segment:
    """Text that never changes any more, each segment once and in order."""

    text: str  # without the leading space
    start_s: float
    end_s: float
    at_s: float
    words: tuple[Word, ...] = ()  # if ``word_timestamps`` was asked for


@dataclass(frozen=True, slots=True)
class Turn:
    """A moment of the speech, if ``turn_events`` were asked for."""

    moment: SpeechMoment
    audio_s: float  # where in the audio
    at_s: float


@dataclass(frozen=True, slots=True)
class LanguageDetected:
    """The language, once, if none was chosen."""

    code: str
    probability: float


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of the audio that has no text, and why: the server's reason, or ours.

    Ours is ``unsent``: more waited for the server than may be kept.
    """

    start_s: float
    end_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the server's time went, if ``timings`` were asked for."""

    timings: Timings


@dataclass(frozen=True, slots=True)
class Final:
    """The second reading of the whole recording, if ``final_pass`` was asked for."""

    text: str
    segments: tuple[Segment, ...]
    duration_s: float
    live_wer: float  # word errors of the live text against this one
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Warned:
    """A sentence of the server for its user, who need do nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection broke, or another try failed; audio is kept meanwhile."""

    reason: str
    retry_s: float  # until the next try


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The connection is there again.

    ``resumed``: the server went on where it was.  Otherwise it began a new session,
    which was sent again whatever had no completed text yet.
    """

    resumed: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event: the audio was ended, and all of its text has come."""


Event = (
    Partial
    | Segment
    | Turn
    | LanguageDetected
    | Gap
    | Stages
    | Final
    | Warned
    | Disconnected
    | Reconnected
    | Closed
)


@dataclass(frozen=True, slots=True)
class Heard:
    """All that one message told of the speech, for who renders whole updates.

    Positions are samples since the first one that was sent.
    """

    update: Update
    at_s: float
    has_segments: bool  # whether the interim text is news


# What ``LiveClient.hear`` gives: events, but all of one message's text together.
News = Heard | Final | Warned | Disconnected | Reconnected | Closed


def unrolled(heard: Heard) -> Iterator[Event]:
    """The events in one message, in the order in which they happened."""
    update, at_s = heard.update, heard.at_s
    if update.language is not None:
        yield _language(update.language)
    if update.speech is not None:
        yield Turn(update.speech.moment, samples_to_s(update.speech.at), at_s)
    for segment in update.completed:
        yield _segment(segment, at_s)
    for span in update.dropped:
        yield gap(span)
    if heard.has_segments:
        yield _partial(update, at_s)
    if update.timings != Timings():
        yield Stages(update.timings)


def final(transcript: FinalTranscript, at_s: float) -> Final:
    """The second reading, as an event."""
    return Final(
        text="".join(segment.text for segment in transcript.segments).strip(),
        segments=tuple(_segment(segment, at_s) for segment in transcript.segments),
        duration_s=samples_to_s(transcript.duration),
        live_wer=transcript.live_wer,
        gaps=tuple(map(gap, transcript.dropped)),
    )


def gap(span: Dropped) -> Gap:
    """A span without text, as an event."""
    return Gap(samples_to_s(span.start), samples_to_s(span.end), span.reason)


def _language(language: Language) -> LanguageDetected:
    return LanguageDetected(language.code, language.probability)


def _segment(segment: SegmentInSamples, at_s: float) -> Segment:
    start_s, end_s = samples_to_s(segment.start), samples_to_s(segment.end)
    return Segment(segment.text.strip(), start_s, end_s, at_s, segment.words)


def _partial(update: Update, at_s: float) -> Partial:
    if update.interim is None:
        return Partial("", 0.0, 0.0, at_s)
    segment = _segment(update.interim, at_s)
    return Partial(segment.text, segment.start_s, segment.end_s, at_s)
