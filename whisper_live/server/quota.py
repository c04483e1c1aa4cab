"""How much one caller may ask for in a minute, by its key or else its address.

Counts requests, and seconds of audio once they are known.  Reads the clock that it is
given.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from whisper_live.config.model import LimitConfig
from whisper_live.errors import Overloaded
from whisper_live.rate_limit import Allowance
from whisper_live.server.access import Caller

__all__ = ["Quota"]

# Who is forgotten has all of its allowance again: addresses are anybody's to invent,
# and each costs some 300 bytes.
_MOST_CALLERS = 10_000


class Quota:
    """The allowances of one server's callers."""

    def __init__(self, limits: LimitConfig, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._requests = _Allowances(limits.requests_per_minute)
        self._audio_s = _Allowances(limits.audio_s_per_minute)

    def ask(self, caller: Caller) -> None:
        """Count one request; raises ``Overloaded`` where it is one too many."""
        now = self._clock()
        for allowances, cost, what in (
            (self._requests, 1.0, "requests"),
            (self._audio_s, 0.0, "seconds of audio"),
        ):
            if wait_s := allowances.spend(caller, cost, cost, now):
                raise Overloaded(
                    f"too many {what} a minute", wait_minutes=wait_s / 60, kind="rate"
                )

    def heard(self, caller: Caller, seconds: float) -> None:
        """Count audio that came with a request."""
        self._audio_s.spend(caller, seconds, -math.inf, self._clock())


class _Allowances:
    def __init__(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self._of: OrderedDict[tuple[str, str], Allowance] = OrderedDict()

    def spend(self, caller: Caller, amount: float, least: float, now: float) -> float:
        """Take it where ``least`` is left; how long that is still to come, else 0."""
        if not self._per_minute:
            return 0.0
        key = caller.key_name
        name = ("address", caller.place) if key is None else ("key", key)
        allowance = self._of.get(name)
        if allowance is None:
            allowance = Allowance(self._per_minute, self._per_minute / 60)
            self._of[name] = allowance
        self._of.move_to_end(name)
        if len(self._of) > _MOST_CALLERS:
            self._of.popitem(last=False)
        if wait_s := allowance.wait_s(least, now):
            return wait_s
        allowance.spend(amount, now)
        return 0.0
