"""The client's side of resuming: what a session that outlives its socket is known by.

Reads what docs/wire.md says a server tells (the token, ``seq``, ``received``) and makes
the first message of the next socket.  Pure; a server that cannot resume tells nothing
of it, and then there is nothing to resume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["Resumption", "come_back_s", "position_message", "resumed_at"]


class Resumption:
    """One session as it can be gone on with.  Positions are samples of the session."""

    def __init__(self) -> None:
        self._token: str | None = None
        self._seq = 0  # of the newest message that was taken
        self.decided = 0  # before which all text has come

    @property
    def is_possible(self) -> bool:
        """Whether the server keeps the session for another socket."""
        return self._token is not None

    def forget(self) -> None:
        """The session is over."""
        self._token, self._seq, self.decided = None, 0, 0

    def begin(self, ready: Mapping[str, Any]) -> None:
        """Take the SERVER_READY of a new session."""
        self.forget()
        token = ready.get("resume_token")
        self._token = token if isinstance(token, str) else None
        self.take(ready)

    def take(self, message: Mapping[str, Any]) -> None:
        """Take any later message."""
        self._seq = max(self._seq, int(message.get("seq", 0)))
        self.decided = max(self.decided, int(message.get("decided", 0)))

    def handshake(self, first: Mapping[str, Any]) -> dict[str, Any]:
        """The first message of the next socket, from that of the first one."""
        assert self._token is not None, "there is a session to go on with"
        return {**first, "resume_token": self._token, "last_seq": self._seq}


def resumed_at(ready: Mapping[str, Any]) -> int | None:
    """The sample from which a resumed session wants audio; None for a new session."""
    return int(ready.get("received", 0)) if ready.get("resumed") is True else None


def come_back_s(message: Mapping[str, Any]) -> float | None:
    """In how many seconds a server that restarts wants its clients back."""
    told = message.get("restarting")
    return float(told) if isinstance(told, int | float) else None


def position_message(sample: int) -> str:
    """The message that says where in the session the audio behind it begins."""
    return json.dumps({"type": "position", "at": sample})
