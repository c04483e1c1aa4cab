"""How many may be served at a time: places, and when one is likely to be free.

Whoever wants the engine leases a place and gives it back: a live session, and whatever
else will cost the engine time.  Reads the clock that it is given.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus

from whisper_live.config.model import LimitConfig
from whisper_live.errors import Overloaded
from whisper_live.server.access import Caller

__all__ = ["Admission", "Lease", "place_page"]

_GUESS_S = 120.0  # told to who waits while nothing is known
_SOONEST_S = 1.0  # "now" would only bring the client back to be refused again
_NEWEST_SHARE = 0.2  # of the newest session in the mean length


@dataclass(eq=False, slots=True)
class Lease:
    """One place, taken."""

    caller: Caller
    place: str  # the caller's
    since: float
    behind_s: Callable[[], float]  # how much later than it was sent audio is taken in


class Admission:
    """Leases the places of one server."""

    def __init__(
        self,
        limits: LimitConfig,
        *,
        clock: Callable[[], float],
        queue_delay_s: Callable[[str], float],
    ) -> None:
        """``queue_delay_s`` tells how long requests to a model wait for a call."""
        self._limits = limits
        self._clock = clock
        self._queue_delay_s = queue_delay_s
        self._leases: set[Lease] = set()
        self._session_s: float | None = None  # smoothed length of those that ended
        self._is_closed = False

    def lease(
        self,
        caller: Caller,
        model: str,
        *,
        behind_s: Callable[[], float] = lambda: 0.0,
    ) -> Lease:
        """A place for one more session of this model.

        To be followed by ``release``.  Raises ``Overloaded`` if it cannot be carried.
        """
        limits, leases, place = self._limits, self._leases, caller.place
        if self._is_closed:
            raise Overloaded("restarting", wait_minutes=0.1, kind="draining")
        if len(leases) >= limits.max_sessions:
            self._turn_away("all sessions are taken", "capacity", leases)
        if limit := limits.max_sessions_per_address:
            same = [held for held in leases if held.place == place]
            if len(same) >= limit:
                self._turn_away("this address has its sessions", "address", same)
        if (limit := limits.max_sessions_per_key) and caller.key_name is not None:
            same = [held for held in leases if held.caller.key_name == caller.key_name]
            if len(same) >= limit:
                self._turn_away("this key has its sessions", "key", same)
        if why := self._overload(model):
            self._turn_away(why, "overload", leases)
        lease = Lease(caller, place, self._clock(), behind_s)
        leases.add(lease)
        return lease

    def has_place(self, model: str) -> bool:
        """Whether a session of this model would be let in, whoever asks."""
        if self._is_closed or len(self._leases) >= self._limits.max_sessions:
            return False
        return not self._overload(model)

    def release(self, lease: Lease) -> None:
        """The session is over; how long it took tells when the next place is free."""
        self._leases.remove(lease)
        took_s = self._clock() - lease.since
        mean_s = took_s if self._session_s is None else self._session_s
        self._session_s = mean_s + _NEWEST_SHARE * (took_s - mean_s)

    def withdraw(self, lease: Lease) -> None:
        """The place was not used after all."""
        self._leases.remove(lease)

    def close(self) -> None:
        """Nobody is let in any more."""
        self._is_closed = True

    def behind_s(self) -> float:
        """How late audio is taken in, by the middle one of all sessions."""
        return statistics.median([held.behind_s() for held in self._leases] or [0.0])

    def _overload(self, model: str) -> str:
        """Why one more session would have its text too late; empty if it would not."""
        limit_s = self._limits.max_queue_delay_s
        if limit_s and (delay_s := self._queue_delay_s(model)) > limit_s:
            return f"requests wait {delay_s:.1f} s"
        if limit_s and (late_s := self.behind_s()) > limit_s:
            return f"audio is read {late_s:.1f} s late"
        return ""

    def _turn_away(self, why: str, kind: str, holders: Collection[Lease]) -> None:
        """Tell when the first of ``holders`` is likely to leave, at the latest."""
        waits_s = []
        if holders and self._session_s is not None:
            # Of N sessions that last T on average, one ends every T / N.
            waits_s.append(self._session_s / len(holders))
        if holders and (limit := self._limits.max_session_s):
            first = min(held.since for held in holders)
            waits_s.append(max(limit - (self._clock() - first), 0.0))
        wait_s = max(min(waits_s, default=_GUESS_S), _SOONEST_S)
        raise Overloaded(why, wait_minutes=wait_s / 60, kind=kind)


def place_page(is_ready: bool, admission: Admission) -> tuple[HTTPStatus, str]:
    """Status and text of ``/readyz/place``, by which a load balancer sends new clients.

    Full is 404 and not 503: HAProxy (``http-check disable-on-404``) then sends nobody
    new, and still those who come back to a session that waits for them here.
    """
    if not is_ready:
        return HTTPStatus.SERVICE_UNAVAILABLE, "not ready\n"
    if not admission.has_place(""):
        return HTTPStatus.NOT_FOUND, "no place\n"
    return HTTPStatus.OK, "a place\n"
