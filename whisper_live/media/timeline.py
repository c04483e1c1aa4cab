"""Where a packet belongs: the rule for gaps, jumps and duplicates.

Pure arithmetic on container times.  A decoder's output is contiguous, so a hole in
the container's times must become silence or be given up; this module decides which.
"""

from __future__ import annotations

from collections import Counter

__all__ = ["Timeline"]

_IGNORED_S = 0.03  # WebM's times are whole milliseconds, browsers' jitter a few
_LONGEST_SILENCE_S = 30.0
_OLDEST_S = 0.5  # further back it is a clock that was set, not a packet sent twice
# There is no clock here, so what a peer's times can make of little audio is bounded by
# the audio itself.  Opus in DTX sends 20 ms in every 400, which needs 19 for 1.
_SILENCE_PER_AUDIO = 20.0
_LARGEST_BUDGET_S = 60.0


class Timeline:
    """Compares each packet's time with the audio decoded before it.

    ``place`` says what to do with a packet, ``advance`` reports what it decoded to.
    Silence is inserted up to 30 s at a time, and out of a budget that starts at 60 s
    and earns 20 s for every second decoded, up to 60 s; beyond that a gap is given up
    and positions go on from the new time ("rebase").
    """

    def __init__(self, notes: Counter[str]) -> None:
        self._notes = notes
        self._budget_s = _LARGEST_BUDGET_S
        self.restart()

    def restart(self) -> None:
        """The next packet's time stands for where we are."""
        self._expected_s: float | None = None
        self._last_s = 0.0  # length of the newest packet
        self._dropping = False  # the packet before was a duplicate

    def place(self, time_s: float | None) -> float | None:
        """Seconds of silence to insert before the packet; None: drop the packet."""
        if time_s is None:
            return 0.0
        if self._expected_s is None:
            self._expected_s = time_s
            return 0.0
        gap_s = time_s - self._expected_s
        # Sent twice: as old as a whole packet, give or take rounded times.  Alone a
        # short packet may be that late by jitter; behind one that was dropped, not.
        if -_OLDEST_S <= gap_s <= -0.9 * self._last_s and (
            gap_s < -_IGNORED_S or self._dropping
        ):
            self._dropping = True
            self._notes["duplicate"] += 1
            return None
        self._dropping = False
        if -_OLDEST_S <= gap_s <= _IGNORED_S:
            return 0.0
        self._expected_s = time_s
        if 0 < gap_s <= _LONGEST_SILENCE_S:
            if gap_s <= self._budget_s:
                self._budget_s -= gap_s
                self._notes["gap_filled"] += 1
                return gap_s
            self._notes["silence_refused"] += 1
        self._notes["rebase"] += 1
        return 0.0

    def advance(self, length_s: float) -> None:
        """A packet of this length was decoded."""
        if self._expected_s is not None:
            self._expected_s += length_s
        self._last_s = length_s
        earned_s = length_s * _SILENCE_PER_AUDIO
        self._budget_s = min(self._budget_s + earned_s, _LARGEST_BUDGET_S)
