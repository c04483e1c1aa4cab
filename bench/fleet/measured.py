"""What the calls of a real model take on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from bench.fleet.costs import fit
from bench.fleet.daemon import options, start_s
from bench.quality.simulation import Measured, Simulation, Stream
from whisper_live.audio import FRAME_SAMPLES
from whisper_live.config.model import Config, EngineConfig
from whisper_live.inference.ctranslate2.engine import load
from whisper_live.testing.load.material import Speech, recite, shipped_sentences
from whisper_live.vad.whisper_boost import speech_detectors

__all__ = ["measure"]

_WORKERS = 1  # as the daemon has on two cores


def measure(model: str, clients: int, out: Path) -> None:
    """Let so many clients speak, and write the costs of the calls that this made."""
    config = Config()
    one_thread = EngineConfig(model=model, device="cpu", workers=1, threads=1)
    engine = load(one_thread, max_batch=config.batch.batch_size, progress=print)
    engine.warm_up(lambda line: None)
    sentences = shipped_sentences("demo" if model == "demo" else "meeting")
    detectors = speech_detectors(config.speech)
    streams = []
    for number in range(clients):
        samples = recite(sentences, number, Speech()).samples
        missing = -len(samples) % FRAME_SAMPLES
        frames = np.pad(samples, (0, missing)).reshape(-1, FRAME_SAMPLES)
        speech = detectors().score(frames)
        starts_at = start_s(number, 0)
        streams.append(Stream(samples, speech, options(config), starts_at=starts_at))
    simulation = Simulation(Measured(engine), config, streams, workers=_WORKERS)
    simulation.run()
    costs = fit(simulation.calls)
    seconds = [call.cost_s for call in simulation.calls]
    misses = [abs(costs.of(c.requests) - c.cost_s) for c in simulation.calls]
    costs.write(
        out,
        model=model,
        weights=engine.info.model,
        calls=len(seconds),
        seconds=round(sum(seconds), 2),
        missed_by=round(sum(misses) / sum(seconds), 3),
    )
    print(f"{len(seconds)} calls, {sum(seconds):.1f} s: {dataclasses.asdict(costs)}")
