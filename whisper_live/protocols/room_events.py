"""What the readers of a room are told, as Server-Sent Events with JSON data.

Times are seconds since the room's first session began, as numbers.

    event: line      id: e1f2a3b4-7   {"start", "end", "text"}     never changes
    event: dropped   id: e1f2a3b4-8   {"start", "end", "reason"}   a span without text
    event: partial   {"start", "end", "text"}    stands behind all lines and may change;
                                                 null: there is none any more
    event: state     {"state": "live", "language": "en"}           see ``State``
    event: missed    {"lines": 12}    so many are not kept any more; they stood here

What has an id is what a reader who comes back can still be told: the part before the
dash stands for one room, the number counts its events.
"""

from __future__ import annotations

import enum
import json
import re
from typing import Any

from whisper_live.audio import samples_to_s
from whisper_live.errors import HandshakeError
from whisper_live.protocols.jsonl import dropped_object
from whisper_live.session.updates import Dropped, Segment

__all__ = [
    "GREETING",
    "IDLE",
    "ROOM_NAME",
    "State",
    "check_room_name",
    "dropped",
    "line",
    "missed",
    "partial",
    "read_event_id",
    "state",
]

ROOM_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_EVENT_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})")

# A reader who loses the connection comes back after so many milliseconds.
GREETING = b"retry: 2000\n\n"
IDLE = b":\n\n"  # a comment; proxies cut what is still


class State(enum.Enum):
    """What is the case with a room, or with one reader of it."""

    WAITING = "waiting"  # nobody has spoken here yet
    LIVE = "live"  # somebody publishes
    LEFT = "left"  # the speaker is gone and may come back; the text is kept a while
    OVER = "over"  # the speaker did not: the last event
    RESTARTING = "restarting"  # the server stops: the last event
    TOO_SLOW = "too_slow"  # this reader did not keep up: its last event


def check_room_name(given: str) -> str:
    """A room's name as a client gives it; raises ``HandshakeError``.

    It stands in URLs, so it is made of what needs no quoting there.
    """
    if re.fullmatch(ROOM_NAME, given) is None:
        raise HandshakeError(
            "room must be 1 to 64 letters (a to z), digits, - or _, the first a letter "
            "or a digit.",
            kind="handshake_room",
        )
    return given


def line(segment: Segment, event_id: str) -> bytes:
    """A completed segment."""
    return _event("line", _segment(segment), event_id)


def dropped(span: Dropped, event_id: str) -> bytes:
    """A span that was given up without text."""
    return _event("dropped", dropped_object(span), event_id)


def partial(segment: Segment | None) -> bytes:
    """The text behind all lines, which may still change."""
    return _event("partial", None if segment is None else _segment(segment))


def state(now: State, language: str | None = None) -> bytes:
    """What is the case; ``language`` is that of the text, once it is known."""
    content = {"state": now.value}
    if language is not None:
        content["language"] = language
    return _event("state", content)


def missed(lines: int) -> bytes:
    """A reader who comes back has missed so many events with an id for good."""
    return _event("missed", {"lines": lines})


def read_event_id(given: str) -> tuple[str, int] | None:
    """The room and the number in an id that a reader shows; None for nonsense."""
    found = _EVENT_ID.fullmatch(given)
    return (found[1], int(found[2])) if found is not None else None


def _event(name: str, content: object, event_id: str = "") -> bytes:
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    head = f"id: {event_id}\n" if event_id else ""
    # Half a surrogate pair is text to nobody, and no UTF-8.
    return f"{head}event: {name}\ndata: {data}\n\n".encode("utf-8", "replace")


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "start": round(samples_to_s(segment.start), 3),
        "end": round(samples_to_s(segment.end), 3),
        "text": segment.text.strip(),
    }
