"""The client's half of the wire: what a client says, and what a server's messages mean.

Reads any server of WhisperLive's protocol, so it trusts no key to be there.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whisper_live.audio import s_to_samples
from whisper_live.errors import Overloaded, WhisperLiveError
from whisper_live.inference.load_steps import LoadStep
from whisper_live.inference.types import Word
from whisper_live.session.updates import (
    Dropped,
    FinalTranscript,
    Language,
    Segment,
    SpeechEvent,
    SpeechMoment,
    Timings,
    Update,
)

__all__ = [
    "END_OF_AUDIO",
    "Follower",
    "WireSegment",
    "complaint",
    "dropped_s",
    "handshake",
    "is_over_time",
    "is_ready",
    "read_final_transcript",
    "read_segments",
    "refusal",
]

END_OF_AUDIO = b"END_OF_AUDIO"


def handshake(
    *,
    language: str | None,
    task: str = "transcribe",
    audio_format: str | None = None,
    client: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """A first message; ``options`` are further keys, as in the wire reference.

    ``audio_format`` None leaves it out, for servers that know raw float32 alone.
    """
    return {
        "uid": str(uuid.uuid4()) if client is None else client,
        "language": language,
        "task": task,
        "model": None,
        "use_vad": True,
        **({} if audio_format is None else {"audio_format": audio_format}),
        **options,
    }


def is_ready(message: Mapping[str, Any]) -> bool:
    """Whether the server is ready to be sent audio."""
    return message.get("message") == "SERVER_READY"


def is_over_time(message: Mapping[str, Any]) -> bool:
    """Whether the session's time is up: all its text has come, and it takes no more."""
    return message.get("message") == "DISCONNECT"


def refusal(message: Mapping[str, Any]) -> WhisperLiveError | None:
    """The error that a first message means: ``Overloaded`` where one may come back."""
    match message.get("status"):
        case "WAIT":
            minutes = float(message["message"])
            return Overloaded(
                f"the server is full: try again in {minutes:.1f} minutes",
                wait_minutes=minutes,
            )
        case "ERROR":
            return WhisperLiveError(f"the server refused: {message.get('message')}")
    return None


def complaint(message: Mapping[str, Any]) -> str | None:
    """The sentence of a status message; None for all others."""
    return str(message.get("message")) if "status" in message else None


@dataclass(frozen=True, slots=True)
class WireSegment:
    """A segment as it came; times in seconds."""

    start_s: float
    end_s: float
    text: str
    completed: bool
    words: tuple[Mapping[str, Any], ...] = ()


def read_segments(message: Mapping[str, Any]) -> list[WireSegment] | None:
    """What a segments message shows; None for all others.  Times may be strings."""
    if "segments" not in message:
        return None
    return [
        WireSegment(
            start_s=float(segment.get("start", 0)),
            end_s=float(segment.get("end", 0)),
            text=str(segment["text"]),
            completed=bool(segment.get("completed")),
            words=tuple(segment.get("words", ())),
        )
        for segment in message["segments"]
    ]


def dropped_s(message: Mapping[str, Any]) -> float:
    """Seconds that a message says were given up without text."""
    spans = message.get("dropped", ())
    return sum(float(span["end"]) - float(span["start"]) for span in spans)


def read_final_transcript(message: Mapping[str, Any]) -> FinalTranscript | None:
    """The second reading of the whole recording; None for all other messages."""
    content = message.get("final_transcript")
    if not isinstance(content, Mapping):
        return None
    segments = read_segments(content) or ()
    return FinalTranscript(
        segments=tuple(map(_segment, segments)),
        duration=s_to_samples(float(content.get("duration", 0))),
        live_wer=float(content.get("live_wer", 0)),
        dropped=tuple(map(_dropped, content.get("dropped", ()))),
    )


class Follower:
    """Turns a server's messages back into updates, each completed segment once.

    Completed segments are repeated in later messages and never change, so only what
    stands after the newest one known is new.
    """

    def __init__(self) -> None:
        self._interim: Segment | None = None
        self._newest = (-1, -1)  # start and end of the newest completed segment

    def take(self, message: Mapping[str, Any]) -> Update | None:
        """The update that a message is; None where it is none."""
        language = None
        if "language" in message:
            probability = float(message.get("language_prob", 0.0))
            language = Language(str(message["language"]), probability)
        segments = read_segments(message)
        speech = _speech(message)
        if segments is None and language is None and speech is None:
            return None
        completed = []
        if segments is not None:
            self._interim = None
        for heard in segments or ():
            segment = _segment(heard)
            if not segment.completed:
                self._interim = segment
            elif (segment.start, segment.end) > self._newest:
                self._newest = (segment.start, segment.end)
                completed.append(segment)
        return Update(
            completed=tuple(completed),
            interim=self._interim,
            dropped=tuple(map(_dropped, message.get("dropped", ()))),
            language=language,
            speech=speech,
            timings=_timings(message.get("timings")),
        )


def _speech(message: Mapping[str, Any]) -> SpeechEvent | None:
    try:
        moment = SpeechMoment(message.get("turn_event"))
    except ValueError:  # none, or one that a newer server knows
        return None
    return SpeechEvent(moment, s_to_samples(float(message.get("at", 0))))


def _timings(told: Mapping[str, Any] | None) -> Timings:
    if not told:
        return Timings()
    seconds = {
        ours: told[name] / 1000
        for ours, name in (
            ("decode_s", "decode_ms"),
            ("vad_s", "vad_ms"),
            ("queue_s", "queue_ms"),
            ("engine_s", "infer_ms"),
        )
        if name in told
    }
    return Timings(
        **seconds,
        batch_size=told.get("batch_size"),
        context_s=told.get("context_s"),
        is_fallback=bool(told.get("context_fallback")),
        load=LoadStep(min(int(told.get("load_step", 0)), max(LoadStep))),
    )


def _segment(heard: WireSegment) -> Segment:
    words = tuple(
        Word(
            str(word["word"]),
            s_to_samples(float(word["start"])),
            s_to_samples(float(word["end"])),
            float(word.get("probability", 0.0)),
        )
        for word in heard.words
    )
    return Segment(
        s_to_samples(heard.start_s),
        s_to_samples(heard.end_s),
        heard.text,
        heard.completed,
        words,
    )


def _dropped(span: Mapping[str, Any]) -> Dropped:
    start, end = (s_to_samples(float(span[key])) for key in ("start", "end"))
    return Dropped(start, end, str(span.get("reason", "")))
