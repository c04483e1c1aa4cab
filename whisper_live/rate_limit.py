"""How many of something may come in a time: a burst, and a rate after it."""

from __future__ import annotations

__all__ = ["Allowance", "RateLimit"]


class RateLimit:
    """Allows ``burst`` at once and ``per_s`` a second from then on (a token bucket)."""

    def __init__(self, burst: int, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = float(burst)
        self._since: float | None = None

    def allows(self, now: float) -> bool:
        """Whether one more may come; ``now`` are monotonic seconds."""
        if self._since is not None:
            earned = (now - self._since) * self._per_s
            self._left = min(self._left + earned, self._burst)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Allowance:
    """Something of which ``per_s`` is earned a second, and ``most`` kept.

    What costs more than is left may still be spent: its price is known only
    afterwards.  Then nothing is left until all of it has been earned.
    """

    def __init__(self, most: float, per_s: float) -> None:
        self._most = most
        self._per_s = per_s
        self._left = most
        self._since: float | None = None

    def spend(self, amount: float, now: float) -> None:
        """Take away; ``now`` are monotonic seconds."""
        self._earn(now)
        self._left -= amount

    def wait_s(self, amount: float, now: float) -> float:
        """How long until so much is left; 0 where it is."""
        self._earn(now)
        return max((amount - self._left) / self._per_s, 0.0)

    def _earn(self, now: float) -> None:
        if self._since is not None:
            earned = (now - self._since) * self._per_s
            self._left = min(self._left + earned, self._most)
        self._since = now
