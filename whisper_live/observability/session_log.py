"""What the log says of one session: a line when it opens, a line when it closes.

Every record carries the session's name.  Recognised text is written only where the
operator set ``log-transcripts``; the client's own name only as a hash.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from whisper_live.config.model import LogConfig
from whisper_live.observability.log import short_id

__all__ = ["SessionLog", "log_refusal"]

AnyLogger = logging.Logger | logging.LoggerAdapter[logging.Logger]


def log_refusal(log: AnyLogger, kind: str, *, peer: str) -> None:
    """The one line of a client that gets no session: why, and its address.

    The line's form is what ``systemd/fail2ban-filter.conf`` looks for.
    """
    _log_fields(log, "refused", kind=kind, peer=peer)


class SessionLog(logging.LoggerAdapter[logging.Logger]):
    """The log of one session: every record carries ``name``, the server's own for it.

    ``opened`` and ``closed`` write the two INFO lines that a session gets.
    """

    def __init__(self, name: str, config: LogConfig = LogConfig()) -> None:
        self.session = name
        self._log_transcripts = config.log_transcripts
        super().__init__(logging.getLogger("whisper_live.session"), {})

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**kwargs.get("extra", {}), "session": self.session}
        return msg, kwargs

    def opened(
        self,
        *,
        client: str,
        audio_format: str | None,
        language: str | None,
        task: str,
        peer: str = "-",
        key: str | None = None,
        room: str = "",
    ) -> None:
        """Who came, and what for, as far as it is not its own words.

        ``peer`` is an address, ``key`` the name that its key has in the key file,
        ``client`` what it calls itself; None is what the server finds out.  ``room``,
        if it publishes, is hashed: who knows a room's name can often read it.
        """
        publishes = {"room": short_id(room)} if room else {}
        _log_fields(
            self,
            "opened",
            peer=peer,
            key=key or "-",
            client=short_id(client),
            audio_format=audio_format or "auto",
            language=language or "auto",
            task=task,
            **publishes,
        )

    def closed(
        self,
        *,
        reason: str,
        audio_s: float,
        utterances: int,
        lag_p95_s: float | None,
    ) -> None:
        """``lag_p95_s`` is None for a session without a message that had text."""
        _log_fields(
            self,
            "closed",
            reason=reason,
            audio_s=round(audio_s, 1),
            utterances=utterances,
            lag_p95_s=None if lag_p95_s is None else round(lag_p95_s, 2),
        )

    def transcript(self, text: str) -> None:
        """Committed text, only where the operator asked for it."""
        if self._log_transcripts:
            self.info("transcript: %s", text)


def _log_fields(log: AnyLogger, what: str, /, **fields: object) -> None:
    text = " ".join(f"{key}={value}" for key, value in fields.items())
    log.info("%s %s", what, text, extra={"fields": fields})
