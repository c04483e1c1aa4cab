"""What is given up first when there is more to read than the engine can, and in order.

Owns the steps, the delays at which each is taken, and how long it takes to come back.
Pure: ``now`` is an argument, and who takes a step does what it says.
"""

from __future__ import annotations

import enum

__all__ = ["LoadStep", "LoadSteps"]

_CALM_S = 3.0  # for which the delay is low before a step is taken back


class LoadStep(enum.IntEnum):
    """How much is given up, each with all before it."""

    NOTHING = 0
    SLOWER_INTERIMS = 1  # their interval has grown with the delay, and no preflights
    GREEDY_FINALS = 2  # one beam: a fifth to a quarter less time, some more errors


# Seconds that live requests wait for their call.  Admission stops at 2 s by default.
_TAKEN_AT_S = {LoadStep.SLOWER_INTERIMS: 0.15, LoadStep.GREEDY_FINALS: 0.6}
_LEFT_BELOW = 0.5  # of the delay at which a step was taken


class LoadSteps:
    """Follows the delay of one model's queue."""

    def __init__(self) -> None:
        self.step = LoadStep.NOTHING
        self._calm_since: float | None = None

    def update(self, delay_s: float, *, now: float) -> bool:
        """Take the newest delay; whether the step is another one now.

        Up at once, as far as the delay says; down one step after a calm while.
        """
        wanted = max(
            (step for step, at_s in _TAKEN_AT_S.items() if delay_s >= at_s),
            default=LoadStep.NOTHING,
        )
        if wanted > self.step:
            self.step, self._calm_since = wanted, None
            return True
        if self.step is LoadStep.NOTHING:
            return False
        if delay_s >= _TAKEN_AT_S[self.step] * _LEFT_BELOW:
            self._calm_since = None
            return False
        if self._calm_since is None:
            self._calm_since = now
        if now < self._calm_since + _CALM_S:
            return False
        self.step, self._calm_since = LoadStep(self.step - 1), now
        return True
