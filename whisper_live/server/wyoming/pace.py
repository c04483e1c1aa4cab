"""Whether audio comes from a microphone, at the pace of time, or faster from a file.

A recording is read to its end: a pause in it ends no command, and nobody waits for an
answer before all of it was sent.  Pure: times are given.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Pace"]

_RECENT_S = (
    1.0  # of audio; what a satellite kept from before the wake word is forgotten
)
_LEAST_S = 0.3  # of audio, below which the pace says nothing
_RECORDED = 1.5  # times real time; a server reads no faster than `audio-rate`, 2


class Pace:
    """Of one stream; ``now`` are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._marks = deque([(0.0, now)])  # audio taken by a moment, and the moment

    def took(self, audio_s: float, now: float) -> None:
        """So much has been taken in all."""
        if audio_s > self._marks[-1][0]:
            self._marks.append((audio_s, now))
        while len(self._marks) > 2 and audio_s - self._marks[1][0] >= _RECENT_S:
            self._marks.popleft()

    def is_recorded(self, now: float) -> bool:
        """Whether the newest second came faster than anybody speaks."""
        audio_s = self._marks[-1][0] - self._marks[0][0]
        took_s = now - self._marks[0][1]
        return audio_s >= _LEAST_S and audio_s > _RECORDED * took_s
