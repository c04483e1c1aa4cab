"""What a room can tell its readers: the newest lines, the partial, its state.

Owns which lines are kept and how much of all that a reader has been told already (its
``Mark``).  Each line is written once, for all readers.  Knows nothing of sockets and
reads no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

from whisper_live.audio import samples_to_s
from whisper_live.client.captions import VTT_HEAD, vtt_block
from whisper_live.client.subtitles import Layout, split_into_cues, timed_words
from whisper_live.protocols import room_events
from whisper_live.protocols.room_events import State
from whisper_live.session.updates import Dropped, Segment, Update

__all__ = ["EVENTS", "SUBTITLES", "Mark", "NotKept", "RoomText", "View"]

# An hour of speech has some 100 KB of lines and as much of subtitles.
MOST_KEPT_BYTES = 1 << 19
MOST_KEPT_LINES = 2000
LATE_LINES = 100  # of these a reader who comes late is told
_PIECE_BYTES = 1 << 15  # that are written to one reader at a time


@dataclass(frozen=True, slots=True)
class Mark:
    """How much of a room somebody was told: all before this."""

    lines: int = 0  # ever published, not only those that are kept
    partial: int = 0  # changes of it
    state: int = 0


class NotKept(Exception):
    """The next line for this reader is not kept any more."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A line, or a span without text, in both forms."""

    event: bytes
    subtitle: bytes


class RoomText:
    """The text of one room."""

    def __init__(self, epoch: str, *, most_bytes: int = MOST_KEPT_BYTES) -> None:
        """``epoch`` are eight hex digits by which a reader knows this room again."""
        self._epoch = epoch
        self._most_bytes = most_bytes
        self._kept: deque[_Kept] = deque()
        self._kept_bytes = 0
        self._partial: Segment | None = None
        self._end = 0  # sample after the newest line
        self._newest = Mark()
        self._language: str | None = None
        self.state = State.WAITING
        # As they are written now.
        self._partial_event = room_events.partial(None)
        self._state_event = room_events.state(State.WAITING)

    @property
    def newest(self) -> Mark:
        """The mark of who was told everything."""
        return self._newest

    @property
    def end(self) -> int:
        """Sample after the newest line."""
        return self._end

    @property
    def _first(self) -> int:
        """The lines before those that are kept."""
        return self._newest.lines - len(self._kept)

    # -------------------------------------------------------------------- what happens

    def set_state(self, state: State, language: str | None = None) -> None:
        """Something is the case from now on; without speaker there is no partial."""
        self.state = state
        self._language = language or self._language
        self._state_event = room_events.state(state, self._language)
        self._newest = replace(self._newest, state=self._newest.state + 1)
        if state is not State.LIVE:
            self._show(None)

    def take(self, update: Update, *, offset: int = 0) -> None:
        """What a session tells that began ``offset`` samples after the room did."""
        if update.language is not None and update.language.code != self._language:
            self.set_state(self.state, update.language.code)
        interim = _moved(update.interim, offset) if update.interim else None
        completed = [_moved(segment, offset) for segment in update.completed]
        for segment, following in zip(completed, [*completed[1:], interim]):
            event = room_events.line(segment, self._next_id)
            self._keep(event, _subtitles(segment, following))
            self._end = segment.end
        for span in update.dropped:
            moved = replace(span, start=span.start + offset, end=span.end + offset)
            self._keep(room_events.dropped(moved, self._next_id), _note(moved))
            self._end = max(self._end, moved.end)
        self._show(interim)

    @property
    def _next_id(self) -> str:
        return f"{self._epoch}-{self._newest.lines + 1}"

    def _show(self, partial: Segment | None) -> None:
        if partial != self._partial:
            self._partial = partial
            self._partial_event = room_events.partial(partial)
            self._newest = replace(self._newest, partial=self._newest.partial + 1)

    def _keep(self, event: bytes, subtitle: bytes) -> None:
        self._kept.append(_Kept(event, subtitle))
        self._kept_bytes += len(event) + len(subtitle)
        self._newest = replace(self._newest, lines=self._newest.lines + 1)
        while len(self._kept) > 1 and (
            self._kept_bytes > self._most_bytes or len(self._kept) > MOST_KEPT_LINES
        ):
            gone = self._kept.popleft()
            self._kept_bytes -= len(gone.event) + len(gone.subtitle)

    # ----------------------------------------------------------------- who is told what

    def greet(self, last_event_id: str) -> tuple[bytes, Mark]:
        """What a reader is told first, and its mark then.

        Who was here before says by ``last_event_id`` what it has.
        """
        told = room_events.GREETING + self._state_event
        mark = Mark(state=self._newest.state)
        known = room_events.read_event_id(last_event_id)
        if known is None or known[0] != self._epoch:
            late = max(self._newest.lines - LATE_LINES, self._first)
            return told, replace(mark, lines=late)
        has = min(known[1], self._newest.lines)
        if has < self._first:
            told += room_events.missed(self._first - has)
            has = self._first
        return told, replace(mark, lines=has)

    def greet_subtitles(self, last_event_id: str = "") -> tuple[bytes, Mark]:
        """The head of the subtitles, and the mark of a reader who gets all of them.

        They have no ids.
        """
        return f"{VTT_HEAD}\n".encode(), replace(self._newest, lines=self._first)

    def events_since(self, mark: Mark) -> tuple[bytes, Mark]:
        """The next events behind a mark, and the mark behind them.

        Raises ``NotKept``.
        """
        told, lines = self._since(mark, lambda kept: kept.event)
        if lines < self._newest.lines:
            return b"".join(told), replace(mark, lines=lines)
        if mark.partial < self._newest.partial:
            told.append(self._partial_event)
        if mark.state < self._newest.state:
            told.append(self._state_event)
        return b"".join(told), self._newest

    def subtitles_since(self, mark: Mark) -> tuple[bytes, Mark]:
        """As ``events_since``, of the subtitles."""
        told, lines = self._since(mark, lambda kept: kept.subtitle)
        if lines < self._newest.lines:
            return b"".join(told), replace(mark, lines=lines)
        return b"".join(told), self._newest

    def subtitles(self) -> bytes:
        """All of them that are kept."""
        head, _ = self.greet_subtitles()
        return head + b"".join(kept.subtitle for kept in self._kept)

    def _since(
        self, mark: Mark, form: Callable[[_Kept], bytes]
    ) -> tuple[list[bytes], int]:
        """The next lines up to a piece, and how many there are up to their end."""
        if mark.lines < self._first:
            raise NotKept
        told, size, lines = [], 0, mark.lines
        for kept in islice(self._kept, mark.lines - self._first, None):
            if size >= _PIECE_BYTES:
                break
            told.append(form(kept))
            size += len(told[-1])
            lines += 1
        return told, lines


@dataclass(frozen=True, slots=True)
class View:
    """In which form a reader is told a room's text."""

    content_type: str
    greet: Callable[[RoomText, str], tuple[bytes, Mark]]
    since: Callable[[RoomText, Mark], tuple[bytes, Mark]]
    idle: bytes  # says nothing
    too_slow: bytes  # the last that a reader is told who does not keep up
    ends_with_speaker: bool


EVENTS = View(
    "text/event-stream",
    RoomText.greet,
    RoomText.events_since,
    room_events.IDLE,
    room_events.state(State.TOO_SLOW),
    ends_with_speaker=False,
)
SUBTITLES = View(
    "text/vtt",
    RoomText.greet_subtitles,
    RoomText.subtitles_since,
    b"\n",
    b"NOTE the reader did not keep up; more was said\n\n",
    ends_with_speaker=True,
)


def _moved(segment: Segment, offset: int) -> Segment:
    return replace(segment, start=segment.start + offset, end=segment.end + offset)


def _subtitles(segment: Segment, following: Segment | None) -> bytes:
    """The cues of a line, which stand at most until the next text begins."""
    words = timed_words(
        segment.text,
        samples_to_s(segment.start),
        samples_to_s(segment.end),
        segment.words,
    )
    until_s = samples_to_s(following.start) if following is not None else None
    blocks = []
    for cue in split_into_cues(words, Layout()):
        if until_s is not None and cue.start_s < until_s < cue.end_s:
            cue = replace(cue, end_s=until_s)
        blocks.append(f"{vtt_block(cue)}\n")
    return "".join(blocks).encode("utf-8", "replace")


def _note(span: Dropped) -> bytes:
    """WebVTT's comment about a span without text."""
    start_s, end_s = samples_to_s(span.start), samples_to_s(span.end)
    return (
        f"NOTE no text for {start_s:.3f} to {end_s:.3f} s: {span.reason}\n\n".encode()
    )
