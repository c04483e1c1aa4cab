"""Sessions, the batch queue and an engine on a simulated clock.

Audio arrives as it would be spoken, an engine call takes as long as the engine says
that it took, and between two events no time passes.  So an hour of eight streams needs
only the seconds of its engine calls, and other processes on the machine change the
figures little.  Decoding and speech detection are left out: they cost 7 ms per audio
second, off the engine's workers (``bench.capacity.ingest``).

``bench.quality`` runs a real engine here, which takes the CPU time that it really took;
tests bring one of their own, with what costs and failures they like.  ``plain_policy``
is what ours is held against.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import FRAME_SAMPLES, Samples, s_to_samples
from whisper_live.config.model import Config, SpeechConfig, StreamConfig
from whisper_live.inference.batching import Batcher
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine
from whisper_live.inference.engine import Again
from whisper_live.inference.types import (
    DecodeOptions,
    Hypothesis,
    Outcome,
    Request,
    RequestKind,
)
from whisper_live.protocols.base import Message
from whisper_live.protocols.whisperlive.handshake import ClientOptions
from whisper_live.protocols.whisperlive.server import WhisperLive
from whisper_live.session.driver import SessionDriver
from whisper_live.session.endpointing import Endpoint, Onset, Segmenter
from whisper_live.session.events import EndOfAudio, Event, Frames
from whisper_live.session.session import Session, State
from whisper_live.session.updates import Ending

__all__ = [
    "Answering",
    "Call",
    "Measured",
    "Simulation",
    "Stream",
    "Told",
    "plain_policy",
]

Answers = Sequence[Outcome | Again]

_CHUNK_S = 0.1  # audio in each message of a client, if nothing else is said
_NO_ROOM_S = 0.1  # until a message that found no room is tried again


class Answering(Protocol):
    """What the simulation needs of an engine."""

    def answer(self, batch: Sequence[Request]) -> tuple[Answers, float]:
        """Outcomes of a batch, given in this order, and the seconds they took."""

    def forget(self, session: str) -> None:
        """This session has ended."""


class Measured:
    """A real engine; each call takes the CPU time that it really took."""

    def __init__(self, engine: CTranslate2Engine) -> None:
        self._engine = engine

    def answer(self, batch: Sequence[Request]) -> tuple[Answers, float]:
        """See ``Answering``."""
        with asyncio.Runner() as runner:
            runner.get_loop()  # made before the clock starts
            before = time.process_time()
            answers = runner.run(_transcribe(self._engine, batch))
            return answers, time.process_time() - before

    def forget(self, session: str) -> None:
        """See ``Answering``."""
        self._engine.forget(session)


async def _transcribe(engine: CTranslate2Engine, rows: Sequence[Request]) -> Answers:
    return await engine.transcribe(rows)


@dataclass(frozen=True, slots=True)
class Told:
    """One message to a client; ``at`` is in seconds since its first sample."""

    at: float
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One engine call: its requests and the seconds that it took."""

    requests: Sequence[Request]
    cost_s: float


def _steadily() -> Iterator[tuple[float, int]]:
    """Messages of equal length, as they are spoken."""
    for count in itertools.count(1):
        before, after = (s_to_samples(n * _CHUNK_S) for n in (count - 1, count))
        yield _CHUNK_S, after // FRAME_SAMPLES - before // FRAME_SAMPLES


@dataclass(slots=True, eq=False)
class Stream:
    """One client: what it sends and what it is told."""

    samples: Samples
    speech: NDArray[np.float32]  # a probability for each frame
    options: ClientOptions
    starts_at: float = 0.0
    # Of each message: seconds after the one before it, and the frames it completes.
    pace: Iterator[tuple[float, int]] = field(default_factory=_steadily)
    told: list[Told] = field(default_factory=list)
    session: Session = field(init=False)
    client: _Client = field(init=False)
    due: float = field(init=False)  # when the next message has come...
    brings: int = field(init=False)  # ...and its frames
    frames: int = 0  # that the session was given

    def __post_init__(self) -> None:
        self.due = self.starts_at
        self.turn()

    def turn(self) -> None:
        """To the next message."""
        delay_s, self.brings = next(self.pace)
        self.due += delay_s


class Simulation:
    """One server and its clients; ``run`` it once."""

    def __init__(
        self,
        engine: Answering,
        config: Config,
        streams: Sequence[Stream],
        *,
        workers: int,
    ) -> None:
        self.streams = streams
        self.calls: list[Call] = []
        self._engine = engine
        self._batcher = Batcher(config.batch, workers=workers)
        self._now = 0.0
        self._agenda: list[tuple[float, int, Stream | _Answers]] = []
        self._orders = itertools.count()
        self._owner: dict[int, Stream] = {}
        ids = itertools.count(1)
        for index, stream in enumerate(streams):
            stream.session = Session(
                config,
                stream.options.session,
                name=f"stream {index}",
                ids=ids,
                now=self._now,
            )
            stream.client = _Client(self, stream, config.speech)
            self._plan(stream.due, stream)

    def run(self) -> None:
        """Until every client was told everything and each session is closed."""
        while self._agenda or self._batcher.deadline() is not None:
            moments = [self._batcher.deadline()] + [m[0] for m in self._agenda[:1]]
            self._now = max(self._now, min(m for m in moments if m is not None))
            self._give(self._batcher.expire(now=self._now))
            while self._agenda and self._agenda[0][0] <= self._now:
                what = heapq.heappop(self._agenda)[2]
                if isinstance(what, Stream):
                    self._hear(what)
                else:
                    self._finish(what)
            while (batch := self._batcher.take(now=self._now)) is not None:
                answers, cost_s = self._engine.answer(batch)
                self.calls.append(Call(batch, cost_s))
                self._plan(self._now + cost_s, _Answers(batch, answers))
        assert all(s.session.state is State.CLOSED for s in self.streams)
        assert not self._owner, "a request without an outcome"

    # ------------------------------------------------------------------------ clients

    def _hear(self, stream: Stream) -> None:
        """The client's next message, unless it must wait for room."""
        session = stream.session
        deadline = session.deadline()
        if deadline is not None and deadline <= self._now:
            stream.client.driver.expire(now=self._now)
            self._follow_up(stream)
        if not session.has_room:
            self._plan(self._now + _NO_ROOM_S, stream)
            return
        first = stream.frames
        stream.frames = min(first + stream.brings, len(stream.speech))
        start, end = first * FRAME_SAMPLES, stream.frames * FRAME_SAMPLES
        speech = stream.speech[first : stream.frames]
        self._tell(stream, Frames(stream.samples[start:end], speech))
        if stream.frames < len(stream.speech):
            stream.turn()
            self._plan(stream.due, stream)
        else:
            self._tell(stream, EndOfAudio())

    def _tell(self, stream: Stream, event: Event) -> None:
        stream.client.driver.give(event, now=self._now)
        self._follow_up(stream)

    def _follow_up(self, stream: Stream) -> None:
        session = stream.session
        self._batcher.speaking(session.name, session.is_speaking)
        outcomes, stream.client.outcomes = stream.client.outcomes, []
        self._give(outcomes)

    @property
    def now(self) -> float:
        """Simulated seconds."""
        return self._now

    def submit(self, stream: Stream, request: Request) -> list[Outcome]:
        """A session's request; outcomes that are due at once."""
        self._owner[request.id] = stream
        return self._batcher.offer(request, now=self._now)

    def cancel(self, request_id: int) -> list[Outcome]:
        """A request is not needed any more; outcomes that are due at once."""
        return self._batcher.cancel(request_id, now=self._now)

    def forget(self, stream: Stream) -> None:
        """A session has ended."""
        self._engine.forget(stream.session.name)

    def _give(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:  # a second one for the same request finds no owner
            self._tell(self._owner.pop(outcome.request_id), outcome)

    # ------------------------------------------------------------------------- calls

    def _finish(self, done: _Answers) -> None:
        outcomes: list[Outcome] = []
        for answer in done.answers:
            if isinstance(answer, Again):
                self._batcher.again(answer.request, answer.doubtful)
            elif self._batcher.answered(answer.request_id, now=self._now):
                outcomes.append(answer)
        self._batcher.finished([r.id for r in done.batch], now=self._now)
        self._give(outcomes)

    def _plan(self, at: float, what: Stream | _Answers) -> None:
        heapq.heappush(self._agenda, (at, next(self._orders), what))


class _Client:
    """What stands between one session and the simulation."""

    def __init__(
        self, simulation: Simulation, stream: Stream, speech: SpeechConfig
    ) -> None:
        self.outcomes: list[Outcome] = []  # due, and not given to the session yet
        self._simulation = simulation
        self._stream = stream
        self._wire = WhisperLive(speech, options=stream.options)
        self.driver = SessionDriver(
            stream.session,
            self,
            deliver=lambda outcome: None,  # the simulation gives them
            tell=lambda update: self._send(self._wire.render(update)),
            ended=self._end,
            record=lambda now, event, effects: stream.session.check(),
        )
        self._send(self._wire.ready())

    def submit(self, request: Request, deliver: Callable[[Outcome], None]) -> None:
        self.outcomes += self._simulation.submit(self._stream, request)

    def cancel(self, request_id: int) -> None:
        self.outcomes += self._simulation.cancel(request_id)

    def _end(self, ending: Ending) -> None:
        self._send(self._wire.end(ending))
        self._simulation.forget(self._stream)

    def _send(self, messages: Sequence[Message]) -> None:
        at = self._simulation.now - self._stream.starts_at
        for message in messages:
            self._stream.told.append(Told(at, json.loads(message.text)))


@dataclass(frozen=True, slots=True)
class _Answers:
    """A call under way and what will come of it."""

    batch: Sequence[Request]
    answers: Answers


# ------------------------------------------------------------------- the plain policy


def plain_policy(
    engine: Answering, stream: Stream, config: StreamConfig
) -> tuple[str, list[Call]]:
    """What a stream is read as, and by which calls, if nothing is done to save any.

    Utterances end, and windows are split, where ours are at the latest: after the whole
    hangover, and at the longest window.  Until then everything since the last final is
    decoded again for each ``partial_floor_s`` of new audio, as often as ours on an idle
    machine, and once more for the final.
    """
    calls: list[Call] = []
    text = ""
    for request in _plain_requests(stream, config):
        batch = [request]
        while batch:
            answers, cost_s = engine.answer(batch)
            calls.append(Call(batch, cost_s))
            batch = [a.request for a in answers if isinstance(a, Again)]
        (answer,) = answers
        if isinstance(answer, Hypothesis) and request.kind is RequestKind.FINAL:
            text += "".join(segment.text for segment in answer.segments)
    return text, calls


def _plain_requests(stream: Stream, config: StreamConfig) -> Iterator[Request]:
    vad, ids = stream.options.vad, itertools.count(1)
    interval = s_to_samples(config.partial_floor_s)

    def request(kind: RequestKind, start: int, end: int) -> Request:
        is_final = kind is RequestKind.FINAL
        options = DecodeOptions(
            language=stream.options.language,
            word_timestamps=is_final and stream.options.word_timestamps,
        )
        audio = stream.samples[start:end]
        return Request(next(ids), "plain", kind, start, audio, options)

    segmenter = Segmenter(vad, max_window=s_to_samples(config.max_window_s))
    start = asked_to = 0
    for probability in stream.speech.tolist():
        for mark in segmenter.push(probability):
            if isinstance(mark, Endpoint):
                yield request(RequestKind.FINAL, start, mark.at)
            if isinstance(mark, Onset):
                start = asked_to = mark.at
        if (split := segmenter.split_point(start)) is not None:
            yield request(RequestKind.FINAL, start, split)
            segmenter.decide(split)
            start = asked_to = split
        if segmenter.is_speech and segmenter.position - asked_to >= interval:
            asked_to = segmenter.position
            yield request(RequestKind.PARTIAL, start, asked_to)
    if isinstance(last := segmenter.end_now(), Endpoint):
        yield request(RequestKind.FINAL, start, last.at)
