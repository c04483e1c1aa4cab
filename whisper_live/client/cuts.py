"""Where a stream that was sent can be cut, so that its rest is a stream of its own.

Raw samples anywhere between two; WebM between two blocks, with its header again and a
cluster of our own before them.  Positions in the audio are samples, offsets are bytes,
both since the first one.  Pure; knows nothing of sockets and sessions.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from whisper_live.audio import s_to_samples

__all__ = ["Cut", "Cuts", "RawCuts", "WebmCuts", "cuts_of"]

_RAW_WIDTHS = {"float32": 4, "int16": 2, "uint8": 1}  # bytes of one sample


@dataclass(frozen=True, slots=True)
class Cut:
    """A place to begin at: what stands there, and what has to be sent before it."""

    position: int
    offset: int
    prefix: bytes = b""


class Cuts(Protocol):
    """What is known of a stream's places."""

    unit: int  # bytes that belong together, of raw samples
    preroll: int  # samples before a place that a decoder needs to be right there

    def take(self, data: bytes) -> None:
        """More of the stream."""

    def at(self, position: int, *, oldest: int) -> Cut | None:
        """The last place not behind ``position``, or the first from ``oldest`` on.

        ``oldest`` is an offset: nothing before it is there any more.  None where there
        is no such place.
        """

    def offset_of(self, position: int) -> int:
        """An offset before which everything stands before ``position``."""

    def position_of(self, offset: int) -> int | None:
        """What stands there, if that is known."""


def cuts_of(audio_format: str) -> Cuts | None:
    """The places of a stream in this format; None where it has none that we know."""
    if audio_format == "webm":
        return WebmCuts()
    width = _RAW_WIDTHS.get(audio_format)
    return None if width is None else RawCuts(width)


class RawCuts:
    """Samples of so many bytes."""

    preroll = 0

    def __init__(self, width: int) -> None:
        self.unit = width

    def take(self, data: bytes) -> None:
        """Nothing: each sample is where it is."""

    def at(self, position: int, *, oldest: int) -> Cut | None:
        """Between any two samples."""
        position = max(position, -(-oldest // self.unit))
        return Cut(position, position * self.unit)

    def offset_of(self, position: int) -> int:
        """Exactly."""
        return position * self.unit

    def position_of(self, offset: int) -> int:
        """The sample that the byte belongs to."""
        return offset // self.unit


_EBML = 0x1A45DFA3
_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675
_TIMESTAMP = 0xE7
_SIMPLE_BLOCK = 0xA3
_BLOCK_GROUP = 0xA0
_BLOCK = 0xA1
_SCALE = re.compile(rb"\x2a\xd7\xb1([\x81-\x84])")  # TimestampScale and its size
_MOST_HEADER_BYTES = 64 * 1024
_MOST_BLOCKS = 6000  # two minutes of the usual 20 ms
_PACKET_S = 0.02  # that a recording lasts behind its last block's time
_NEEDED_BYTES = 24  # to see what an element is, and a block's time


@dataclass(frozen=True, slots=True)
class _Block:
    offset: int
    position: int
    ticks: int  # the time of its cluster
    header: bytes  # of its recording


class WebmCuts:
    """The blocks of a WebM stream, read flat as it is sent.

    Of what it does not understand it takes no further notice: such a stream has no
    places any more.
    """

    unit = 1
    preroll = s_to_samples(0.08)  # RFC 7845, 4.6

    def __init__(self) -> None:
        self._blocks: deque[_Block] = deque(maxlen=_MOST_BLOCKS)
        self._data = bytearray()  # not yet understood
        self._offset = 0  # of its first byte
        self._skip = 0  # bytes to come that are of no interest
        self._is_lost = False
        self._header: bytearray | None = bytearray()  # that is being read
        self._whole_header = b""
        self._scale_s = 0.001
        self._ticks: int | None = None  # of the cluster
        self._first_s: float | None = None  # of this recording
        self._base = 0  # where this recording begins in the audio
        self._end = 0

    def at(self, position: int, *, oldest: int) -> Cut | None:
        """Between two blocks; a block's own audio may begin before ``position``."""
        found: _Block | None = None
        for block in self._blocks:
            if block.offset < oldest:
                continue
            if found is not None and block.position > position:
                break
            found = block
        if oldest == 0 and (found is None or found.position == 0):
            return Cut(0, 0)
        if found is None or self._is_lost:
            return None
        time = found.ticks.to_bytes(8, "big")
        cluster = b"\x1f\x43\xb6\x75\x01" + b"\xff" * 7 + b"\xe7\x88" + time
        return Cut(found.position, found.offset, found.header + cluster)

    def offset_of(self, position: int) -> int:
        """That of the last block before it."""
        before = [each.offset for each in self._blocks if each.position <= position]
        return before[-1] if before else 0

    def position_of(self, offset: int) -> int | None:
        """What the block says in which it is."""
        before = [each.position for each in self._blocks if each.offset <= offset]
        return before[-1] if before else None

    def take(self, data: bytes) -> None:
        """Read on; any cut of the bytes gives the same places."""
        if self._is_lost:
            return
        self._data += data
        while not self._is_lost and self._take_element():
            pass

    def _take_element(self) -> bool:
        """Deal with the element that stands first; False until more has come."""
        skipped = min(self._skip, len(self._data))
        self._pass(skipped)
        self._skip -= skipped
        if self._skip or not self._data:
            return False
        id_bytes = 9 - self._data[0].bit_length()
        if len(self._data) < id_bytes + 1:
            return False
        size_bytes = 9 - self._data[id_bytes].bit_length()
        body = id_bytes + size_bytes
        if id_bytes > 4 or size_bytes > 8:
            self._is_lost = True
            return False
        if len(self._data) < body:
            return False
        known = (1 << 7 * size_bytes) - 1
        size = int.from_bytes(self._data[id_bytes:body], "big") & known
        element = int.from_bytes(self._data[:id_bytes], "big")
        if element in (_SEGMENT, _CLUSTER):
            self._enter(element, body)
            return True
        if size == known:  # only those two have no size
            self._is_lost = True
            return False
        return self._take_whole(element, body, size)

    def _enter(self, element: int, body: int) -> None:
        if element == _CLUSTER:
            self._end_header()
            self._ticks = None
        self._pass(body)

    def _take_whole(self, element: int, body: int, size: int) -> bool:
        needed = body + min(size, _NEEDED_BYTES)
        if len(self._data) < needed:
            return False
        content = bytes(self._data[body:needed])
        if element == _EBML:
            self._begin_recording()
        elif element == _TIMESTAMP:
            self._ticks = int.from_bytes(content[:size], "big")
        elif element == _SIMPLE_BLOCK:
            self._note_block(content)
        elif element == _BLOCK_GROUP and content[:1] == bytes([_BLOCK]):
            self._note_block(content[1 + 9 - content[1].bit_length() :])
        self._skip = body + size
        return True

    def _pass(self, count: int) -> None:
        """Leave bytes behind, which the header keeps while it lasts."""
        if self._header is not None:
            self._header += self._data[:count]
            self._is_lost = len(self._header) > _MOST_HEADER_BYTES
        del self._data[:count]
        self._offset += count

    def _begin_recording(self) -> None:
        self._header = bytearray()
        self._base, self._first_s = self._end, None

    def _end_header(self) -> None:
        if self._header is None:
            return
        self._whole_header, self._header = bytes(self._header), None
        found = _SCALE.search(self._whole_header)
        if found is not None:
            size = found[1][0] & 0x7F
            scale = self._whole_header[found.end() : found.end() + size]
            self._scale_s = int.from_bytes(scale, "big") / 1e9

    def _note_block(self, content: bytes) -> None:
        """Track number (one byte), 16 bits of time since the cluster's, and more."""
        if self._ticks is None or len(content) < 3:
            self._is_lost = True
            return
        ticks = self._ticks + int.from_bytes(content[1:3], "big", signed=True)
        time_s = ticks * self._scale_s
        if self._first_s is None:
            self._first_s = time_s
        position = self._base + s_to_samples(time_s - self._first_s)
        self._end = max(self._end, position + s_to_samples(_PACKET_S))
        block = _Block(self._offset, position, self._ticks, self._whole_header)
        self._blocks.append(block)
