"""The largest number for which a trial succeeds: doubling, then bisection.

Pure: what a trial is and what it measures is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Search", "largest"]


class Search:
    """Asks for trials (``next``), is told how they ended (``learn``), can end any time.

    ``good`` is the largest n that succeeded (0: none), ``bad`` the smallest that failed
    (None: none).  Assumes that what fails for n fails for more, so nothing is asked
    twice and nothing that is known to be hopeless.
    """

    def __init__(
        self, *, start: int = 1, most: int = 256, step: int = 1, share: float = 0.0
    ) -> None:
        """``step`` and ``share`` (of ``good``): how far apart the two may stay."""
        self.good = 0
        self.bad: int | None = None
        self._start, self._most = min(start, most), most
        self._step, self._share = step, share

    def learn(self, n: int, succeeded: bool) -> None:
        """A trial with ``n`` ended so; trials that were not asked for count as well."""
        if not succeeded:
            self.bad = n if self.bad is None else min(self.bad, n)
            if self.good >= self.bad:
                self.good = 0  # it was luck
        elif self.bad is None or n < self.bad:
            self.good = max(self.good, n)

    def next(self) -> int | None:
        """The next n to try; None when the largest is known well enough."""
        if self.bad is None:
            if self.good >= self._most:
                return None
            wanted = max(self._start, 2 * self.good)
            return min(wanted, self._most)
        if self.bad - self.good <= max(self._step, self._share * self.good):
            return None
        return (self.good + self.bad) // 2


def largest(
    succeeds: Callable[[int], bool], *, start: int = 1, most: int = 256, step: int = 1
) -> int:
    """The largest n up to ``most`` that succeeds, or 0; exact within ``step``."""
    search = Search(start=start, most=most, step=step)
    while (n := search.next()) is not None:
        search.learn(n, succeeds(n))
    return search.good
