"""What was given to be sent and has no completed text yet, to be sent again.

Owns the order of audio and of the messages between it, up to a bound.  Positions are
bytes of audio since the first one.  Pure: no clock, no socket.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Backlog"]


@dataclass(frozen=True, slots=True)
class _Item:
    """A message and where in the audio it stands; text takes no audio."""

    start: int
    message: bytes | str
    is_audio: bool
    is_prefix: bool = False  # of one connection's audio, and of no other's

    @property
    def end(self) -> int:
        return self.start + (len(self.message) if self.is_audio else 0)

    def is_before(self, position: int) -> bool:
        """Whether nothing of it is at ``position`` or behind."""
        return self.end <= position if self.is_audio else self.end < position

    def cut(self, position: int) -> tuple[_Item, _Item]:
        """The audio before ``position``, which is inside, and that behind it."""
        assert isinstance(self.message, bytes), "only audio has a length"
        at = position - self.start
        first, second = self.message[:at], self.message[at:]
        return _Item(self.start, first, True), _Item(position, second, True)


class Backlog:
    """Messages in order: sent ones that may be needed again, then unsent ones.

    Keeps the newest ``most`` bytes of audio.  Cuts only at multiples of ``unit``.
    """

    def __init__(self, most: int, unit: int = 1) -> None:
        self._most = most
        self._unit = unit
        self._sent: deque[_Item] = deque()
        self._unsent: deque[_Item] = deque()
        self.start = 0  # the oldest byte that is kept
        self.sent = 0  # behind the newest byte that was sent
        self.end = 0  # behind the newest byte

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self.end - self.sent

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits to be sent, audio or not."""
        return bool(self._unsent)

    def add(self, audio: bytes) -> tuple[int, int] | None:
        """Take audio; the span of unsent audio that had to be given up for it.

        What was sent is given up first: most likely the server has it.
        """
        self._unsent.append(_Item(self.end, audio, is_audio=True))
        self.end += len(audio)
        while self.end - self.start > self._most and self._sent:
            self._forget(self._sent.popleft())
        lost_from = self.start
        while self.end - self.start > self._most:
            self._forget(self._oldest_unsent())
        self.sent = max(self.sent, self.start)
        return (lost_from, self.start) if self.start > lost_from else None

    def _oldest_unsent(self) -> _Item:
        """Take the oldest unsent audio out; messages before it stay."""
        at = next(at for at, item in enumerate(self._unsent) if item.is_audio)
        item = self._unsent[at]
        del self._unsent[at]
        return item

    def _forget(self, item: _Item) -> None:
        self.start = max(self.start, item.end)

    def say(self, message: bytes | str) -> None:
        """Take a message that stands between the audio before it and after it."""
        self._unsent.append(_Item(self.end, message, is_audio=False))

    def next(self) -> bytes | str | None:
        """The next message to send, which counts as sent from now on."""
        if not self._unsent:
            return None
        item = self._unsent.popleft()
        self._sent.append(item)
        self.sent = max(self.sent, item.end)
        return item.message

    def settle(self, position: int) -> None:
        """Forget what was sent before ``position``: all its text has come."""
        position -= position % self._unit
        while self._sent and self._sent[0].is_before(position):
            self._forget(self._sent.popleft())
        if self._sent and self._sent[0].start < position:
            before, behind = self._sent.popleft().cut(position)
            self._forget(before)
            self._sent.appendleft(behind)

    def rewind(self, position: int, *prefix: bytes | str) -> int:
        """Send ``prefix``, and again from ``position`` on, or from the oldest byte.

        Where that is.
        """
        position -= position % self._unit
        while self._sent and not self._sent[-1].is_before(position):
            item = self._sent.pop()
            if item.is_prefix:
                continue
            if item.start < position:
                before, item = item.cut(position)
                self._sent.append(before)
            self._unsent.appendleft(item)
        self._unsent = deque(item for item in self._unsent if not item.is_prefix)
        for message in reversed(prefix):
            item = _Item(position, message, is_audio=False, is_prefix=True)
            self._unsent.appendleft(item)
        self.sent = min(self.sent, max(self.start, position))
        return self.sent
