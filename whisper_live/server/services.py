"""What the connections of one server share; made once, by the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from whisper_live.config.model import Config
from whisper_live.inference.model_registry import ModelRegistry
from whisper_live.observability.metrics import Metrics
from whisper_live.server.access import Access
from whisper_live.server.admission import Admission
from whisper_live.server.handover import StateFolder
from whisper_live.server.resume import Resumption
from whisper_live.server.rooms import Rooms
from whisper_live.vad.silero import Detector

__all__ = ["Services"]


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections of a server share."""

    config: Config
    registry: ModelRegistry
    metrics: Metrics
    pool: Executor
    ids: Iterator[int]  # request ids
    detector: Callable[[], Detector]
    access: Access
    admission: Admission
    resumption: Resumption
    rooms: Rooms
    state: StateFolder | None = None  # where sessions wait for the next daemon
