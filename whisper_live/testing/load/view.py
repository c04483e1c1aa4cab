"""What a client of WhisperLive's protocol has in front of it after each message.

Completed segments are collected, as every message repeats only the last of them; the
partial is replaced.  Pure; knows nothing of what was spoken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from whisper_live.protocols.whisperlive.client import (
    WireSegment,
    dropped_s,
    read_segments,
)
from whisper_live.testing.load.material import bare_words

__all__ = ["Shown", "View"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One segment as it is compared: plain words and its time."""

    start_s: float
    end_s: float
    words: tuple[str, ...]

    @classmethod
    def of(cls, segment: WireSegment) -> Shown:
        """A segment of a message."""
        words = tuple(bare_words(segment.text))
        return cls(segment.start_s, segment.end_s, words)


class View:
    """One client's text."""

    def __init__(self) -> None:
        self.completed: list[Shown] = []
        self.partial: Shown | None = None
        self.false_finals = 0  # completed segments that were changed or taken back
        self.dropped_s = 0.0

    def take(self, message: Mapping[str, Any]) -> list[Shown]:
        """Read a message; the segments that it completed."""
        self.dropped_s += dropped_s(message)
        segments = read_segments(message)
        if not segments:
            return []
        known = [Shown.of(s) for s in segments if s.completed]
        open_ones = [Shown.of(s) for s in segments if not s.completed]
        self.partial = open_ones[-1] if open_ones else None
        return self._complete(known)

    def _complete(self, repeated: list[Shown]) -> list[Shown]:
        """Find where the repeated tail begins; what stands behind our end is new."""
        if not repeated:
            return []
        at = min(self._places(repeated[0]), key=lambda at: self._misfit(repeated, at))
        same = self._same(repeated, at)
        old, new = self.completed[at + same :], repeated[same:]
        if old:  # a change in the middle leaves what stands behind it true
            matches = SequenceMatcher(None, old, new, autojunk=False)
            kept = sum(block.size for block in matches.get_matching_blocks())
            self.false_finals += len(old) - kept
        self.completed[at + same :] = new
        return new

    def _places(self, first: Shown) -> list[int]:
        """Where the tail may begin; a server that doubles a segment makes several."""
        equal = [i for i, shown in enumerate(self.completed) if shown == first]
        if equal:
            return equal
        # all new, or the first of the tail was changed
        later = (
            i
            for i, shown in enumerate(self.completed)
            if shown.start_s >= first.start_s
        )
        return [next(later, len(self.completed))]

    def _misfit(self, repeated: list[Shown], at: int) -> tuple[int, int]:
        """Fewest contradictions first, then most that is known already."""
        same = self._same(repeated, at)
        return len(self.completed) - at - same, -same

    def _same(self, repeated: list[Shown], at: int) -> int:
        old = self.completed[at:]
        same = 0
        while same < min(len(old), len(repeated)) and old[same] == repeated[same]:
            same += 1
        return same

    @property
    def words(self) -> list[str]:
        """The whole text, the partial last."""
        words = [word for shown in self.completed for word in shown.words]
        return words + list(self.partial.words if self.partial else ())
