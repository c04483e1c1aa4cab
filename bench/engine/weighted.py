"""``whisper-live serve`` with an engine that costs what a model costs and hears marks.

    python -m bench.engine.weighted --model /tmp/tiny --port 0 --audio-context full

Takes the flags of ``serve``.  Every call encodes and decodes on the given weights (see
``weights``); the words come from the oracle's marks, so that every one is accounted
for.  Speech is detected by the marks too, after Silero has been run for its cost.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.engine.weights import FULL_HOPS, Weights
from whisper_live import cli
from whisper_live.audio import Samples
from whisper_live.config.model import Config
from whisper_live.inference.ctranslate2.devices import choose, tune_process
from whisper_live.inference.ctranslate2.engine import CONTEXT_HOPS, ROOM_HOPS
from whisper_live.inference.ctranslate2.features import HOP_SAMPLES, FeatureCache
from whisper_live.inference.engine import Engine
from whisper_live.inference.types import Outcome, Request, RequestKind
from whisper_live.server import process as daemon
from whisper_live.testing.marks import read_words
from whisper_live.testing.oracle import Behaviour, OracleDetector, OracleEngine
from whisper_live.vad.silero import Detector
from whisper_live.vad.whisper_boost import speech_detectors

__all__ = ["WeightedOracle", "main"]


class WeightedOracle(OracleEngine):
    """The oracle's answers after a model's work."""

    def __init__(
        self, weights: Weights, *, least_hops: int, max_batch: int, workers: int
    ) -> None:
        super().__init__(Behaviour(), max_batch=max_batch, workers=workers)
        self._weights = weights
        self._contexts = [h for h in CONTEXT_HOPS if h >= least_hops]
        self._cache = FeatureCache(weights.mels)

    async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        """Work first, then the marks."""
        await asyncio.to_thread(self._work, batch)
        return await super().transcribe(batch)

    def forget(self, session: str) -> None:
        """Drop the features of a session that has ended."""
        self._cache.forget(session)

    def _work(self, batch: Sequence[Request]) -> None:
        rows, words = [], 0
        for request in batch:
            audio = request.audio
            if len(audio) < 4 * HOP_SAMPLES:
                continue
            rows.append(self._cache.features(request.session, request.start, audio))
            if request.kind is not RequestKind.PARTIAL:
                self._cache.forget(request.session)
            words = max(words, len(read_words(audio)))
        if rows:
            wanted = max(row.shape[1] for row in rows) + ROOM_HOPS
            hops = next((c for c in self._contexts if c >= wanted), FULL_HOPS)
            self._weights.spend(rows, beams=1, words=words, hops=hops)


class _PaidDetector:
    """Silero's cost, the marks' answer."""

    def __init__(self, silero: Detector) -> None:
        self._silero, self._marks = silero, OracleDetector()

    def score(self, frames: Samples) -> NDArray[np.float32]:
        self._silero.score(frames)
        return self._marks.score(frames)


def load(
    config: Config, progress: Callable[[str], None], *, is_live: bool = True
) -> tuple[Engine, Callable[[], Detector]]:
    """Stands where ``server.process.load_engine`` stands."""
    placement = choose(config.engine)
    tune_process()
    weights = Weights(
        config.engine.model,
        device=placement.device,
        compute_type=placement.compute_type,
        workers=placement.workers,
        threads=placement.threads,
    )
    context = config.engine.audio_context
    engine = WeightedOracle(
        weights,
        least_hops=FULL_HOPS if context in ("full", "auto") else int(context) * 100,
        max_batch=config.batch.batch_size,
        workers=placement.workers,
    )
    detector = speech_detectors(config.speech)
    return engine, lambda: _PaidDetector(detector())


def main() -> int:
    """Serve."""
    daemon.load_engine = load
    return cli.main(["serve", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
