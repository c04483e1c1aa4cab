"""Whole files through the daemon's own path: sessions, batch queue and engine.

Each file is a session fed as fast as it accepts audio: the same detector, endpoints,
batch queue and engine as live, so the same audio gives the same text.  Only what a
reader would watch is left out: no partials.  Several files share batches as several
speakers do.  Knows no files and no wires.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Iterator

from whisper_live.audio import Samples, samples_to_s
from whisper_live.config.model import Config
from whisper_live.inference.types import Outcome, Request, RequestKind
from whisper_live.inference.worker import Worker
from whisper_live.media.formats import open_stream
from whisper_live.media.ingest import Ingest
from whisper_live.session.driver import SessionDriver
from whisper_live.session.events import EndOfAudio, Event, PeerGone
from whisper_live.session.options import SessionOptions
from whisper_live.session.session import Session
from whisper_live.session.updates import Ending, Update
from whisper_live.vad.silero import Detector

__all__ = ["Progress", "Transcriber"]

_TIMEOUT_S = 3600.0  # nobody waits for the words: a slow machine may take its time
_NEVER_S = 30.0  # longer than any window, so that no partial ever falls due

Progress = Callable[[float], object]


class Transcriber:
    """Runs files through one engine; ``worker.run`` must be running meanwhile."""

    def __init__(
        self, config: Config, worker: Worker, detector: Callable[[], Detector]
    ) -> None:
        stream = dataclasses.replace(
            config.stream, partial_interval_s=_NEVER_S, partial_floor_s=_NEVER_S
        )
        self._config = dataclasses.replace(config, stream=stream)
        self._worker = worker
        self._detector = detector
        self._ids = itertools.count(1)

    async def transcribe(
        self,
        name: str,
        pieces: Iterator[Samples],
        options: SessionOptions,
        tell: Callable[[Update], None],
        progress: Progress = lambda seconds: None,
    ) -> None:
        """Read one recording, given in pieces (``[n]``, 16 kHz mono), to its end.

        ``name`` must be unique among the recordings under way.  ``tell`` gets each
        update; ``progress`` is told how many more seconds have been decided.  Raises
        what ``pieces`` raises.
        """
        session = Session(
            self._config,
            options,
            name=name,
            ids=self._ids,
            now=asyncio.get_running_loop().time(),
        )
        file = _File(session, self._worker, tell, progress)
        ingest = Ingest(open_stream("float32"), self._detector())
        try:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                ingest.push(piece.tobytes())
                await file.take_in(ingest)
            ingest.finish()
            await file.take_in(ingest)
            file.give(EndOfAudio())
            await file.ended.wait()
        finally:
            file.give(PeerGone())  # withdraws what a broken file leaves behind
            self._worker.forget(name)


class _Patient:
    """The batch queue for requests that nobody waits for."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def submit(self, request: Request, deliver: Callable[[Outcome], None]) -> None:
        patient = dataclasses.replace(
            request, kind=RequestKind.BACKGROUND, timeout_s=_TIMEOUT_S
        )
        self._worker.submit(patient, deliver)

    def cancel(self, request_id: int) -> None:
        self._worker.cancel(request_id)


class _File:
    """One file's session, driven as fast as it takes audio."""

    def __init__(
        self,
        session: Session,
        worker: Worker,
        tell: Callable[[Update], None],
        progress: Progress,
    ) -> None:
        self.ended = asyncio.Event()
        self._driver = SessionDriver(
            session,
            _Patient(worker),
            deliver=self.give,
            tell=tell,
            ended=self._end,
        )
        self._progress = progress
        self._decided = 0
        self._room = asyncio.Event()
        self._room.set()

    async def take_in(self, ingest: Ingest) -> None:
        """Score what was pushed, off the loop, and give it to the session."""
        while frames := await asyncio.to_thread(ingest.pull):
            self.give(frames)
            await self._room.wait()

    def give(self, event: Event) -> None:
        """One event for the session."""
        self._driver.give(event, now=asyncio.get_running_loop().time())
        session = self._driver.session
        if session.has_room:
            self._room.set()
        else:
            self._room.clear()
        decided = session.received - session.undecided
        self._progress(samples_to_s(decided - self._decided))
        self._decided = decided

    def _end(self, ending: Ending) -> None:
        self.ended.set()
