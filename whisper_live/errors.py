"""Every error that the package raises on purpose: one base class, four families.

Each class carries what the edge needs to answer with: the websocket close code, and a
``kind`` that names the cause in metrics.  ``kind`` comes from our own code, never from
a client, so that it is safe as a metric label.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ClientError",
    "ConfigError",
    "DecodeError",
    "EngineError",
    "EngineTimeout",
    "EngineUnavailable",
    "HandshakeError",
    "LimitExceeded",
    "Overloaded",
    "ProtocolError",
    "WhisperLiveError",
    "WindowRejected",
]


class WhisperLiveError(Exception):
    """Base of all errors below.

    ``detail`` is one plain sentence for the person at the other end; ``kind`` is a
    short snake_case name for counters.
    """

    close_code: ClassVar[int] = 1011
    default_kind: ClassVar[str] = "internal"

    def __init__(self, detail: str, *, kind: str | None = None) -> None:
        super().__init__(detail, kind)
        self.detail = detail
        self.kind = kind or self.default_kind

    def __str__(self) -> str:
        return self.detail


class ConfigError(WhisperLiveError):
    """The operator asked for something that cannot be; the command exits with 2."""

    default_kind = "config"


class ClientError(WhisperLiveError):
    """The peer's doing: answered with ERROR, logged at INFO, counted."""

    close_code = 1008
    default_kind = "client"


class HandshakeError(ClientError):
    """The first message is missing, late, or not a usable handshake."""

    close_code = 1008
    default_kind = "handshake"


class ProtocolError(ClientError):
    """A message that the protocol has no place for at this point."""

    close_code = 1002
    default_kind = "protocol"


class DecodeError(ClientError):
    """Media that cannot be decoded and cannot be resynchronised either."""

    close_code = 1007
    default_kind = "decode"


class LimitExceeded(ClientError):
    """The peer passed a limit of time, count or rate (1008)."""

    close_code = 1008
    default_kind = "limit"


class Overloaded(WhisperLiveError):
    """Not an error but an answer: come back in ``wait_minutes`` (WAIT, 1013)."""

    close_code = 1013
    default_kind = "overloaded"

    def __init__(
        self, detail: str, *, wait_minutes: float, kind: str | None = None
    ) -> None:
        super().__init__(detail, kind=kind)
        self.wait_minutes = wait_minutes


class EngineError(WhisperLiveError):
    """Ours: one window, one call or the whole engine failed; logged at ERROR."""

    close_code = 1011
    default_kind = "engine"


class EngineUnavailable(EngineError):
    """The engine cannot take work: not loaded, lost its device, shut down."""

    default_kind = "engine_unavailable"


class EngineTimeout(EngineError):
    """A request passed its deadline, in the queue or inside a call."""

    default_kind = "engine_timeout"


class WindowRejected(EngineError):
    """This window alone cannot be transcribed; its neighbours are not affected."""

    default_kind = "window_rejected"
