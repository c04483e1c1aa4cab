"""How many of something may come in a time: a burst, and a rate after it."""

from __future__ import annotations

__all__ = ["RateLimit"]


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
