"""Sessions, the batch queue and a real engine on a simulated clock.

Audio arrives as it would be spoken, each engine call really happens and takes as long
on the simulated clock as it took CPU time, and between two events no time passes.  So a
minute of eight streams needs only the seconds of its engine calls, and other processes
on the machine change the figures little.  Decoding and speech detection are left out:
they cost 7 ms per audio second, off the engine's workers (``bench.ingest``).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import FRAME_SAMPLES, Samples, s_to_samples
from whisper_live.batching import Batcher
from whisper_live.config import Config
from whisper_live.engine import Again
from whisper_live.engine.local import LocalEngine
from whisper_live.events import (
    Cancel,
    ClientOptions,
    Close,
    Effect,
    EndOfAudio,
    Event,
    Frames,
    Hello,
    Outcome,
    Request,
    Send,
    Submit,
)
from whisper_live.session import Session

__all__ = ["Call", "Simulation", "Stream", "Told"]

_CHUNK_S = 0.1  # audio in each message of a client


@dataclass(frozen=True, slots=True)
class Told:
    """One message to a client; ``at`` is in seconds since its first sample."""

    at: float
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One engine call: its requests and the CPU seconds that it took."""

    requests: Sequence[Request]
    cost_s: float


@dataclass(slots=True, eq=False)
class Stream:
    """One client: what it sends and what it is told."""

    samples: Samples
    speech: NDArray[np.float32]  # a probability for each frame
    options: ClientOptions
    starts_at: float = 0.0
    told: list[Told] = field(default_factory=list)
    session: Session = field(init=False)
    chunks: int = 0  # that have arrived
    frames: int = 0  # that the session was given

    @property
    def arrives_at(self) -> float:
        """When the next chunk is complete."""
        return self.starts_at + (self.chunks + 1) * _CHUNK_S


class Simulation:
    """One server and its clients; ``run`` it once."""

    def __init__(
        self,
        engine: LocalEngine,
        config: Config,
        streams: Sequence[Stream],
        *,
        workers: int,
    ) -> None:
        self.streams = streams
        self.calls: list[Call] = []
        self.costs: dict[int, float] = {}  # of the call that answered, by request
        self._engine = engine
        self._config = config
        self._batcher = Batcher(config.batch, workers=workers)
        self._now = 0.0
        self._agenda: list[tuple[float, int, Stream | _Answers]] = []
        self._orders = itertools.count()
        self._owner: dict[int, Stream] = {}
        ids = itertools.count(1)
        for index, stream in enumerate(streams):
            stream.session = Session(config, name=f"stream {index}", ids=ids)
            self._plan(stream.arrives_at, stream)
            self._tell(stream, Hello(stream.options))

    def run(self) -> None:
        """Until every client was told everything."""
        with asyncio.Runner() as runner:
            while self._agenda:
                moments = [self._agenda[0][0], self._batcher.deadline()]
                soonest = min(m for m in moments if m is not None)
                self._now = max(self._now, soonest)
                self._give(self._batcher.expire(now=self._now))
                while self._agenda and self._agenda[0][0] <= self._now:
                    what = heapq.heappop(self._agenda)[2]
                    if isinstance(what, Stream):
                        self._hear(what)
                    else:
                        self._finish(what)
                while (batch := self._batcher.take(now=self._now)) is not None:
                    self._start(batch, runner)

    # ------------------------------------------------------------------------ clients

    def _hear(self, stream: Stream) -> None:
        if not stream.session.has_room:
            self._plan(self._now + _CHUNK_S, stream)
            return
        stream.chunks += 1
        received = s_to_samples(stream.chunks * _CHUNK_S)
        is_last = received >= len(stream.samples)
        frames = len(stream.speech) if is_last else received // FRAME_SAMPLES
        start, end = stream.frames * FRAME_SAMPLES, frames * FRAME_SAMPLES
        probabilities = stream.speech[stream.frames : frames]
        stream.frames = frames
        self._tell(stream, Frames(stream.samples[start:end], probabilities))
        if is_last:
            self._tell(stream, EndOfAudio())
        else:
            self._plan(stream.arrives_at, stream)

    def _tell(self, stream: Stream, event: Event) -> None:
        self._perform(stream, stream.session.receive(event, now=self._now))

    def _perform(self, stream: Stream, effects: Sequence[Effect]) -> None:
        outcomes: list[Outcome] = []
        for effect in effects:
            match effect:
                case Send(message):
                    at = self._now - stream.starts_at
                    stream.told.append(Told(at, dict(message)))
                case Submit(request):
                    self._owner[request.id] = stream
                    outcomes += self._batcher.offer(request, now=self._now)
                case Cancel(request_id):
                    outcomes += self._batcher.cancel(request_id, now=self._now)
                case Close():
                    self._engine.forget(stream.session.name)
        self._batcher.speaking(stream.session.name, stream.session.is_speaking)
        self._give(outcomes)

    def _give(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._tell(self._owner.pop(outcome.request_id), outcome)

    # ------------------------------------------------------------------------- calls

    def _start(self, batch: list[Request], runner: asyncio.Runner) -> None:
        before = time.process_time()
        answers = runner.run(_transcribe(self._engine, batch))
        cost_s = time.process_time() - before
        self.calls.append(Call(batch, cost_s))
        self._plan(self._now + cost_s, _Answers(batch, answers, cost_s))

    def _finish(self, done: _Answers) -> None:
        outcomes: list[Outcome] = []
        for answer in done.answers:
            if isinstance(answer, Again):
                self._batcher.again(answer.request)
            elif self._batcher.answered(answer.request_id, now=self._now):
                self.costs[answer.request_id] = done.cost_s
                outcomes.append(answer)
        self._batcher.finished([r.id for r in done.batch], now=self._now)
        self._give(outcomes)

    def _plan(self, at: float, what: Stream | _Answers) -> None:
        heapq.heappush(self._agenda, (at, next(self._orders), what))


@dataclass(frozen=True, slots=True)
class _Answers:
    """A call under way and what will come of it."""

    batch: Sequence[Request]
    answers: Sequence[Outcome | Again]
    cost_s: float


async def _transcribe(
    engine: LocalEngine, rows: Sequence[Request]
) -> Sequence[Outcome | Again]:
    return await engine.transcribe(rows)
