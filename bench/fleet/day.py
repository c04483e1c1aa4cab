"""A day of many clients before several daemons behind one balancer.

Clients come at random, at a rate that follows the hour, stay for a time drawn from an
exponential distribution, and go where the fewest are.  Who finds no place is told to
wait and counts as turned away.  A rolling restart takes one daemon after the other out;
its clients resume on the others.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["DAY_S", "OFFICE_HOURS", "Day", "Outcome"]

DAY_S = 86_400.0
# Arrivals in each hour over those of the busiest: two peaks and a quiet night.
OFFICE_HOURS = (
    *(0.02, 0.01, 0.01, 0.01, 0.02, 0.05, 0.15, 0.4, 0.75, 0.95, 1.0, 0.95),
    *(0.7, 0.85, 0.95, 0.9, 0.8, 0.6, 0.4, 0.3, 0.2, 0.15, 0.08, 0.04),
)


@dataclass
class Outcome:
    """What clients met with."""

    came: int = 0
    turned_away: int = 0
    moved: int = 0  # to another daemon, by a restart
    homeless: int = 0  # of them, those for whom no other had a place
    busiest_came: int = 0  # in the busiest hour...
    busiest_turned_away: int = 0  # ...and of them
    most: int = 0  # at a time
    # Milliseconds of sessions by how many their daemon had then.
    beside_ms: Counter[int] = field(default_factory=Counter)

    @property
    def turned_away_share(self) -> float:
        """Of all who came."""
        return self.turned_away / max(self.came, 1)

    def beside(self, share: float) -> int:
        """How many a daemon has at most, in this share of all sessions' time."""
        left = share * sum(self.beside_ms.values())
        for count in sorted(self.beside_ms):
            left -= self.beside_ms[count]
            if left <= 0:
                return count
        return 0


@dataclass(frozen=True)
class Day:
    """So many daemons with so many places each, and their clients."""

    daemons: int
    places: int
    busiest: float  # sessions at a time in the busiest hour, if nobody is turned away
    session_s: float = 600.0  # on average
    hours: Sequence[float] = OFFICE_HOURS
    restart_at: float | None = None  # second of the day
    out_s: float = 60.0  # how long each daemon is out, one after the other
    seed: int = 0

    def run(self) -> Outcome:
        """From midnight to midnight."""
        return _Running(self).run()

    def arrivals(self, chance: random.Random) -> Iterator[float]:
        """When clients come."""
        at, rate = 0.0, self.busiest / self.session_s
        while (at := at + chance.expovariate(rate)) < DAY_S:
            hour = int(at / DAY_S * len(self.hours))
            if chance.random() < self.hours[hour]:
                yield at


class _Running:
    def __init__(self, day: Day) -> None:
        self._day = day
        self._chance = random.Random(day.seed)
        self._serving: list[set[int]] = [set() for _ in range(day.daemons)]
        self._since = [0.0] * day.daemons
        self._is_out = [False] * day.daemons
        self._where: dict[int, int] = {}  # client to daemon
        self._outcome = Outcome()
        self._now = 0.0

    def run(self) -> Outcome:
        order = itertools.count()
        arrivals = self._day.arrivals(random.Random(f"{self._day.seed} arrivals"))
        agenda = [(at, next(order), "come", 0) for at in arrivals]
        agenda += [(at, next(order), what, who) for at, what, who in self._restarts()]
        heapq.heapify(agenda)
        clients = itertools.count()
        while agenda:
            self._now, _, what, who = heapq.heappop(agenda)
            if what == "come":
                client = next(clients)
                if self._come(client):
                    leaves_at = self._now + self._chance.expovariate(
                        1 / self._day.session_s
                    )
                    heapq.heappush(agenda, (leaves_at, next(order), "leave", client))
            elif what == "leave":
                self._leave(who)
            elif what == "stop":
                self._stop(who)
            else:
                self._is_out[who] = False
        return self._outcome

    def _restarts(self) -> Iterator[tuple[float, str, int]]:
        if self._day.restart_at is None:
            return
        for daemon in range(self._day.daemons):
            at = self._day.restart_at + daemon * self._day.out_s
            yield at, "stop", daemon
            yield at + self._day.out_s, "start", daemon  # before the next one's stop

    def _come(self, client: int) -> bool:
        hours = self._day.hours
        is_busiest = hours[int(self._now / DAY_S * len(hours))] == max(hours)
        self._outcome.came += 1
        self._outcome.busiest_came += is_busiest
        if not self._place(client):
            self._outcome.turned_away += 1
            self._outcome.busiest_turned_away += is_busiest
            return False
        self._outcome.most = max(self._outcome.most, len(self._where))
        return True

    def _place(self, client: int) -> bool:
        running = [n for n, is_out in enumerate(self._is_out) if not is_out]
        daemon = min(running, key=lambda n: len(self._serving[n]), default=None)
        if daemon is None or len(self._serving[daemon]) >= self._day.places:
            return False
        self._account(daemon)
        self._serving[daemon].add(client)
        self._where[client] = daemon
        return True

    def _leave(self, client: int) -> None:
        daemon = self._where.pop(client, None)
        if daemon is not None:
            self._account(daemon)
            self._serving[daemon].remove(client)

    def _stop(self, daemon: int) -> None:
        self._account(daemon)
        self._is_out[daemon] = True
        leaving, self._serving[daemon] = self._serving[daemon], set()
        for client in sorted(leaving):
            del self._where[client]
            self._outcome.moved += 1
            self._outcome.homeless += not self._place(client)

    def _account(self, daemon: int) -> None:
        count = len(self._serving[daemon])
        self._outcome.beside_ms[count] += count * round(
            1000 * (self._now - self._since[daemon])
        )
        self._since[daemon] = self._now
