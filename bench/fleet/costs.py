"""What an engine call takes, as a formula fitted to measured calls.

``measured`` lets a real engine answer the calls of a few simulated streams, each at
its CPU time, so that other work on the machine hardly matters.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.quality.simulation import Answers, Call
from whisper_live.audio import samples_to_s
from whisper_live.inference.types import Request, RequestKind
from whisper_live.testing.oracle import OracleEngine

__all__ = ["Costs", "Priced", "fit"]


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of a call, for itself and for what is in it."""

    call_s: float = 0.0
    row_s: float = 0.0  # each request
    audio_s: float = 0.0  # each second of a request's audio
    final_s: float = 0.0  # each final more than a partial: it has more beams

    def of(self, batch: Sequence[Request]) -> float:
        """What this batch takes."""
        each = (self.call_s, self.row_s, self.audio_s, self.final_s)
        return max(sum(a * b for a, b in zip(each, _amounts(batch))), 0.0)

    @classmethod
    def read(cls, path: Path) -> Costs:
        """As ``write`` wrote them."""
        return cls(**json.loads(path.read_text("utf-8"))["costs"])

    def write(self, path: Path, **about: object) -> None:
        """To a file, with what they are the costs of."""
        whole = {**about, "costs": asdict(self)}
        path.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")


def fit(calls: Sequence[Call]) -> Costs:
    """The costs that come nearest to those of these calls (least squares)."""
    amounts = np.array([_amounts(call.requests) for call in calls])
    seconds = np.array([call.cost_s for call in calls])
    found, *_ = np.linalg.lstsq(amounts, seconds, rcond=None)
    return Costs(*found.tolist())


def _amounts(batch: Sequence[Request]) -> tuple[float, ...]:
    return (
        1.0,
        float(len(batch)),
        sum(samples_to_s(len(request.audio)) for request in batch),
        float(sum(request.kind is RequestKind.FINAL for request in batch)),
    )


class Priced:
    """The oracle for ``Simulation``: it reads every word, at these costs."""

    def __init__(self, costs: Costs, *, most_rows: int) -> None:
        self._costs = costs
        self._oracle = OracleEngine(max_batch=most_rows)
        self._runner = asyncio.Runner()

    def answer(self, batch: Sequence[Request]) -> tuple[Answers, float]:
        """Outcomes of a batch and the seconds that it takes."""
        outcomes = self._runner.run(self._transcribe(batch))
        return outcomes, self._costs.of(batch)

    def forget(self, session: str) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Give its event loop back."""
        self._runner.close()

    async def _transcribe(self, batch: Sequence[Request]) -> Answers:
        return await self._oracle.transcribe(batch)
