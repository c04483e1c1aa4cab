"""The largest number for which a trial succeeds: doubling, then bisection.

Pure: a trial is a function, what it measures is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["largest"]


def largest(
    succeeds: Callable[[int], bool], *, start: int = 1, most: int = 256, step: int = 1
) -> int:
    """The largest n up to ``most`` that succeeds, or 0; exact within ``step``.

    Assumes that what fails for n fails for more.  A trial is asked for each n once.
    """
    good, bad = 0, most + 1
    n = min(start, most)
    while n < bad:
        if succeeds(n):
            good = n
            if good == most:
                return most
            n = min(2 * n, most)
        else:
            bad = n
    while bad - good > step:
        middle = (good + bad) // 2
        if succeeds(middle):
            good = middle
        else:
            bad = middle
    return good
