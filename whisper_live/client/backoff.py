"""How long to wait before the next try to reach a server."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double, each shortened by chance, until it is given up.

    By chance, so that all clients of a server that restarts do not come at once.
    """

    first_s: float = 0.5
    most_s: float = 30.0
    give_up_s: float = math.inf  # since the connection broke

    def wait_s(self, tries: int, chance: float) -> float:
        """Seconds before the next try, after so many; ``chance`` is from 0 to 1."""
        longest = min(self.first_s * 2.0 ** min(tries, 32), self.most_s)
        return longest * (0.5 + 0.5 * chance)
