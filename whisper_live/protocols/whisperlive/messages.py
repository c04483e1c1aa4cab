"""What each message to a client looks like.  Samples become seconds here alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from whisper_live.audio import samples_to_s
from whisper_live.inference.types import Word
from whisper_live.session.updates import (
    Dropped,
    FinalTranscript,
    Segment,
    SpeechEvent,
    Timings,
)

__all__ = [
    "acknowledgement",
    "disconnect",
    "encode",
    "error",
    "final_transcript",
    "is_end_of_audio",
    "language",
    "numbered",
    "restarting",
    "resumed",
    "segment",
    "segments",
    "server_ready",
    "stage_timings",
    "turn_event",
    "wait",
    "warning",
]

# Clients up to 0.10.0 store text and write their SRT only for exactly this name.
BACKEND = "faster_whisper"


def is_end_of_audio(message: str | bytes) -> bool:
    """Whether this is the end mark: binary from most clients, text from iOS."""
    if isinstance(message, str):
        return message.strip() == "END_OF_AUDIO"
    return message == b"END_OF_AUDIO"


def encode(message: Mapping[str, Any] | Sequence[Any]) -> str:
    """A message, or a part of one, as compact JSON text.

    Plain ASCII, as upstream sends it: no client can trip over it, and a lone
    surrogate in a client's uid cannot make a frame that is not UTF-8.
    """
    return json.dumps(message, separators=(",", ":"), allow_nan=False)


def server_ready(uid: str) -> dict[str, Any]:
    """Admitted, and the model is warm; must be the first message of a session."""
    return {"uid": uid, "message": "SERVER_READY", "backend": BACKEND}


def resumed(
    uid: str, token: str, wait_s: float, received: int, is_snapshot: bool
) -> dict[str, Any]:
    """The session goes on, and where; the first message of a socket that resumes."""
    return {
        **server_ready(uid),
        "resumed": True,
        "resume_token": token,
        "resume_s": wait_s,
        "received": received,
        "snapshot": is_snapshot,
    }


def numbered(text: str, seq: int, received: int, decided: int) -> str:
    """An encoded message with three keys more: its number, samples taken and decided.

    Not by way of a dict: a message of 128 KiB would cost 1 ms each time.
    """
    return f'{text[:-1]},"seq":{seq},"received":{received},"decided":{decided}}}'


def acknowledgement(uid: str) -> dict[str, Any]:
    """A message for the keys that ``numbered`` adds."""
    return {"uid": uid}


def restarting(uid: str, wait_s: float) -> dict[str, Any]:
    """The server goes; it may be asked again in so many seconds."""
    return {"uid": uid, "restarting": wait_s}


def wait(uid: str, minutes: float) -> dict[str, Any]:
    """Refused for now; clients show ``minutes`` rounded, as a number."""
    return {"uid": uid, "status": "WAIT", "message": round(minutes, 4)}


def error(uid: str, text: str) -> dict[str, Any]:
    """Refused or failed, and why; ``uid`` is empty where it was never known."""
    return {"uid": uid, "status": "ERROR", "message": text}


def warning(uid: str, text: str) -> dict[str, Any]:
    """Something the user should know; never before ``server_ready``."""
    return {"uid": uid, "status": "WARNING", "message": text}


def turn_event(uid: str, event: SpeechEvent) -> dict[str, Any]:
    """What happened to the speech, and where in the audio, in seconds."""
    at = round(samples_to_s(event.at), 3)
    return {"uid": uid, "turn_event": event.moment.value, "at": at}


def disconnect(uid: str) -> dict[str, Any]:
    """Time is up; to be sent after the last segments, not before."""
    return {"uid": uid, "message": "DISCONNECT"}


def language(uid: str, code: str, probability: float) -> dict[str, Any]:
    """What was detected; only for a client that chose none, before any segments."""
    return {"uid": uid, "language": code, "language_prob": round(probability, 4)}


def segment(segment: Segment) -> str:
    """One segment as it stands in a message, to be put into all that repeat it.

    As objects 500 with their words cost 60 ms of the event loop in each message.
    """
    return encode(_segment(segment))


def segments(
    uid: str,
    completed: Sequence[str],
    partial: str | None = None,
    *,
    dropped: Sequence[Dropped] = (),
    timings: Mapping[str, float] | None = None,
) -> str:
    """What the client should see now: completed segments, then at most one partial.

    Both are ``segment``'s; never none at all, on which clients fail.  ``dropped`` and
    ``timings`` are our additions; the keys are absent when there is nothing to say.
    The message is encoded.
    """
    shown = [*completed, partial] if partial is not None else completed
    assert shown, "an empty segments message breaks clients"
    parts = [f'"uid":{json.dumps(uid)}', f'"segments":[{",".join(shown)}]']
    if dropped:
        parts.append(f'"dropped":{encode([_dropped(span) for span in dropped])}')
    if timings is not None:
        parts.append(f'"timings":{encode(timings)}')
    return "{" + ",".join(parts) + "}"


def stage_timings(timings: Timings) -> dict[str, float]:
    """Milliseconds of the newest audio and request, as far as they are known."""
    stages = {
        "decode_ms": timings.decode_s,
        "vad_ms": timings.vad_s,
        "queue_ms": timings.queue_s,
        "infer_ms": timings.engine_s,
        "emit_ms": timings.emit_s,
    }
    known = {k: round(s * 1000, 3) for k, s in stages.items() if s is not None}
    if timings.batch_size is not None:
        known["batch_size"] = timings.batch_size
    if timings.context_s is not None:
        known["context_s"] = timings.context_s
        known["context_fallback"] = timings.is_fallback
        known["load_step"] = timings.load.value
    return known


def final_transcript(uid: str, transcript: FinalTranscript) -> dict[str, Any]:
    """The second reading of the whole recording, for a client that asked for it."""
    content: dict[str, Any] = {
        "text": "".join(segment.text for segment in transcript.segments).strip(),
        "duration": _time(transcript.duration),
        "live_wer": round(transcript.live_wer, 4),
        "segments": [_segment(segment) for segment in transcript.segments],
    }
    if transcript.dropped:
        content["dropped"] = [_dropped(span) for span in transcript.dropped]
    return {"uid": uid, "final_transcript": content}


def _dropped(span: Dropped) -> dict[str, str]:
    return {
        "start": _time(span.start),
        "end": _time(span.end),
        "reason": span.reason,
    }


def _segment(segment: Segment) -> dict[str, Any]:
    content: dict[str, Any] = {
        "start": _time(segment.start),
        "end": _time(segment.end),
        "text": segment.text,
        "completed": segment.completed,
    }
    if segment.words:
        content["words"] = [_word(word) for word in segment.words]
    return content


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.text,
        "start": _time(word.start),
        "end": _time(word.end),
        "probability": round(word.probability, 4),
    }


def _time(position: int) -> str:
    """A position as clients parse it, ``"12.340"``.

    Later positions never give an earlier string: division and correct rounding are
    both monotone, so segments that do not overlap in samples do not on the wire.
    """
    return f"{samples_to_s(position):.3f}"
