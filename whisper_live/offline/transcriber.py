"""Whole files, several windows of each at a time.

A file is cut at its silences into windows as long as the model takes, which are read in
full batches and with as many beams as faster-whisper takes: nobody waits for its first
words, as a live reader does.  Several files share batches as several speakers do.
Knows no files and no wires.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from whisper_live.audio import FRAME_SAMPLES, SampleBuffer, Samples, samples_to_s
from whisper_live.config.model import Config
from whisper_live.inference.types import HypothesisSegment
from whisper_live.inference.worker import Worker
from whisper_live.media.formats import open_stream
from whisper_live.media.ingest import Ingest
from whisper_live.offline.reader import (
    AudioWindow,
    Reader,
    WindowPlanner,
    WindowText,
)
from whisper_live.session.events import Frames
from whisper_live.session.options import SessionOptions
from whisper_live.session.transcript import Transcript
from whisper_live.session.updates import Update
from whisper_live.vad.silero import Detector

__all__ = ["Heard", "Progress", "Transcriber"]

_BEAMS = 5  # as many as faster-whisper takes for whole files
_TIMEOUT_S = 3600.0  # nobody waits for the words: a slow machine may take its time

Progress = Callable[[float], object]
Result = TypeVar("Result")
Heard = Callable[[Sequence[HypothesisSegment]], object]


class Transcriber:
    """Runs files through one engine; ``worker.run`` must be running meanwhile."""

    def __init__(
        self,
        config: Config,
        worker: Worker,
        detector: Callable[[], Detector],
        *,
        ids: Iterator[int] | None = None,
        pool: Executor | None = None,
    ) -> None:
        """``ids`` gives request ids where others use the worker as well.

        ``pool`` decodes and scores; the loop's own executor where there is none.
        """
        self._pool = pool
        self._config = config
        self._worker = worker
        self._detector = detector
        self._ids = itertools.count(1) if ids is None else ids

    async def transcribe(
        self,
        name: str,
        pieces: Iterator[Samples],
        options: SessionOptions,
        tell: Callable[[Update], None],
        progress: Progress = lambda seconds: None,
        heard: Heard = lambda segments: None,
    ) -> None:
        """Read one recording, given in pieces (``[n]``, 16 kHz mono), to its end.

        ``name`` must be unique among the recordings under way.  ``tell`` gets each
        update, in order, and ``heard`` before it what the engine gave for it;
        ``progress`` is told how many more seconds have been read.  Raises what
        ``pieces`` raises.
        """
        file = _File(self._config, self._worker, options, name, self._ids, tell, heard)
        ingest = Ingest(open_stream("float32"), self._detector())
        try:
            while (piece := await self._aside(next, pieces, None)) is not None:
                ingest.push(piece.tobytes())
                await self._take_in(ingest, file, progress)
            ingest.finish()
            await self._take_in(ingest, file, progress)
            await file.finish()
            progress(file.newly_read_s())
        finally:
            await file.close()

    async def _take_in(self, ingest: Ingest, file: _File, progress: Progress) -> None:
        """Score what was pushed, off the loop, and give it to the file."""
        while frames := await self._aside(ingest.pull):
            await file.take(frames)
            progress(file.newly_read_s())

    async def _aside(self, work: Callable[..., Result], *given: Any) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, work, *given)


class _File:
    """One recording on its way: audio that is not read yet, and windows under way."""

    def __init__(
        self,
        config: Config,
        worker: Worker,
        options: SessionOptions,
        name: str,
        ids: Iterator[int],
        tell: Callable[[Update], None],
        heard: Heard,
    ) -> None:
        self._options = options
        self._worker = worker
        self._tell = tell
        self._heard = heard
        self._reader = Reader(
            config,
            options,
            worker.submit,
            session=name,
            ids=ids,
            beam_size=_BEAMS,
            timeout_s=_TIMEOUT_S,
        )
        self._planner = WindowPlanner(options.vad)
        self._transcript = Transcript()
        self._buffer = SampleBuffer()
        self._speech: list[float] = []
        self._first_frame = 0  # of those in `_speech`
        self._lanes = [f"{name}, {n}" for n in range(config.batch.batch_size)]
        self._under_way: deque[tuple[AudioWindow, asyncio.Task[WindowText]]] = deque()
        self._is_language_told = options.language is not None
        self._read_to = self._told_to = 0

    async def take(self, frames: Frames) -> None:
        """More audio; waits while as many windows as there are lanes are under way."""
        self._buffer.append(frames.samples)
        self._speech += frames.speech.tolist()
        for probability, size in frames.scored():
            for start, end in self._planner.push(probability, size):
                await self._begin(start, end)
        self._forget(self._planner.keep_from)

    async def finish(self) -> None:
        """There is no more audio: read what is left."""
        for start, end in self._planner.finish():
            await self._begin(start, end)
        while self._under_way:
            await self._end_first()
        self._read_to = self._buffer.end

    async def close(self) -> None:
        """Let go of what is under way; nothing, after ``finish``."""
        tasks = [task for _, task in self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in self._lanes:
            self._worker.forget(lane)

    def newly_read_s(self) -> float:
        """Seconds read since it was asked for last."""
        newly, self._told_to = self._read_to - self._told_to, self._read_to
        return samples_to_s(newly)

    async def _begin(self, start: int, end: int) -> None:
        while len(self._under_way) >= len(self._lanes):
            await self._end_first()
        first = start // FRAME_SAMPLES
        last = -(-end // FRAME_SAMPLES)
        window = AudioWindow(
            start,
            self._buffer.read(start, end),
            self._speech[first - self._first_frame : last - self._first_frame],
            first,
        )
        lane = self._lanes[0]  # used in turn: the window before it in this one is read
        self._lanes.append(self._lanes.pop(0))
        reading = self._reader.read(
            window, lane=lane, word_timestamps=self._options.word_timestamps
        )
        self._under_way.append((window, asyncio.create_task(reading)))
        if self._reader.language.current is None and not self._options.multilingual:
            await self._end_first()  # the language is the first window's to tell

    async def _end_first(self) -> None:
        window, task = self._under_way.popleft()
        try:
            text = await task
        except asyncio.CancelledError:
            self._under_way.appendleft((window, task))  # `close` sees to it
            raise
        completed = self._transcript.commit(text.segments, until=window.end)
        language = None
        if completed and not self._is_language_told:
            language = self._reader.detected
            self._is_language_told = language is not None
        if completed or text.dropped:
            self._heard(text.heard)
            self._tell(
                Update(completed=completed, dropped=text.dropped, language=language)
            )
        self._read_to = window.end

    def _forget(self, before: int) -> None:
        self._buffer.trim(before)
        frames = before // FRAME_SAMPLES - self._first_frame
        if frames > 0:
            del self._speech[:frames]
            self._first_frame += frames
