"""What all container splitters do alike: keep bytes, walk over them, find a way back.

Owns the buffer, its place in the stream, and the bounds on what may be passed over
without a packet in it.  Must not know any container: those are its subclasses.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter, deque
from typing import ClassVar

from whisper_live.errors import DecodeError
from whisper_live.media.packets import MAX_HUNT_BYTES, MAX_JUNK, Packet, Track

__all__ = ["Splitter"]

_MARK_BYTES = 4  # all containers' marks to go on from are this long


class Splitter(ABC):
    """Bytes in any cut go in, tracks and packets come out; no I/O, no codec.

    What comes out depends on the bytes alone, never on their cuts: ``_take_next`` and
    ``_hunt`` move ``_at`` only over what they could decide about, and return False
    for the rest until there is more.
    """

    _container: ClassVar[str]  # its name in sentences

    def __init__(self) -> None:
        self.notes: Counter[str] = Counter()
        self._data = bytearray()
        self._at = 0  # everything before it has been dealt with
        self._position = 0  # in the stream, of ``_data``
        self._ready: deque[Track | Packet] = deque()
        self._recognised = False  # something of this container was seen
        self._skip = 0  # bytes still to pass over
        self._hunting = False
        self._hunted = 0  # bytes looked through since all was well
        self._junk = 0  # elements, boxes or pages since the last packet

    def push(self, data: bytes) -> None:
        """Keep ``data``; cheap."""
        self._data += data

    def next(self) -> Track | Packet | None:
        """The next item, or None when more bytes are needed.

        A track is given before its first packet, and again at every new header.
        Raises ``DecodeError`` when the stream cannot be used; after that the
        splitter is of no further use.
        """
        while not self._ready:
            if not self._advance():
                del self._data[: self._at]
                self._position += self._at
                self._at = 0
                return None
        return self._ready.popleft()

    @abstractmethod
    def finish(self) -> None:
        """No more bytes will come; raises ``DecodeError`` if nothing was recognised."""

    def _advance(self) -> bool:
        if self._skip:
            step = min(self._skip, len(self._data) - self._at)
            self._at += step
            self._skip -= step
            if self._skip:
                return False
        return self._hunt() if self._hunting else self._take_next()

    @abstractmethod
    def _take_next(self) -> bool:
        """Deal with what stands at ``_at``; False when that takes more bytes."""

    @abstractmethod
    def _hunt(self) -> bool:
        """Move to where one can go on from; False when no such place is in sight."""

    # ------------------------------------------------------------ for the subclasses

    def _seek(self, mark: re.Pattern[bytes], before: int = 0) -> bool:
        """Move to ``before`` bytes in front of the next mark; False: none in sight."""
        found = mark.search(self._data, self._at + before)
        # The last bytes may be the beginning of a mark.
        unsure = len(self._data) - (_MARK_BYTES - 1)
        stop = (found.start() if found else unsure) - before
        stop = max(stop, self._at)
        self._hunted += stop - self._at
        self._at = stop
        self._check_hunted()
        return found is not None

    def _check_hunted(self) -> None:
        if self._hunted > MAX_HUNT_BYTES:
            raise self._lost_for_good()

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > MAX_JUNK:
            raise self._lost_for_good()

    def _lost_for_good(self) -> DecodeError:
        return DecodeError(
            f"The {self._container} stream is damaged "
            "and no place to go on from was found.",
            kind="lost_sync",
        )
