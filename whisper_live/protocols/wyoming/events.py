"""The form of events: a line of JSON, then the data and the payload that it announces.

Reads what strangers send, which the package ``wyoming`` does not: each length has a
bound, each part has its type.  An event is kept as the bytes that it came as.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wyoming.event import Event

from whisper_live.errors import ProtocolError

__all__ = ["MOST_HEADER_BYTES", "Header", "read_event", "read_header", "write_event"]

# Names and terms of a whole household, as Home Assistant sends them, have some 10 KB.
# The event loop reads 64 KiB of JSON in a millisecond.
MOST_HEADER_BYTES = 1 << 16
_MOST_DATA_BYTES = 1 << 16
_MOST_TYPE_CHARS = 64


@dataclass(frozen=True, slots=True)
class Header:
    """The line that an event begins with."""

    type: str
    data: dict[str, Any]
    data_bytes: int  # that follow, to be added to ``data``
    payload_bytes: int  # that follow those

    @property
    def rest_bytes(self) -> int:
        """How much of the event follows the line."""
        return self.data_bytes + self.payload_bytes


def read_header(line: bytes) -> Header:
    """Read an event's first line; raises ``ProtocolError`` for what is none."""
    values = _object(line, "line")
    name, data = values.get("type"), values.get("data")
    if not isinstance(name, str) or len(name) > _MOST_TYPE_CHARS:
        raise ProtocolError("The event has no type.", kind="event_type")
    if data is not None and not isinstance(data, dict):
        raise ProtocolError("The event's data must be an object.", kind="event_data")
    data_bytes = _length(values, "data_length")
    if data_bytes > _MOST_DATA_BYTES:
        raise ProtocolError(
            f"The event's data must not have more than {_MOST_DATA_BYTES} bytes.",
            kind="event_too_long",
        )
    return Header(name, data or {}, data_bytes, _length(values, "payload_length"))


def read_event(message: bytes) -> Event:
    """Read a whole event; raises ``ProtocolError`` for what is none."""
    line, _, rest = message.partition(b"\n")
    header = read_header(line)
    data = dict(header.data)
    if header.data_bytes:
        data.update(_object(rest[: header.data_bytes], "data"))
    return Event(header.type, data, rest[header.data_bytes :] or None)


def write_event(event: Event) -> str:
    """An event without a payload, as the package writes it; plain ASCII."""
    assert not event.payload, "a server of ours sends no audio"
    data = _json(event.data) if event.data else ""
    length = {"data_length": len(data)} if data else {}
    return f"{_json({'type': event.type, **length})}\n{data}"


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        # ValueError: bad UTF-8, bad JSON, a number of more than 4300 digits.
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(
            f"The event's {what} is not JSON.", kind="event_json"
        ) from None
    if not isinstance(content, dict):
        raise ProtocolError(
            f"The event's {what} must be a JSON object.", kind="event_json"
        )
    return content


def _length(values: dict[str, Any], key: str) -> int:
    length = values.get(key)
    if length is None:
        return 0
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise ProtocolError(
            f"{key} must be a number of bytes, not less than 0.", kind="event_length"
        )
    return length
