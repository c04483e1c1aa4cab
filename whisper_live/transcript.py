"""The ordered segments of a session and what its client should see now.

Completed segments are append-only, ordered, disjoint and never edited.  At most one
partial stands behind them; its start stays where it was first shown, because one
client (iOS) knows segments by their start.  Costs the same after ten hours: only the
newest completed segments and the last words are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from whisper_live.audio import ms_to_samples
from whisper_live.events import Segment

__all__ = ["Snapshot", "Transcript"]

Snapshot = tuple[Segment, ...]

_MOST_KEPT = 500  # completed segments repeated to a client that asked for all
_SHORTEST = ms_to_samples(10)  # a segment never ends where it starts
_CONTEXT_CHARACTERS = 1000  # committed text remembered as context for the engine


class Transcript:
    """What was said so far, as one client is shown it."""

    def __init__(self, *, send_last: int) -> None:
        self._kept: deque[Segment] = deque(maxlen=send_last or _MOST_KEPT)
        self._partial: Segment | None = None
        self._shown: Snapshot = ()
        self._end = 0
        self._context = ""
        self._completed = 0

    @property
    def end(self) -> int:
        """Position after the newest completed segment."""
        return self._end

    @property
    def completed(self) -> int:
        """How many segments were completed since the session started."""
        return self._completed

    @property
    def context(self) -> str:
        """The newest committed text."""
        return self._context

    @property
    def shown(self) -> Snapshot:
        """What the client was last shown."""
        return self._shown

    def show(self, start: int, end: int, text: str) -> Snapshot | None:
        """Replace the partial; the snapshot to send, or None if nothing changed."""
        if not text.strip():
            return None
        start = max(self._partial.start if self._partial else start, self._end)
        end = max(end, start + _SHORTEST)
        previous, self._partial = self._partial, Segment(start, end, text, False)
        if previous is not None and previous.text == text:
            return None
        return self._snapshot()

    def commit(
        self, segments: Sequence[Segment], *, partial: str = "", limit: int
    ) -> list[Snapshot]:
        """Complete ``segments``; snapshots to send, in order, never an empty one.

        ``partial`` is what is still open behind them.  ``limit`` is the end of the
        received audio, which no segment may pass.  If nothing stays open, the last
        segment is first shown as a partial of the very same text: the upstream client
        appends to its SRT file any last partial that differs from the last completed
        text, which would double the tail.
        """
        completed = self._place(segments, limit)
        if not completed:
            self._partial = None
            return []
        snapshots = []
        last_shown = self._shown[-1] if self._shown else None
        *earlier, last = completed
        if not partial.strip():
            shows_last = (
                last_shown is not None
                and not last_shown.completed
                and last_shown.text == last.text
            )
            self._extend(earlier)
            if earlier or not shows_last:
                self._partial = replace(last, completed=False, words=())
                snapshots.append(self._snapshot())
            self._extend([last])
            self._partial = None
        else:
            self._extend(completed)
            start, end = self._end, max(limit, self._end + _SHORTEST)
            self._partial = Segment(start, end, partial, False)
        snapshots.append(self._snapshot())
        return snapshots

    def forget_partial(self) -> None:
        """Its window is over and nothing was heard in it."""
        self._partial = None

    def _place(self, segments: Sequence[Segment], limit: int) -> list[Segment]:
        """Clip to what is free: behind the last one, inside the audio, in order."""
        placed: list[Segment] = []
        at = self._end
        for segment in segments:
            if not segment.text.strip():
                continue
            first = self._partial is not None and not placed
            wanted = self._partial.start if first and self._partial else segment.start
            start = min(max(wanted, at), max(limit - _SHORTEST, at))
            end = max(min(segment.end, limit), start + _SHORTEST)
            placed.append(replace(segment, start=start, end=end, completed=True))
            at = end
        return placed

    def _extend(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            assert segment.start >= self._end, "completed segments overlap"
            self._kept.append(segment)
            self._end = segment.end
            self._completed += 1
            self._context = (self._context + segment.text)[-_CONTEXT_CHARACTERS:]

    def _snapshot(self) -> Snapshot:
        self._shown = (*self._kept, *((self._partial,) if self._partial else ()))
        return self._shown

    def check(self, *, received: int) -> None:
        """Invariants: ordered, disjoint, inside the audio, one partial and it last."""
        at = 0
        for index, segment in enumerate(self._shown):
            assert segment.start >= at, "segments overlap"
            assert segment.end > segment.start, "a segment has no length"
            assert segment.text.strip(), "a segment has no text"
            assert segment.completed or index == len(self._shown) - 1
            at = segment.end
