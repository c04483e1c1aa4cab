"""The open window, the requests that read it while it grows, and windows decided.

A window is the audio from where an utterance began, or was cut last, to where it will
end.  While it is open, interim requests read it again and again.  At a pause its final
is requested before it is certain that the utterance is over (preflight): if speech
does not resume, the text is there when the endpoint is.  A decided window waits for
its text: one final at a time is under way, which takes more than one request where the
engine answers only the first part of it.

Knows no audio and no messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from whisper_live.audio import SAMPLE_RATE, s_to_samples
from whisper_live.config.model import StreamConfig
from whisper_live.inference.types import Cancelled, Hypothesis, Outcome
from whisper_live.session.commit import Cut, Stitch
from whisper_live.session.local_agreement import LocalAgreement

__all__ = [
    "MOST_STUCK",
    "UNREAD",
    "DecidedWindows",
    "Final",
    "InterimRequest",
    "Window",
]

UNREAD = "unread"  # why a span is dropped: voice that the engine would not read
# Whisper closes an answer up to 0.4 s before its last word ends ("Friday. day." came of
# reading on there), and up to 0.95 s where it only counts whole seconds, as base does
# in short contexts ("$900. $200."); where words were really missing, 1.9 to 4.2 s were
# left.
_LOOSE_END = s_to_samples(0.4)  # behind an answer: still its last word
_LOOSE_SECOND = s_to_samples(1.0)  # the same, where the answer ends at a whole second
_LEAST_UNREAD = s_to_samples(0.2)  # voice behind that which is worth a further reading
MOST_STUCK = 2  # readings that go no further before the rest is given up

_BUSY_S = 0.5  # delay at which interim requests are at their longest interval
_MOST_UNDER_WAY = 2  # one running, one queued
_LEAST_PROGRESS = s_to_samples(0.1)  # of a reading that goes on behind another


@dataclass(slots=True, eq=False)
class InterimRequest:
    """One reading of the open window, under way."""

    window: int
    start: int
    end: int
    is_withdrawn: bool = False


@dataclass(slots=True, eq=False)
class Final:
    """A window that is decided, or will be if speech does not resume."""

    start: int
    end: int
    request_id: int | None = None  # the newest; None: not submitted yet
    readings: list[Hypothesis] = field(default_factory=list)  # one behind the other
    read_to: int = 0  # where the readings end
    stuck: int = 0  # readings in a row that went no further
    outcome: Outcome | None = None  # the last one: nothing more is asked for
    is_settled: bool = False  # of a preflight: its text will hardly change
    _loose: int = _LOOSE_END  # by how much the newest reading may end too early

    def __post_init__(self) -> None:
        self.read_to = self.start

    def read_on(self, hypothesis: Hypothesis) -> None:
        """One more reading, of all behind those before it."""
        end = self.end if hypothesis.read_to is None else hypothesis.read_to
        is_further = end >= min(self.read_to + _LEAST_PROGRESS, self.end)
        self.stuck = 0 if is_further else self.stuck + 1
        is_whole_second = is_further and (end - self.read_to) % SAMPLE_RATE == 0
        self._loose = _LOOSE_SECOND if is_whole_second else _LOOSE_END
        self.readings.append(hypothesis)
        self.read_to = max(self.read_to, min(end, self.end))

    def is_unread(self, voiced: Callable[[int, int], int]) -> bool:
        """Whether there is voice behind what was read.

        ``voiced(start, end)`` counts the samples of voice in a span.
        """
        return voiced(self.read_to + self._loose, self.end) >= _LEAST_UNREAD


class Window:
    """The window that one session has open, one after the other.

    ``agreement`` makes one text of what its readings say; how often they contradict
    each other is remembered from window to window.
    """

    def __init__(self, stream: StreamConfig) -> None:
        self.agreement = LocalAgreement()
        self._floor = stream.partial_floor_s
        self._ceiling = stream.partial_interval_s
        self._number = 0  # counts windows, so that stale readings can be told
        self._is_open = False
        self._start = 0
        self._asked_to = 0  # end of the newest reading asked for...
        self._heard_to = 0  # ...and of the newest that came back
        self._under_way: dict[int, InterimRequest] = {}
        self._preflight: Final | None = None
        self._stitch: Stitch | None = None  # where a window was cut last

    # --------------------------------------------------------------- its beginning, end

    @property
    def is_open(self) -> bool:
        """Whether an utterance goes on."""
        return self._is_open

    @property
    def start(self) -> int:
        """Where it begins, or began if it is closed."""
        return self._start

    def open(self, start: int) -> None:
        """A new window; nothing was heard in it yet."""
        assert self._preflight is None, "the preflight of another window"
        self._number += 1
        self._is_open = True
        self._start = self._asked_to = self._heard_to = start
        self.agreement.reset()

    def cut(self, cut: Cut) -> None:
        """Its first words are decided, and it begins behind them from now on."""
        self._number += 1
        self._start = cut.at
        self._stitch = cut.stitch
        self.agreement.cut(cut.words)

    def decide(self, end: int) -> Final:
        """It is over at ``end``: the final that gives its text.

        A preflight takes that place: it had all the voice there was, and the few
        frames of silence that came after it change nothing.  One that reads beyond
        ``end`` must have been given up.
        """
        final, self._preflight = self._preflight, None
        if final is None:
            final = Final(self._start, end)
        assert final.start == self._start and final.end <= end, "another window's final"
        self._number += 1
        self._is_open = False
        return final

    def stitch_of(self, start: int) -> Stitch | None:
        """The cut that a window beginning at ``start`` was made by, if it was."""
        stitch = self._stitch
        return stitch if stitch is not None and stitch.at == start else None

    # ----------------------------------------------------------------- interim requests

    def is_due(self, position: int, *, delay_s: float) -> bool:
        """Whether enough new audio stands for another reading.

        The interval grows with the delay of what was asked and heard before.  While
        one is under way, only a much newer one is due: it takes the other's place in
        the queue, or waits behind it.
        """
        if len(self._under_way) >= _MOST_UNDER_WAY:
            return False
        busy = min(delay_s / _BUSY_S, 1.0)
        if any(r.window == self._number for r in self._under_way.values()):
            busy = 1.0
        interval_s = self._floor + (self._ceiling - self._floor) * busy
        return position - self._asked_to >= s_to_samples(interval_s)

    def begin(self, request_id: int, end: int, *, is_withdrawn: bool = False) -> None:
        """It is being read up to ``end``."""
        self._under_way[request_id] = InterimRequest(
            self._number, self._start, end, is_withdrawn
        )
        self._asked_to = max(self._asked_to, end)

    def heard(self, end: int) -> None:
        """It was heard up to ``end``."""
        self._asked_to = max(self._asked_to, end)
        self._heard_to = max(self._heard_to, end)

    def finish(self, outcome: Outcome) -> InterimRequest | None:
        """The reading that ``outcome`` belongs to, if it still means something."""
        reading = self._under_way.pop(outcome.request_id, None)
        if reading is None or reading.window != self._number:
            return None
        if isinstance(outcome, Hypothesis):
            self.heard(reading.end)
            return reading
        if isinstance(outcome, Cancelled):
            # What it was to read is due again; a failure waits for its next turn.
            ends = (r.end for r in self._under_way.values() if r.window == self._number)
            self._asked_to = max(ends, default=self._heard_to)
        return None

    def withdraw(self) -> list[int]:
        """Interim requests to cancel; one that runs already may still be heard."""
        ids = [i for i, r in self._under_way.items() if not r.is_withdrawn]
        for request_id in ids:
            self._under_way[request_id].is_withdrawn = True
        return ids

    # ------------------------------------------------------------------------ preflight

    @property
    def preflight(self) -> Final | None:
        """The final that was requested before the window is decided."""
        return self._preflight

    def begin_preflight(self, end: int) -> Final:
        """Request the final of the window as it would be if it ended at ``end``."""
        assert self._preflight is None, "one final at a time"
        self._preflight = Final(self._start, end)
        return self._preflight

    def give_up_preflight(self) -> Final | None:
        """Speech went on, or the window became another one."""
        final, self._preflight = self._preflight, None
        return final

    def check(self) -> None:
        """Invariants: bounded, and never read further than asked."""
        wanted = [r for r in self._under_way.values() if not r.is_withdrawn]
        assert len(wanted) <= _MOST_UNDER_WAY, "too many interim requests"
        assert self._heard_to <= self._asked_to
        assert self._preflight is None or self._preflight.start == self._start


class DecidedWindows:
    """One session's windows that are over and have no text yet, oldest first."""

    def __init__(self) -> None:
        self._queue: deque[Final] = deque()

    def __bool__(self) -> bool:
        """Whether a decided window has no text yet."""
        return bool(self._queue)

    @property
    def first(self) -> Final | None:
        """The oldest one, whose request is under way."""
        return self._queue[0] if self._queue else None

    def add(self, final: Final) -> None:
        """One more, behind all others."""
        self._queue.append(final)

    def pop(self) -> Final:
        """The first one has its text, or never will."""
        return self._queue.popleft()

    def clear(self) -> list[int]:
        """Give all of them up; the requests to cancel."""
        ids = [f.request_id for f in self._queue if f.request_id is not None]
        self._queue.clear()
        return ids

    def check(self) -> None:
        """Invariants: in order, disjoint, and only one of them under way."""
        finals = list(self._queue)
        for left, right in zip(finals, finals[1:], strict=False):
            assert left.end <= right.start, "decided windows overlap"
            assert right.request_id is None, "finals out of order"
