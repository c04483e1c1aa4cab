"""The open window and the partial requests that read it while it grows.

Owns where the window starts, how far it was read, which readings are under way and
when the next is due, and the stabiliser that makes one text of them.  A reading of a
window that has ended or was shortened since is stale and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_live.audio import s_to_samples
from whisper_live.config.model import StreamConfig
from whisper_live.inference.types import Cancelled, Hypothesis, Outcome
from whisper_live.session.local_agreement import Stabiliser

__all__ = ["Reading", "Readings"]

_BUSY_S = 0.5  # delay at which readings are at their longest interval
_MOST_UNDER_WAY = 2  # one running, one queued


@dataclass(slots=True, eq=False)
class Reading:
    """One look at the open window, under way."""

    window: int
    start: int
    end: int
    is_withdrawn: bool = False


class Readings:
    """One session's readings."""

    def __init__(self, stream: StreamConfig) -> None:
        self.stabiliser = Stabiliser()
        self._floor = stream.partial_floor_s
        self._ceiling = stream.partial_interval_s
        self._window = 0  # counts windows, so that stale readings can be told
        self._start = 0
        self._asked_to = 0  # end of the newest reading asked for...
        self._heard_to = 0  # ...and of the newest that came back
        self._under_way: dict[int, Reading] = {}

    @property
    def start(self) -> int:
        """Where the open window starts."""
        return self._start

    def open(self, start: int) -> None:
        """A new window; nothing was heard in it yet."""
        self._window += 1
        self._start = self._asked_to = self._heard_to = start
        self.stabiliser.reset()

    def close(self) -> None:
        """The window is decided: what still reads it is stale."""
        self._window += 1

    def cut(self, at: int, words: int) -> None:
        """Its first ``words`` words are decided and it starts at ``at`` from now on."""
        self._window += 1
        self._start = at
        self.stabiliser.cut(words)

    def is_due(self, position: int, *, delay_s: float) -> bool:
        """Whether enough new audio stands for another reading.

        The interval grows with the delay of what was asked and heard before.  While
        one is under way, only a much newer one is due: it takes the other's place in
        the queue, or waits behind it.
        """
        if len(self._under_way) >= _MOST_UNDER_WAY:
            return False
        busy = min(delay_s / _BUSY_S, 1.0)
        if any(r.window == self._window for r in self._under_way.values()):
            busy = 1.0
        interval_s = self._floor + (self._ceiling - self._floor) * busy
        return position - self._asked_to >= s_to_samples(interval_s)

    def begin(self, request_id: int, end: int, *, is_withdrawn: bool = False) -> None:
        """The window up to ``end`` is being read."""
        self._under_way[request_id] = Reading(
            self._window, self._start, end, is_withdrawn
        )
        self._asked_to = max(self._asked_to, end)

    def heard(self, end: int) -> None:
        """The window was heard up to ``end``."""
        self._asked_to = max(self._asked_to, end)
        self._heard_to = max(self._heard_to, end)

    def finish(self, outcome: Outcome) -> Reading | None:
        """The reading that ``outcome`` belongs to, if it still means something."""
        reading = self._under_way.pop(outcome.request_id, None)
        if reading is None or reading.window != self._window:
            return None
        if isinstance(outcome, Hypothesis):
            self.heard(reading.end)
            return reading
        if isinstance(outcome, Cancelled):
            # What it was to read is due again; a failure waits for its next turn.
            ends = (r.end for r in self._under_way.values() if r.window == self._window)
            self._asked_to = max(ends, default=self._heard_to)
        return None

    def withdraw(self) -> list[int]:
        """Requests to cancel; one that runs already may still be heard."""
        ids = [i for i, r in self._under_way.items() if not r.is_withdrawn]
        for request_id in ids:
            self._under_way[request_id].is_withdrawn = True
        return ids

    def check(self) -> None:
        """Invariants: bounded, and never read further than asked."""
        wanted = [r for r in self._under_way.values() if not r.is_withdrawn]
        assert len(wanted) <= _MOST_UNDER_WAY, "too many partials"
        assert self._heard_to <= self._asked_to
