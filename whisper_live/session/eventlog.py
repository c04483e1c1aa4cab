"""Events and effects as lines of JSON, and back.

A session is a pure function of its events, so a log of them is all that it takes to
see again what it did: frames as probabilities, outcomes, deadlines and the clock.
Audio is left out; a session hands it on and never looks at it, so silence of the same
length stands for it.  What is written here contains recognised text.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from whisper_live import errors as errors_module
from whisper_live.config import model as config_module
from whisper_live.config.model import Config
from whisper_live.errors import EngineError
from whisper_live.inference import types as types_module
from whisper_live.inference.types import Request
from whisper_live.session import events as events_module
from whisper_live.session import options as options_module
from whisper_live.session import updates as updates_module
from whisper_live.session.events import Effect, Event, Frames
from whisper_live.session.options import SessionOptions
from whisper_live.session.session import Session

__all__ = ["FORMAT", "Replay", "header", "replay", "step"]

FORMAT = 2  # raised when older logs can no longer be replayed

_TAG = "_"
_MODULES = (
    config_module,
    errors_module,
    types_module,
    options_module,
    events_module,
    updates_module,
)
_CLASSES: dict[str, type] = {
    name: member
    for module in _MODULES
    for name, member in inspect.getmembers(module, inspect.isclass)
}


def header(config: Config, options: SessionOptions, *, name: str, now: float) -> str:
    """The first line: what the session was made of."""
    return _line(
        {
            "format": FORMAT,
            "name": name,
            "now": now,
            "config": _pack(config),
            "options": _pack(options),
        }
    )


def step(now: float, event: Event | None, effects: Iterable[Effect]) -> str:
    """One event (None: the deadline came), when, and what the session answered."""
    packed = None if event is None else _pack(event)
    return _line({"now": now, "in": packed, "out": [_pack(e) for e in effects]})


@dataclasses.dataclass(frozen=True, slots=True)
class Replay:
    """One replayed step: what was recorded and what came out now."""

    number: int
    now: float
    event: str
    recorded: list[str]
    repeated: list[str]

    @property
    def is_same(self) -> bool:
        """Byte for byte."""
        return self.recorded == self.repeated


def replay(lines: Iterable[str]) -> Iterator[Replay]:
    """Drive a new session through a log, step by step.

    Raises ``ValueError`` for what is not a log of this format.
    """
    entries = [json.loads(line) for line in lines if line.strip()]
    written = entries[0].get("format") if entries else None
    if not isinstance(written, int):
        raise ValueError("it is not an event log")
    if written != FORMAT:
        raise ValueError(
            f"it is an event log of format {written}, and this version replays format "
            f"{FORMAT} alone; replay it with the version that recorded it"
        )
    first, *steps = entries
    ids = iter([e["request"]["id"] for s in steps for e in s["out"] if "request" in e])
    session = Session(
        _unpack(first["config"]),
        _unpack(first["options"]),
        name=first["name"],
        ids=ids,
        now=first["now"],
    )
    for number, entry in enumerate(steps, 1):
        now, packed = entry["now"], entry["in"]
        if packed is None:
            effects = session.expire(now=now)
        else:
            effects = session.receive(_unpack(packed), now=now)
        yield Replay(
            number,
            now,
            "deadline" if packed is None else packed[_TAG],
            [_line(effect) for effect in entry["out"]],
            [_line(_pack(effect)) for effect in effects],
        )


def _line(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _pack(value: Any) -> Any:
    match value:
        case Frames():
            return {
                _TAG: "Frames",
                "samples": len(value.samples),
                "speech": [float(p) for p in value.speech],
                "decode_s": value.decode_s,
                "vad_s": value.vad_s,
                "behind_s": value.behind_s,
            }
        case EngineError():
            name = type(value).__name__
            return {_TAG: name, "detail": value.detail, "kind": value.kind}
        case enum.Enum():
            return {_TAG: type(value).__name__, "value": value.value}
        case np.ndarray():
            return len(value)
        case tuple() | list():
            return [_pack(item) for item in value]
        case dict():
            return {key: _pack(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        packed = {f.name: _pack(getattr(value, f.name)) for f in fields}
        return {_TAG: type(value).__name__, **packed}
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unpack(item) for item in value)
    if not isinstance(value, dict) or _TAG not in value:
        return value
    made = _CLASSES[value[_TAG]]
    fields = {key: _unpack(item) for key, item in value.items() if key != _TAG}
    if made is Frames:
        fields["samples"] = np.zeros(fields["samples"], dtype=np.float32)
        fields["speech"] = np.array(fields["speech"], dtype=np.float32)
    elif made is Request:
        fields["audio"] = np.zeros(fields["audio"], dtype=np.float32)
    elif issubclass(made, enum.Enum):
        return made(fields["value"])
    return made(**fields)
