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
from whisper_live.inference.types import Word
from whisper_live.session.events import Segment

__all__ = ["Snapshot", "Transcript"]

Snapshot = tuple[Segment, ...]

_MOST_KEPT = 500  # completed segments repeated to a client that asked for all
_SHORTEST = ms_to_samples(10)  # a segment never ends where it starts
_CONTEXT_CHARACTERS = 1000  # committed text remembered as context for the engine


class Transcript:
    """What was said so far, as one client is shown it."""

    def __init__(self, *, send_last: int) -> None:
        self._most = send_last or _MOST_KEPT
        self._kept: deque[Segment] = deque()
        self._partial: Segment | None = None
        self._shown: Snapshot = ()
        self._end = 0
        self._context = ""

    @property
    def end(self) -> int:
        """Position after the newest completed segment."""
        return self._end

    @property
    def context(self) -> str:
        """The newest committed text."""
        return self._context

    @property
    def completed(self) -> Snapshot:
        """The completed segments that are still repeated."""
        return tuple(self._kept)

    def show(self, start: int, end: int, text: str) -> Snapshot | None:
        """Replace the partial; the snapshot to send, or None if nothing changed.

        ``end`` is that of the audio it was read from, which it does not pass.
        """
        if not text.strip():
            return None
        previous = self._partial
        if previous is not None:
            start = previous.start
        start = max(min(start, end - _SHORTEST), self._end)
        self._partial = Segment(start, max(end, start + _SHORTEST), text, False)
        if previous is not None and previous.text == text:
            return None
        return self._snapshot()

    def commit(
        self,
        segments: Sequence[Segment],
        *,
        until: int,
        partial: str = "",
        heard_to: int = 0,
    ) -> list[Snapshot]:
        """Complete ``segments``, which end by ``until``; snapshots to send, in order.

        ``partial`` is what is still open behind them, heard up to ``heard_to``.  If
        nothing is, the last segment is first shown as a partial of the very same
        text: the upstream client appends to its SRT file any last partial that
        differs from the last completed text, which would double the tail.  Where
        nothing was said after all, a partial that was shown is taken back; as no
        message may be empty, that needs an earlier segment.
        """
        completed = self._place(segments, until)
        shown, self._partial = self._partial, None
        if not completed:
            return [self._snapshot()] if shown is not None and self._kept else []
        if partial.strip():
            self._extend(completed)
            end = max(heard_to, until + _SHORTEST)
            self._partial = Segment(until, end, partial, False)
            return [self._snapshot()]
        snapshots = []
        *earlier, last = completed
        self._extend(earlier)
        if earlier or shown is None or shown.text != last.text:
            self._partial = replace(last, completed=False, words=())
            snapshots.append(self._snapshot())
            self._partial = None
        self._extend([last])
        snapshots.append(self._snapshot())
        return snapshots

    def forget_partial(self) -> None:
        """Its window failed: clients keep seeing it until there is something newer."""
        self._partial = None

    def _place(self, segments: Sequence[Segment], until: int) -> list[Segment]:
        """Clip to what is free: behind the last one, before ``until``, in order.

        The first takes the start that its partial was shown with; what finds no room
        at the end joins the one before it.
        """
        placed: list[Segment] = []
        at = self._end
        for segment in segments:
            if not segment.text.strip():
                continue
            start = segment.start
            if not placed and self._partial is not None:
                start = self._partial.start
            start = max(min(start, until - _SHORTEST), at)
            if start + _SHORTEST > until:
                assert placed, "a window lies behind what is completed"
                last = placed.pop()
                start = last.start
                segment = replace(
                    segment,
                    text=last.text + segment.text,
                    words=last.words + segment.words,
                )
            end = max(min(segment.end, until), start + _SHORTEST)
            words = tuple(_clip(word, start, end) for word in segment.words)
            placed.append(Segment(start, end, segment.text, True, words))
            at = end
        return placed

    def _extend(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            self._kept.append(segment)
            self._end = segment.end
            self._context = (self._context + segment.text)[-_CONTEXT_CHARACTERS:]
        # However few a client wants repeated, it must see each new one once.
        while len(self._kept) > max(self._most, len(segments)):
            self._kept.popleft()

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
        assert at <= received, "a segment passes the audio"


def _clip(word: Word, start: int, end: int) -> Word:
    first = min(max(word.start, start), end)
    return replace(word, start=first, end=min(max(word.end, first), end))
