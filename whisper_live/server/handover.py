"""Detached sessions on their way from one daemon to the next: a private file for each.

Owns the files' form and their folder.  A file that is torn, damaged, too old or of
another version is removed and its session is over: a client then begins a new one,
with the audio that was not decided.  Knows nothing of sockets or sessions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from whisper_live.audio import Samples
from whisper_live.session.updates import Update

__all__ = ["HandedOver", "StateFolder", "shifted"]

logger = logging.getLogger("whisper_live.server")

_MAGIC = b"whisper-live session 1\n"
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, eq=False)
class HandedOver:
    """One session as far as the next daemon needs it."""

    token: str
    key_name: str | None
    address: str
    handshake: Mapping[str, Any]
    told: tuple[str, ...]  # completed segments, as on the wire
    seq: int  # of the newest message
    start: int  # the sample with which ``audio`` begins; all text before it is told
    is_ended: bool  # the client's audio has ended
    until: float  # seconds since 1970, when it is too old
    audio: Samples


class StateFolder:
    """The folder of one daemon and its successor."""

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds since 1970, which both daemons share."""
        self._path = path
        self._clock = clock

    def write(self, session: HandedOver, *, wait_s: float) -> None:
        """Write one file, whole or not at all; raises ``OSError``."""
        name = hashlib.sha256(session.token.encode()).hexdigest()
        path, part = self._path / f"{name}.session", self._path / f"{name}.part"
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        session = replace(session, until=self._clock() + wait_s)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(_encode(session))
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            raise

    def take(self) -> list[HandedOver]:
        """The sessions that are there; nothing of them stays behind."""
        found = []
        for path in [*self._path.glob("*.session"), *self._path.glob("*.part")]:
            try:
                data = path.read_bytes() if path.suffix == ".session" else b""
                path.unlink()
            except OSError as error:
                logger.error("a session of before is not taken over: %s", error)
                continue
            session = _decode(data)
            if session is None:
                logger.error("a session of before is damaged, and over")
            elif session.until > self._clock():
                found.append(session)
        return found


def _encode(session: HandedOver) -> bytes:
    fields = asdict(replace(session, audio=np.empty(0, np.float32)))
    del fields["audio"]
    head = json.dumps(fields).encode()
    audio = session.audio.astype("<f4").tobytes()
    body = len(head).to_bytes(4, "big") + head + audio
    return _MAGIC + hashlib.sha256(body).digest() + body


def _decode(data: bytes) -> HandedOver | None:
    start = len(_MAGIC) + _DIGEST_BYTES
    body = data[start:]
    if data[:start] != _MAGIC + hashlib.sha256(body).digest():
        return None
    size = 4 + int.from_bytes(body[:4], "big")
    fields = json.loads(body[4:size])
    fields["told"] = tuple(fields["told"])
    audio = np.frombuffer(body[size:], "<f4").astype(np.float32)
    return HandedOver(**fields, audio=audio)


def shifted(update: Update, by: int) -> Update:
    """The update of a session whose first sample is another one's sample ``by``."""
    if not by:
        return update
    speech = update.speech
    segments = [
        replace(
            each,
            start=each.start + by,
            end=each.end + by,
            words=tuple(
                replace(word, start=word.start + by, end=word.end + by)
                for word in each.words
            ),
        )
        for each in (*update.completed, *filter(None, [update.interim]))
    ]
    return replace(
        update,
        completed=tuple(segments[: len(update.completed)]),
        interim=segments[-1] if update.interim is not None else None,
        dropped=tuple(
            replace(span, start=span.start + by, end=span.end + by)
            for span in update.dropped
        ),
        speech=None if speech is None else replace(speech, at=speech.at + by),
    )
