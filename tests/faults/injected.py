"""The daemon with an engine that fails as told: ``python -m tests.faults.injected``.

Takes the flags of ``serve``; environment ``FAULT`` is one of ``lost`` (the GPU is gone
at the first call), ``hang`` (a call never returns), ``block`` (a call blocks the event
loop) and ``worker`` (a bug ends what starts the calls).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence

from whisper_live import cli
from whisper_live.config.model import Config
from whisper_live.errors import EngineUnavailable
from whisper_live.inference import worker
from whisper_live.inference.batching import Batcher
from whisper_live.inference.engine import Engine
from whisper_live.inference.types import Outcome, Request
from whisper_live.server import process as daemon
from whisper_live.testing.oracle import Behaviour, OracleDetector, OracleEngine
from whisper_live.vad.silero import Detector


class Lost(OracleEngine):
    async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        raise EngineUnavailable("CUDA failed with error", kind="device_lost")


class Blocking(OracleEngine):
    async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        time.sleep(3600)
        raise AssertionError("nobody waits for an hour")


def hanging() -> OracleEngine:
    return OracleEngine(Behaviour(hang_if=lambda request: True))


class Unstartable(Batcher):
    def take(self, *, now: float) -> list[Request] | None:
        if self.queue_depth:
            raise KeyError("a bug")
        return None


def without_calls() -> OracleEngine:
    setattr(worker, "Batcher", Unstartable)
    return OracleEngine()


ENGINES: dict[str, Callable[[], Engine]] = {
    "lost": Lost,
    "hang": hanging,
    "block": Blocking,
    "worker": without_calls,
}


def load(
    config: Config, progress: Callable[[str], None], *, is_live: bool = True
) -> tuple[Engine, Callable[[], Detector]]:
    return ENGINES[os.environ["FAULT"]](), OracleDetector


if __name__ == "__main__":
    daemon.load_engine = load
    sys.exit(cli.main(["serve", *sys.argv[1:]]))
