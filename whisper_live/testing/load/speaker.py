"""One client of a load test: connects, speaks on an absolute schedule, logs all.

Sends are scheduled from position 0; one that comes late does not move those after it.
Judges nothing: what was refused, lost or slow stands in the log.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from whisper_live.audio import SAMPLE_RATE, Samples, samples_to_s
from whisper_live.client.chunks import Chunk, webm_chunks
from whisper_live.errors import Overloaded
from whisper_live.protocols.whisperlive import client as wire
from whisper_live.testing.load.material import SpokenWord
from whisper_live.testing.load.sessionlog import LogWriter

__all__ = ["Dialogue", "Script", "chunks_of", "speak"]

_READY_TIMEOUT_S = 60.0
_LOG_BYTES = 1 << 20  # some minutes: the disk is written to while nobody speaks


@dataclass(frozen=True, slots=True)
class Dialogue:
    """How a client talks to the server."""

    url: str
    audio_format: str = "float32"  # float32, int16 or webm
    chunk_s: float = 0.25
    language: str | None = "en"
    key: str | None = None
    flush_timeout_s: float = 30.0  # for the close after END_OF_AUDIO
    options: dict[str, Any] = field(default_factory=dict)  # further handshake keys


@dataclass(frozen=True, slots=True)
class Script:
    """What one client says: made beforehand, for encoding takes time others need."""

    words: tuple[SpokenWord, ...]
    chunks: Sequence[Chunk]
    audio_s: float

    def faster(self, speed: float) -> Script:
        """The same at ``speed`` times real time: times are those of the sending."""
        return Script(
            tuple(
                word._replace(start_s=word.start_s / speed, end_s=word.end_s / speed)
                for word in self.words
            ),
            [Chunk(chunk.due_s / speed, chunk.data) for chunk in self.chunks],
            self.audio_s,
        )


async def speak(dialogue: Dialogue, session: int, script: Script, path: Path) -> None:
    """One session from the handshake to the close; all of it into the log ``path``."""
    connected_at = time.monotonic()
    with path.open("w", buffering=_LOG_BYTES) as file:
        log = LogWriter(
            file,
            session=session,
            connected_at=connected_at,
            audio_s=script.audio_s,
            is_marked=all(word.text[1:].isdecimal() for word in script.words),
            url=dialogue.url,
            audio_format=dialogue.audio_format,
            chunk_s=dialogue.chunk_s,
            words=script.words,
        )
        visit = _Visit(log, connected_at)
        try:
            await visit.run(dialogue, script.chunks)
        except ConnectionClosed as closed:
            close = closed.rcvd or closed.sent
            visit.end("failed", code=close.code if close else None)
        except (OSError, WebSocketException, TimeoutError) as error:
            visit.end("failed", reason=f"{type(error).__name__}: {error}")


class _Visit:
    """One connection and its log."""

    def __init__(self, log: LogWriter, connected_at: float) -> None:
        self._log = log
        self._zero = connected_at  # moves to position 0 once the server is ready
        self._complaint = ""
        self._ended = False

    def end(self, how: str, **details: Any) -> None:
        """The last line."""
        if not self._ended:
            self._ended = True
            details.setdefault("reason", self._complaint)
            self._log.event(self._now(), ended=how, **details)

    async def run(self, dialogue: Dialogue, chunks: Sequence[Chunk]) -> None:
        headers = {"Authorization": f"Bearer {dialogue.key}"} if dialogue.key else {}
        async with connect(
            dialogue.url,
            additional_headers=headers,
            compression=None,
            max_size=None,
            max_queue=None,  # arrival is when it arrived, not when it was read
            open_timeout=_READY_TIMEOUT_S,
            ping_interval=None,  # a busy server is slow, not dead: that is measured
            close_timeout=2.0,
        ) as socket:
            await socket.send(json.dumps(_handshake(dialogue)))
            if not await self._is_admitted(socket):
                return
            self._zero = time.monotonic()
            self._log.event(0.0, started_at=self._zero)
            sender = asyncio.create_task(self._send(socket, chunks))
            try:
                lasts_s = chunks[-1].due_s + dialogue.flush_timeout_s
                await self._receive(socket, lasts_s)
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)

    async def _is_admitted(self, socket: ClientConnection) -> bool:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while True:
                message = json.loads(await socket.recv())
                self._log.event(self._now(), message=message)
                if wire.is_ready(message):
                    return True
                if (refusal := wire.refusal(message)) is not None:
                    how = "refused" if isinstance(refusal, Overloaded) else "failed"
                    self.end(how, reason=wire.complaint(message))
                    return False

    async def _send(self, socket: ClientConnection, chunks: Sequence[Chunk]) -> None:
        try:
            for chunk in chunks:
                wait = chunk.due_s - self._now()
                if wait > 0:
                    await asyncio.sleep(wait)
                at_s = self._now()
                if chunk.data:
                    await socket.send(chunk.data)
                self._log.event(
                    at_s, sent=round(chunk.due_s, 4), until=round(self._now(), 4)
                )
            await socket.send(wire.END_OF_AUDIO)
            self._log.event(self._now(), stopped=True)
        except ConnectionClosed:
            pass  # whoever receives learns why

    async def _receive(self, socket: ClientConnection, lasts_s: float) -> None:
        try:
            async with asyncio.timeout(lasts_s):
                while True:
                    message = json.loads(await socket.recv())
                    self._log.event(self._now(), message=message)
                    if wire.refusal(message) is not None:
                        self._complaint = wire.complaint(message) or ""
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            self.end("closed" if code == 1000 else "failed", code=code)

    def _now(self) -> float:
        return time.monotonic() - self._zero


def _handshake(dialogue: Dialogue) -> dict[str, Any]:
    is_default = dialogue.audio_format == "float32"  # every server's
    return wire.handshake(
        language=dialogue.language,
        audio_format=None if is_default else dialogue.audio_format,
        **{"model": "small", **dialogue.options},
    )


def chunks_of(samples: Samples, dialogue: Dialogue) -> list[Chunk]:
    """A recording as this client sends it."""
    if dialogue.audio_format == "webm":
        return list(webm_chunks([samples]))
    if dialogue.audio_format == "int16":
        data = (samples.clip(-1, 1) * 32767).round().astype("<i2")
    else:
        data = samples.astype("<f4")
    step = round(dialogue.chunk_s * SAMPLE_RATE)
    return [
        Chunk(samples_to_s(min(at + step, len(data))), data[at : at + step].tobytes())
        for at in range(0, len(data), step)
    ]
