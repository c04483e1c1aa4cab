"""Updates as JSON lines: everything that a session tells, one object a line.

For programs that read a pipe (``transcribe`` and ``stream`` with ``--format jsonl``).
Times are seconds since the session's first sample, as numbers.  An update is one line,
with one of these keys or several, in this order:

    "speech": "started", "at": 0.41           or stopped, turn_probably_over, resumed,
                                              turn_ended
    "language": "en", "probability": 0.98     once, if it was detected
    "completed": [{"start", "end", "text", "words"}]   never changes
    "dropped": [{"start", "end", "reason"}]   a span without text, and why
    "interim": {"start", "end", "text"}       may still change; null: taken back

and these are lines of their own:

    {"final_transcript": {"text", "duration", "live_wer", "segments", "dropped"}}
    {"end": "finished"}                       finished, over_time or restarting
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from whisper_live.audio import samples_to_s
from whisper_live.inference.types import Word
from whisper_live.protocols.base import Message, Renderer
from whisper_live.session.updates import (
    Dropped,
    Ending,
    FinalTranscript,
    Segment,
    Update,
)

__all__ = ["JsonLines", "dropped_object", "word_object"]


class JsonLines(Renderer):
    """Each message is one line, without its newline."""

    def __init__(self) -> None:
        self._interim: Segment | None = None

    def ready(self) -> list[Message]:
        """Nothing: the first line is the first news."""
        return []

    def render(self, update: Update) -> list[Message]:
        """One line, unless nothing in it is new."""
        line: dict[str, Any] = {}
        if update.speech is not None:
            line["speech"] = update.speech.moment.value
            line["at"] = _seconds(update.speech.at)
        if update.language is not None:
            line["language"] = update.language.code
            line["probability"] = round(update.language.probability, 4)
        if update.completed:
            line["completed"] = [_segment(segment) for segment in update.completed]
        if update.dropped:
            line["dropped"] = [dropped_object(span) for span in update.dropped]
        if update.interim != self._interim:
            self._interim = interim = update.interim
            line["interim"] = None if interim is None else _segment(interim)
        return [_message(line)] if line else []

    def final_transcript(self, transcript: FinalTranscript) -> list[Message]:
        """One line."""
        content = {
            "text": "".join(s.text for s in transcript.segments).strip(),
            "duration": _seconds(transcript.duration),
            "live_wer": round(transcript.live_wer, 4),
            "segments": [_segment(segment) for segment in transcript.segments],
            "dropped": [dropped_object(span) for span in transcript.dropped],
        }
        return [_message({"final_transcript": content})]

    def end(self, ending: Ending) -> list[Message]:
        """The last line, by which a reader knows that nothing is missing."""
        return [_message({"end": ending.value})]


def _message(content: Mapping[str, Any]) -> Message:
    return Message(json.dumps(content, ensure_ascii=False, allow_nan=False))


def _segment(segment: Segment) -> dict[str, Any]:
    content: dict[str, Any] = {
        "start": _seconds(segment.start),
        "end": _seconds(segment.end),
        "text": segment.text.strip(),
    }
    if segment.words:
        content["words"] = [word_object(word) for word in segment.words]
    return content


def word_object(word: Word) -> dict[str, Any]:
    """A word without the space before it, as the texts of segments are."""
    return {
        "word": word.text.strip(),
        "start": _seconds(word.start),
        "end": _seconds(word.end),
        "probability": round(word.probability, 4),
    }


def dropped_object(span: Dropped) -> dict[str, Any]:
    """A span without text, and why."""
    return {
        "start": _seconds(span.start),
        "end": _seconds(span.end),
        "reason": span.reason,
    }


def _seconds(position: int) -> float:
    """A position as a number, to the millisecond."""
    return round(samples_to_s(position), 3)
