"""One client's event log: what was said and sent, and what came back, as JSON lines.

The first line describes the session, each further one is an event with ``at``: seconds
since the first sample was due, by the client's clock.  Lines are written as things
happen, so that an interrupted run leaves what it had.

    {"session": 3, "started_at": 8123.25, "words": [["w1", 0.5, 0.8, 0], ...], ...}
    {"at": 0.251, "sent": 0.25, "until": 0.252}      due at, sent from .. until
    {"at": 1.873, "message": {"segments": [...]}}
    {"at": 30.01, "stopped": true}                   END_OF_AUDIO was sent
    {"at": 30.42, "ended": "closed", "code": 1000}   or refused, failed, cut
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from whisper_live.testing.load.material import SpokenWord

__all__ = ["Arrived", "Ended", "LogWriter", "Sent", "SessionLog", "read_logs"]

Ended = Literal["closed", "refused", "failed", "cut"]


class Sent(NamedTuple):
    """One chunk: when it was due, when its send began and when it returned."""

    due_s: float
    at_s: float
    until_s: float


class Arrived(NamedTuple):
    """A message from the server."""

    at_s: float
    message: Mapping[str, Any]


@dataclass(slots=True)
class SessionLog:
    """A log as it was read back."""

    session: int
    words: tuple[SpokenWord, ...]
    audio_s: float
    connected_at: float  # monotonic, when the client began to connect
    started_at: float | None = None  # monotonic, position 0; None: never admitted
    is_marked: bool = False  # the words are the oracle's: each exists once
    sends: list[Sent] = field(default_factory=list)
    arrivals: list[Arrived] = field(default_factory=list)
    stopped_s: float | None = None  # END_OF_AUDIO
    ended: Ended = "cut"
    ended_s: float | None = None
    code: int | None = None  # of the close
    reason: str = ""  # why it was refused or failed

    @classmethod
    def read(cls, path: Path) -> SessionLog:
        """Read one file; a last line that was cut off is passed over."""
        with path.open() as file:
            head = json.loads(next(file))
            log = cls(
                session=head["session"],
                words=tuple(SpokenWord(*word) for word in head["words"]),
                audio_s=head["audio_s"],
                connected_at=head["connected_at"],
                is_marked=head["is_marked"],
            )
            for line in file:
                if line.endswith("\n"):
                    log.take(json.loads(line))
        return log

    def take(self, event: Mapping[str, Any]) -> None:
        """Add one line's event."""
        at_s = event["at"]
        if "sent" in event:
            self.sends.append(Sent(event["sent"], at_s, event["until"]))
        elif "message" in event:
            self.arrivals.append(Arrived(at_s, event["message"]))
        elif "started_at" in event:
            self.started_at = event["started_at"]
        elif "stopped" in event:
            self.stopped_s = at_s
        else:
            self.ended, self.ended_s = event["ended"], at_s
            self.code, self.reason = event.get("code"), event.get("reason", "")


class LogWriter:
    """Writes one session's log."""

    def __init__(self, file: IO[str], **head: Any) -> None:
        self._file = file
        self._write(head)

    def event(self, at_s: float, **what: Any) -> None:
        """Something happened ``at_s`` after position 0."""
        self._write({"at": round(at_s, 4), **what})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


def read_logs(folder: Path) -> list[SessionLog]:
    """All sessions of one run, in order."""
    logs = [SessionLog.read(path) for path in folder.glob("session-*.jsonl")]
    return sorted(logs, key=lambda log: log.session)
