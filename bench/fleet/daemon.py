"""One daemon on a simulated clock: what ``whisper-live capacity`` would find.

The clients say what a crowd of that command says (marks), begin when its clients begin,
and are judged by the same figures.  Sessions and the batch queue are the real ones;
sockets, decoding and speech detection take no time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.fleet.costs import Costs, Priced
from bench.quality.simulation import Simulation, Stream
from whisper_live.audio import FRAME_SAMPLES, samples_to_s
from whisper_live.config.model import Config
from whisper_live.protocols.whisperlive.handshake import ClientOptions, read_options
from whisper_live.testing.load.crowd import together
from whisper_live.testing.load.material import Recording, Speech, write_marks
from whisper_live.testing.load.measure import measure
from whisper_live.testing.load.search import largest
from whisper_live.testing.load.sessionlog import Arrived, Sent, SessionLog
from whisper_live.testing.load.summary import Objective, Summary, summarise
from whisper_live.testing.oracle import OracleDetector

__all__ = ["Daemon", "options", "start_s"]

_RAMP_S = 4.0  # as a crowd's


@dataclass(frozen=True)
class Daemon:
    """What it runs on and what its clients say."""

    costs: Costs
    config: Config = Config()
    workers: int = 1
    speech: Speech = Speech()
    objective: Objective = Objective()
    # p95 of partial lag and until text stands, of one stream as measured.  The oracle
    # reads each word at once; a model hesitates, with any number of streams: what it
    # takes longer alone is taken off the objective.
    alone_s: tuple[float, float] | None = None

    def serve(self, clients: int) -> Summary:
        """What so many clients met with."""
        recordings = [write_marks(number, self.speech) for number in range(clients)]
        streams = [
            self._stream(number, recording)
            for number, recording in enumerate(recordings)
        ]
        engine = Priced(self.costs, most_rows=self.config.batch.batch_size)
        with contextlib.closing(engine):
            Simulation(engine, self.config, streams, workers=self.workers).run()
        logs = [
            _log(number, recording, stream)
            for number, (recording, stream) in enumerate(zip(recordings, streams))
        ]
        span = together(logs)
        return summarise([measure(log, span) for log in logs])

    def capacity(self, *, most: int, say: Callable[[int, Summary], None]) -> int:
        """The largest number of clients for which the objective holds."""
        alone = self.serve(1)
        objective = self._left_of_objective(alone)

        def holds(clients: int) -> bool:
            summary = self.serve(clients)
            say(clients, summary)
            return not summary.broken(objective, alone)

        return largest(holds, most=most)

    def _left_of_objective(self, alone: Summary) -> Objective:
        if self.alone_s is None:
            return self.objective
        partial_s, stands_s = self.alone_s
        assert alone.partial_lag.p95 is not None and alone.stands.p95 is not None
        return dataclasses.replace(
            self.objective,
            partial_p95_s=self.objective.partial_p95_s
            - max(partial_s - alone.partial_lag.p95, 0.0),
            stands_p95_s=self.objective.stands_p95_s
            - max(stands_s - alone.stands.p95, 0.0),
        )

    def _stream(self, number: int, recording: Recording) -> Stream:
        whole = len(recording.samples) // FRAME_SAMPLES * FRAME_SAMPLES
        frames = recording.samples[:whole].reshape(-1, FRAME_SAMPLES)
        speech = OracleDetector().score(np.ascontiguousarray(frames))
        starts_at = start_s(number, self.speech.seed)
        wishes = options(self.config)
        return Stream(recording.samples, speech, wishes, starts_at=starts_at)


def options(config: Config) -> ClientOptions:
    """Those of a client that asks for nothing but English."""
    hello = {"uid": "u", "language": "en", "task": "transcribe"}
    return read_options(hello, defaults=config.speech)


def start_s(number: int, seed: int) -> float:
    """When a client of a crowd begins."""
    if not number:
        return 0.0
    return random.Random(f"{seed} start {number}").uniform(0.2, _RAMP_S)


def _log(number: int, recording: Recording, stream: Stream) -> SessionLog:
    audio_s = samples_to_s(len(recording.samples))
    return SessionLog(
        session=number,
        words=recording.words,
        audio_s=audio_s,
        connected_at=stream.starts_at,
        started_at=stream.starts_at,
        is_marked=True,
        sends=[Sent(audio_s, audio_s, audio_s)],
        arrivals=[Arrived(told.at, told.message) for told in stream.told],
        stopped_s=audio_s,
        ended="closed",
        ended_s=stream.told[-1].at,
        code=1000,
    )
