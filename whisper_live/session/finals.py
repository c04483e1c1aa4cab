"""Windows that are decided, each waiting for the one request that gives its text.

Owns their order and the final that is tried in advance, while it is not yet certain
that the utterance is over.  One final is under way at a time: the first of the queue,
or the one in advance while the queue is empty.  Knows no audio, text or messages.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from whisper_live.inference.types import Outcome

__all__ = ["Final", "Finals"]


@dataclass(slots=True, eq=False)
class Final:
    """A window that is decided, or will be if speech does not resume."""

    start: int
    end: int
    request_id: int | None = None  # None: not submitted yet
    outcome: Outcome | None = None
    is_settled: bool = False  # in advance: its text will hardly change


class Finals:
    """One session's finals, oldest first."""

    def __init__(self) -> None:
        self._queue: deque[Final] = deque()
        self._advance: Final | None = None

    def __bool__(self) -> bool:
        """Whether a decided window has no text yet."""
        return bool(self._queue)

    @property
    def first(self) -> Final | None:
        """The oldest decided window."""
        return self._queue[0] if self._queue else None

    @property
    def advance(self) -> Final | None:
        """The final that is tried in advance."""
        return self._advance

    def begin_advance(self, start: int, end: int) -> Final:
        """Try ``start..end`` before it is decided."""
        assert not self._queue and self._advance is None, "one final at a time"
        self._advance = Final(start, end)
        return self._advance

    def give_up_advance(self) -> Final | None:
        """Speech went on, or the window became another one."""
        final, self._advance = self._advance, None
        return final

    def decide(self, start: int, end: int) -> None:
        """The window ``start..end`` is over.

        A final in advance that begins where it does takes its place: it had all the
        voice there was, and the few frames of silence that came after it change
        nothing.  Any other one must have been given up.
        """
        final, self._advance = self._advance, None
        if final is None:
            final = Final(start, end)
        assert final.start == start and final.end <= end, "another window's final"
        self._queue.append(final)

    def answer(self, outcome: Outcome) -> Final | None:
        """The final under way that ``outcome`` belongs to, now with its outcome."""
        final = self._advance or self.first
        if final is None or final.request_id != outcome.request_id:
            return None
        final.outcome = outcome
        return final

    def pop(self) -> Final:
        """The first one has its text, or never will."""
        return self._queue.popleft()

    def clear(self) -> list[int]:
        """Give everything up; the requests to cancel."""
        finals = [*self._queue, *([self._advance] if self._advance else [])]
        self._queue.clear()
        self._advance = None
        return [f.request_id for f in finals if f.request_id is not None]

    def check(self) -> None:
        """Invariants: in order, disjoint, and only one of them under way."""
        finals = list(self._queue)
        assert self._advance is None or not finals, "two finals at once"
        for left, right in zip(finals, finals[1:], strict=False):
            assert left.end <= right.start, "finals overlap"
            assert right.request_id is None, "finals out of order"
