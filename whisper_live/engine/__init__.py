"""The engine seam: a batch of requests goes in, one outcome per request comes out.

``local`` runs CTranslate2, ``oracle`` is the test instrument that reads word numbers
out of the samples.  Sessions, batching and the worker know only what stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from whisper_live.events import Outcome, Request

__all__ = ["Engine", "EngineInfo"]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the rest of the server needs to know about a loaded engine."""

    name: str  # "local" or "oracle"
    model: str  # as the operator named it
    device: str  # "cpu", "cuda"
    compute_type: str  # "int8", "float16", ...; "" where it means nothing
    languages: tuple[str, ...]  # ISO codes; one entry for an English-only model
    max_batch: int  # rows in one call
    max_window_s: float = 30.0
    workers: int = 1  # calls that may run at the same time
    is_demo: bool = False


class Engine(Protocol):
    """A loaded, warmed-up model."""

    @property
    def info(self) -> EngineInfo:
        """Facts that do not change while the engine lives."""

    async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        """Transcribe one batch; outcomes in the order of the requests.

        Never raises for a bad row: that row's outcome is ``RequestFailed``.  Raises
        ``EngineUnavailable`` only when no call can succeed any more.
        """

    async def close(self) -> None:
        """Let go of the model; calls after this raise ``EngineUnavailable``."""
