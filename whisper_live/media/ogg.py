"""Ogg as a stream: bytes in any cut go in, packets of one Opus track come out.

Owns pages (RFC 3533) and what Opus puts into them (RFC 7845): headers, granule
positions as packet times, trimming at the end, chained streams.  A page is believed
only when its checksum holds, so that lost bytes cost no more than the page they are
missing from.  Must not know PyAV or any clock.
"""

from __future__ import annotations

import re
import struct
import zlib

from whisper_live.errors import DecodeError
from whisper_live.media.packets import (
    OPUS_RATE,
    Packet,
    opus_samples,
    opus_track,
)
from whisper_live.media.splitter import Splitter

__all__ = ["OggSplitter"]

_CAPTURE = b"OggS"
_PAGE = re.compile(_CAPTURE)
_HEADER = struct.Struct("<4sBBqIII B")  # up to and with the number of lacing values
_CONTINUED, _FIRST, _LAST = 0x01, 0x02, 0x04  # page flags
_NO_GRANULE = -1  # no packet ends on this page
_MAX_PACKET_BYTES = 128 * 1024

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def page_checksum(page: bytes | bytearray) -> int:
    """Ogg's CRC-32 of a page whose checksum field is zero.

    It is the polynomial of zlib's, fed from the other end of each byte and without
    the inversions: 2 us for a 4 KiB page, where a loop in Python takes 400.
    """
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


class OggSplitter(Splitter):
    """A ``Splitter`` for Ogg/Opus.

    A stream that opens in the middle is taken up at its next page and assumed to
    hold Opus, as in WebM.
    """

    _container = "Ogg"

    def __init__(self) -> None:
        super().__init__()
        self._other_codecs = False  # first pages were seen, none of them Opus
        self._serial: int | None = None  # of the Opus track
        self._started = False  # there has been an Opus track
        self._begin()

    def _begin(self) -> None:
        self._partial: bytearray | None = None  # a packet that goes on in a later page
        self._sequence: int | None = None  # number of the page expected next
        self._end: int | None = None  # granule position after the last page

    def finish(self) -> None:
        """Raise ``DecodeError`` if not a single page was seen."""
        if self._at < len(self._data):
            self.notes["truncated"] += 1
        if self._hunted and not self._recognised:
            raise DecodeError("This is not an Ogg stream.", kind="unknown_format")

    # ---------------------------------------------------------------------- pages

    def _take_next(self) -> bool:
        """Deal with one page."""
        data, at = self._data, self._at
        if not data.startswith(_CAPTURE, at):
            return self._hunt()
        if len(data) - at < _HEADER.size:
            return False
        fields = _HEADER.unpack_from(data, at)
        _, version, flags, granule, serial, sequence, checksum, lacings = fields
        body = at + _HEADER.size + lacings
        if body > len(data):
            return False
        lacing = data[at + _HEADER.size : body]
        end = body + sum(lacing)
        if end > len(data):
            return False
        page = data[at:end]
        page[22:26] = bytes(4)
        if version != 0 or page_checksum(page) != checksum:
            # Every byte that a false page made us look at counts, or pages inside
            # pages would cost the square of their number.
            return self._lose_sync(end - at)
        self._recognised = True
        self._hunted = 0
        self._count_junk()
        self._at = end
        self._take_page(flags, granule, serial, sequence, lacing, bytes(data[body:end]))
        return True

    def _lose_sync(self, looked_at: int) -> bool:
        self.notes["resync"] += 1
        self._partial = None
        self._at += 1
        self._hunted += looked_at
        self._check_hunted()
        return True

    def _hunt(self) -> bool:
        before, was_lost = self._at, self._hunted
        found = self._seek(_PAGE)
        if self._at > before and not was_lost:
            self.notes["resync"] += 1
        return found

    def _take_page(
        self,
        flags: int,
        granule: int,
        serial: int,
        sequence: int,
        lacing: bytes | bytearray,
        body: bytes,
    ) -> None:
        if flags & _FIRST:
            self._take_first_page(serial, body)
            return
        if self._serial is None:
            if self._other_codecs:
                raise DecodeError(
                    "The Ogg stream holds no Opus audio; "
                    "live Ogg streams may hold nothing else.",
                    kind="unsupported_codec",
                )
            self.notes["joined"] += 1
            self._started = True
            self._serial = serial  # joined in mid-stream: a browser, so Opus
            self._ready.append(opus_track(b""))
        if serial != self._serial:
            return
        if self._sequence is not None and sequence != self._sequence:
            self._partial = None
            self._end = None
        self._sequence = sequence + 1 & 0xFFFFFFFF
        packets = self._split(flags, lacing, body)
        if packets and packets[0].startswith(b"OpusTags"):
            del packets[0]
            self._end = 0
        if packets:
            self._junk = 0
            self._time(packets, granule, bool(flags & _LAST))

    def _take_first_page(self, serial: int, body: bytes) -> None:
        """Every track's first page stands before all others and is one header."""
        if not body.startswith(b"OpusHead"):
            self._other_codecs = True
            if self._end is not None:  # after audio: of the next stream in a chain
                self._serial = self._end = None
            return
        if self._started:
            self.notes["restart"] += 1
        self._started = True
        self._begin()
        self._serial = serial
        self._ready.append(opus_track(body))

    def _split(self, flags: int, lacing: bytes | bytearray, body: bytes) -> list[bytes]:
        """The packets that end on this page; what is left over waits for the next."""
        packets: list[bytes] = []
        if flags & _CONTINUED:
            packet = self._partial
            if packet is None:
                self.notes["resync"] += 1  # its beginning is lost: drop the rest
        else:
            packet = bytearray()
        at = 0
        for length in lacing:
            if packet is not None:
                packet += body[at : at + length]
                if len(packet) > _MAX_PACKET_BYTES:
                    self.notes["bad_packet"] += 1
                    packet = None
            at += length
            if length < 255:
                if packet is not None:
                    packets.append(bytes(packet))
                packet = bytearray()
        self._partial = packet if lacing and lacing[-1] == 255 else None
        return packets

    def _time(self, packets: list[bytes], granule: int, is_last: bool) -> None:
        """Queue ``packets`` with their times.

        A page says where its last packet ends; lengths of packets give the rest.
        The last page of a stream says it too, but may name an earlier position:
        then the end is to be trimmed.
        """
        lengths = [opus_samples(packet) for packet in packets]
        total = sum(lengths)
        surplus = 0
        if granule == _NO_GRANULE:
            start = self._end
        elif is_last and self._end is not None and granule < self._end + total:
            start = self._end
            surplus = start + total - max(granule, start)
        else:
            start = granule - total
        self._end = None if start is None else start + total

        left = total
        for packet, length in zip(packets, lengths, strict=True):
            time_s = None if start is None else (start + total - left) / OPUS_RATE
            left -= length
            trim = min(max(surplus - left, 0), length)
            self._ready.append(Packet(packet, time_s, trim / OPUS_RATE))
