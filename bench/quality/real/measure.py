"""Runs the readers that are compared: plain faster-whisper, live sessions, whole files.

Live sessions run on a simulated clock (``bench.quality.simulation``): audio arrives as
it was spoken, an engine call takes the CPU time that it really took.  After the last
word goes on a quiet room, longer than any hangover, so that the end of speech is found
by the daemon and not given by the end of the audio.

Every engine has one thread and the weights in int8, on the CPU.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel

from bench.quality.real.reader import Segment, View, views
from bench.quality.real.recordings import Recording, load
from bench.quality.simulation import Measured, Simulation, Stream
from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples, samples_to_s
from whisper_live.config.model import Config
from whisper_live.inference.ctranslate2 import engine as ctranslate2
from whisper_live.inference.worker import Worker
from whisper_live.observability.metrics import Metrics
from whisper_live.offline.transcriber import Transcriber
from whisper_live.protocols.base import for_model
from whisper_live.protocols.whisperlive import client as wire
from whisper_live.protocols.whisperlive.handshake import ClientOptions, read_options
from whisper_live.session.updates import Update
from whisper_live.vad.silero import SileroModel
from whisper_live.vad.whisper_boost import speech_detectors

__all__ = ["Bench", "Reading", "together"]

WORKERS = 2  # of the simulated machine: one thread each, as on two cores
_QUIET_AFTER_S = 2.5  # beyond the hangover
_VOICED = 0.5  # Silero's own threshold
_STAGGER_S = 3.0  # within which streams that run together start
_BETWEEN_S = 0.5  # from one recording of a stream to the next
_EXCHANGE = 4  # recordings of each stream in one simulation


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What one reader made of one recording."""

    segments: tuple[Segment, ...]
    engine_s: float  # CPU time of the engine
    views: tuple[View, ...] = ()  # of live text
    suppressed: int = 0  # segments that the daemon took for inventions
    dropped: int = 0  # spans that it gave up


def together(streams: int) -> int:
    """How many recordings to give to ``Bench.live`` at a time.

    A lone stream needs no company; many are to run for longer than they need to start.
    """
    return 1 if streams == 1 else _EXCHANGE * streams


class Bench:
    """One model and the settings under which it is measured."""

    def __init__(self, folder: Path, config: Config, *, seed: int) -> None:
        own = dataclasses.replace(
            config.engine, model=str(folder), device="cpu", workers=1, threads=1
        )
        self._config = dataclasses.replace(config, engine=own)
        self._seed = seed
        self._detector = speech_detectors(config.speech)
        self._silero = SileroModel()
        self._plain = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=1
        )
        engine = ctranslate2.load(
            own, max_batch=config.batch.batch_size, progress=lambda line: None
        )
        engine.warm_up(lambda line: None)
        self._engine = engine

    @property
    def languages(self) -> tuple[str, ...]:
        """What the model knows; one entry for an English-only model."""
        return self._engine.info.languages

    def speech(self, recording: Recording) -> tuple[float, float] | None:
        """Where Silero hears the first and the last voice, in seconds; None: nowhere.

        Silero by itself, not as the daemon uses it.
        """
        scores = self._silero.detector().score(_frames(load(recording)))
        (voiced,) = np.nonzero(scores >= _VOICED)
        if not len(voiced):
            return None
        frame_s = FRAME_SAMPLES / SAMPLE_RATE
        return float(voiced[0]) * frame_s, float(voiced[-1] + 1) * frame_s

    def plain(
        self, recording: Recording, *, beams: int, vad_filter: bool = False
    ) -> Reading:
        """faster-whisper on the whole recording, with its defaults otherwise."""
        samples = load(recording)
        before = time.process_time()
        found, _ = self._plain.transcribe(
            samples,
            language=recording.language,
            beam_size=beams,
            vad_filter=vad_filter,
        )
        segments = tuple(Segment(s.start, s.end, s.text) for s in found)
        return Reading(segments, time.process_time() - before)

    def file(self, recording: Recording) -> Reading:
        """``whisper-live transcribe`` on the whole recording."""
        before = time.process_time()
        segments = asyncio.run(self._transcribe(recording))
        return Reading(segments, time.process_time() - before)

    async def _transcribe(self, recording: Recording) -> tuple[Segment, ...]:
        worker = Worker(self._engine, self._config.batch, metrics=Metrics())
        running = asyncio.create_task(worker.run())
        transcriber = Transcriber(self._config, worker, self._detector)
        try:
            updates: list[Update] = []
            await transcriber.transcribe(
                recording.name,
                iter([load(recording)]),
                self._options(recording.language).session,
                updates.append,
            )
        finally:
            await worker.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return tuple(
            Segment(samples_to_s(s.start), samples_to_s(s.end), s.text)
            for update in updates
            for s in update.completed
        )

    def live(self, recordings: Sequence[Recording], *, streams: int) -> list[Reading]:
        """Live sessions in one simulation, so many at a time.

        Each stream's recordings follow one another, every one in a session of its own.
        """
        chance = random.Random(f"{self._seed} {recordings[0].name}")
        free = [0.0] + [chance.uniform(0, _STAGGER_S) for _ in range(streams - 1)]
        clients = []
        for recording in recordings:
            lane = free.index(min(free))
            client = self._stream(recording, starts_at=free[lane])
            free[lane] += len(client.samples) / SAMPLE_RATE + _BETWEEN_S
            clients.append(client)
        simulation = Simulation(
            Measured(self._engine), self._config, clients, workers=WORKERS
        )
        simulation.run()
        costs: defaultdict[str, float] = defaultdict(float)
        for call in simulation.calls:
            for request in call.requests:
                costs[request.session] += call.cost_s / len(call.requests)
        return [_reading(client, costs[client.session.name]) for client in clients]

    def _stream(self, recording: Recording, *, starts_at: float) -> Stream:
        quiet_s = self._config.speech.patience().hangover_ms / 1000 + _QUIET_AFTER_S
        samples = load(recording, quiet_after_s=quiet_s)
        speech = self._detector().score(_frames(samples))
        options = self._options(recording.language)
        return Stream(samples, speech, options, starts_at=starts_at)

    def _options(self, language: str | None) -> ClientOptions:
        """What a client's handshake comes to that wants all segments each time."""
        wishes = wire.handshake(
            client="bench", language=language, send_last_n_segments=0
        )
        options = read_options(wishes, defaults=self._config.speech)
        fitting = for_model(options.session, self.languages)
        return dataclasses.replace(options, language=fitting.language)


def _reading(client: Stream, engine_s: float) -> Reading:
    shown = tuple(views(client.told))
    stats = client.session.stats
    return Reading(
        segments=shown[-1].completed if shown else (),
        engine_s=engine_s,
        views=shown,
        suppressed=sum(stats.suppressed.values()),
        dropped=len(stats.dropped),
    )


def _frames(samples: Samples) -> Samples:
    """As ``[n, 512]``, the last one filled up with zeros."""
    missing = -len(samples) % FRAME_SAMPLES
    return np.pad(samples, (0, missing)).reshape(-1, FRAME_SAMPLES)
