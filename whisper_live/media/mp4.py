"""Fragmented MP4 as a stream: bytes in any cut go in, packets of one track come out.

Owns the boxes that live recordings need (ISO/IEC 14496-12): moov for the track, moof
for sizes and times, mdat for the samples themselves.  A file whose index stands
behind its samples cannot be played while it arrives and is refused.  Must not know
PyAV or any clock.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from whisper_live.errors import DecodeError
from whisper_live.media.packets import (
    MAX_PACKET_BYTES,
    MAX_SKIP_BYTES,
    Packet,
    Track,
    check_track,
    opus_track,
    printable,
)
from whisper_live.media.splitter import Splitter

__all__ = ["Mp4Splitter"]

_MAX_INDEX_BYTES = 1024 * 1024  # one moov or moof
_MAX_FRAGMENT_SAMPLES = 8192  # in one moof: 3 minutes of AAC
_IGNORED = frozenset(
    b"styp sidx emsg prft free skip wide mfra uuid pssh meta udta".split()
)
_START = re.compile(b"ftyp|moof")  # boxes to go on from after damage


class _Sample(NamedTuple):
    at: int  # bytes since the stream (re)started
    size: int
    time_s: float | None


@dataclass(frozen=True, slots=True)
class _Index:
    """What moov says about the audio track."""

    track: Track
    id: int
    timescale: int
    default_duration: int = 0
    default_size: int = 0


class Mp4Splitter(Splitter):
    """A ``Splitter`` for fragmented MP4 with Opus or AAC.

    Unlike WebM and Ogg it cannot be taken up in the middle: AAC packets do not say
    how they are to be decoded.
    """

    _container = "MP4"

    def __init__(self) -> None:
        super().__init__()
        self._index: _Index | None = None
        self._samples: deque[_Sample] = deque()  # of the last moof, still to come
        self._ticks: int | None = 0  # when they end, in the track's timescale
        self._mdat_end: int | None = None  # inside an mdat: where it ends

    def finish(self) -> None:
        """Raise ``DecodeError`` if not a single box was recognised."""
        if self._at < len(self._data) or self._skip or self._samples:
            self.notes["truncated"] += 1
            if not self._recognised:
                raise _not_mp4()

    # ---------------------------------------------------------------------- boxes

    def _take_next(self) -> bool:
        """Deal with one box or sample."""
        if self._mdat_end is not None:
            return self._take_sample()
        if len(self._data) - self._at < 8:
            return False
        size, kind = struct.unpack_from(">I4s", self._data, self._at)
        body = self._at + 8
        if size == 1:
            if len(self._data) < body + 8:
                return False
            (size,) = struct.unpack_from(">Q", self._data, body)
            body += 8
        if size < body - self._at:  # 0, "to the end of the file", is not for streams
            return self._lose_sync()
        if not self._take(kind, self._at + size, body):
            return False
        self._count_junk()
        return True

    def _take(self, kind: bytes, end: int, body: int) -> bool:
        """Deal with the box whose contents are ``body..end``."""
        if kind == b"mdat":
            return self._open_mdat(end, body)
        if kind == b"ftyp" and end - self._at <= MAX_SKIP_BYTES:
            if self._index is not None:
                self.notes["restart"] += 1
            self._index = None
            self._samples.clear()
            self._position = -self._at  # places count from the beginning of a file
        elif kind == b"moov" or kind == b"moof":
            if end - self._at > _MAX_INDEX_BYTES:
                raise DecodeError(
                    "The MP4 index is larger than 1 MiB.", kind="header_too_big"
                )
            if end > len(self._data):
                return False
            self._take_index(kind, bytes(self._data[body:end]))
        elif kind not in _IGNORED or end - self._at > MAX_SKIP_BYTES:
            return self._lose_sync()
        self._recognised = True
        self._skip = end - self._at
        return True

    def _take_index(self, kind: bytes, content: bytes) -> None:
        if kind == b"moov":
            self._index = _read_moov(content)
            self._ticks = 0
            self._ready.append(self._index.track)
        elif self._index is None:
            raise DecodeError(
                "The MP4 stream started in the middle; its beginning is needed.",
                kind="missing_header",
            )
        else:
            at = self._position + self._at
            try:
                samples, self._ticks = _read_moof(content, self._index, at, self._ticks)
            except struct.error:
                self.notes["bad_packet"] += 1
                samples = []
            self._samples = deque(samples)

    def _open_mdat(self, end: int, body: int) -> bool:
        if self._index is None:
            raise DecodeError(
                "This MP4 has its index at the end; "
                "a live stream must be fragmented MP4.",
                kind="not_fragmented",
            )
        if not self._samples and end - self._at > MAX_SKIP_BYTES:
            return self._lose_sync()
        self._mdat_end = self._position + end
        self._at = body
        return True

    def _take_sample(self) -> bool:
        assert self._mdat_end is not None, "called inside an mdat only"
        here = self._position + self._at
        if not self._samples or self._samples[0].at >= self._mdat_end:
            left, self._mdat_end = self._mdat_end - here, None
            if left > MAX_SKIP_BYTES:
                return self._lose_sync()
            self._skip = left
            return True
        sample = self._samples[0]
        end = sample.at + sample.size
        if sample.at < here or end > self._mdat_end or sample.size > MAX_PACKET_BYTES:
            self.notes["bad_packet"] += 1
            self._samples.popleft()
        elif sample.at > here:
            if sample.at - here > MAX_SKIP_BYTES:
                self._mdat_end = None
                return self._lose_sync()
            self._skip = sample.at - here  # another track's samples
        else:
            after = self._at + sample.size
            if after > len(self._data):
                return False
            self._samples.popleft()
            self._junk = self._hunted = 0
            data = bytes(self._data[self._at : after])
            self._ready.append(Packet(data, sample.time_s))
            self._at = after
        return True

    # --------------------------------------------------------------------- resync

    def _lose_sync(self) -> bool:
        if not self._recognised:
            raise _not_mp4()
        self.notes["resync"] += 1
        self._hunting = True
        self._samples.clear()
        self._at += 1
        self._hunted += 1
        return True

    def _hunt(self) -> bool:
        """Move to the next box that can be gone on from; False when none is in sight.

        ``_at`` is where a box might begin: its name stands four bytes on.
        """
        found = self._seek(_START, 4)
        if found:
            (size,) = struct.unpack_from(">I", self._data, self._at)
            if 8 < size <= _MAX_INDEX_BYTES:
                self._hunting = False
            else:
                self._at += 1
        return found


# -------------------------------------------------------------------- box contents


def _boxes(content: bytes, at: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Name and contents of whole boxes; stops at the first that cannot be."""
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        if size < 8 or at + size > len(content):
            return
        yield kind, content[at + 8 : at + size]
        at += size


def _find(content: bytes, *path: bytes) -> bytes:
    """Contents of the first box at the end of ``path``, empty where there is none."""
    for name in path:
        content = next((body for kind, body in _boxes(content) if kind == name), b"")
    return content


def _read_moov(moov: bytes) -> _Index:
    unusable: list[str] = []
    for kind, trak in _boxes(moov):
        if kind != b"trak" or _find(trak, b"mdia", b"hdlr")[8:12] != b"soun":
            continue
        try:
            track = _read_sample_entry(
                _find(trak, b"mdia", b"minf", b"stbl", b"stsd"), unusable
            )
            if track is None:
                continue
            tkhd, mdhd = _find(trak, b"tkhd"), _find(trak, b"mdia", b"mdhd")
            (track_id,) = struct.unpack_from(">I", tkhd, 20 if tkhd[0] == 1 else 12)
            (timescale,) = struct.unpack_from(">I", mdhd, 20 if mdhd[0] == 1 else 12)
        except (struct.error, IndexError):
            raise DecodeError("The MP4 header is damaged.", kind="damaged") from None
        if track.codec == "aac" and not track.rate:
            # Above 65535 Hz the entry cannot say it; its clock ticks once a sample.
            track = replace(track, rate=timescale)
        defaults = _track_defaults(moov, track_id)
        return _Index(check_track(track), track_id, max(timescale, 1), *defaults)
    if unusable:
        raise DecodeError(
            f"The MP4 stream holds {unusable[0]} audio; "
            "live MP4 may hold Opus or AAC.",
            kind="unsupported_codec",
        )
    raise DecodeError("The MP4 stream has no audio track.", kind="no_audio_track")


def _track_defaults(moov: bytes, track_id: int) -> tuple[int, int]:
    """Default duration and size of a fragment's samples (trex)."""
    mvex = _find(moov, b"mvex")
    if not mvex:
        raise DecodeError(
            "This MP4 is not fragmented; a live stream must be.", kind="not_fragmented"
        )
    for kind, trex in _boxes(mvex):
        if kind == b"trex" and len(trex) >= 20:
            _, of_track, _, duration, size = struct.unpack_from(">5I", trex)
            if of_track == track_id:
                return duration, size
    return 0, 0


def _read_sample_entry(stsd: bytes, unusable: list[str]) -> Track | None:
    """The first entry of a sample description that can be decoded."""
    for kind, entry in _boxes(stsd, 8):
        channels, rate = struct.unpack_from(">16xH6xH2x", entry)
        # QuickTime's version 1 has four more numbers before the boxes.
        boxes = entry[28 + 16 * (entry[8:10] == b"\0\1") :]
        if kind == b"Opus":
            return _read_opus(_find(boxes, b"dOps"))
        if kind == b"mp4a":
            # QuickTime puts what ISO has in the entry itself into a box of its own.
            esds = _find(boxes, b"esds") or _find(boxes, b"wave", b"esds")
            if config := _aac_config(esds):
                return Track("aac", rate, channels, config=config)
            unusable.append("MPEG (but not AAC)")
        else:
            unusable.append(printable(kind))
    return None


def _read_opus(dops: bytes) -> Track:
    """dOps is OpusHead in big-endian and without its magic."""
    if len(dops) < 11:
        return opus_track(b"")
    channels, preskip, rate, gain, family = struct.unpack_from(">xBHIhB", dops)
    return opus_track(
        b"OpusHead\1" + struct.pack("<BHIhB", channels, preskip, rate, gain, family)
    )


def _aac_config(esds: bytes) -> bytes:
    """AudioSpecificConfig out of the descriptors in esds; empty where it is not AAC."""
    at = 4
    while at + 2 <= len(esds):
        tag = esds[at]
        at += 1
        length = 0
        for _ in range(4):
            byte = esds[at] if at < len(esds) else 0
            at += 1
            length = length << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        if tag == 0x03:  # ES: an id and three flags, each with a field of its own
            flags = esds[at + 2] if at + 2 < len(esds) else 0
            at += 3 + 2 * (flags >> 7 & 1) + 2 * (flags >> 5 & 1)
            if flags >> 6 & 1:
                at += 1 + (esds[at] if at < len(esds) else 0)
        elif tag == 0x04:  # decoder: object type 0x40 is MPEG-4 audio
            if esds[at : at + 1] != b"\x40":
                return b""
            at += 13
        elif tag == 0x05:
            return esds[at : at + min(length, 64)]
        else:
            at += length
    return b""


def _read_moof(
    moof: bytes, index: _Index, moof_at: int, ticks: int | None
) -> tuple[list[_Sample], int | None]:
    """Places and times of the track's samples, and when the last of them ends.

    ``ticks`` is where the fragment before ended: a fragment that does not say when it
    starts (no tfdt) goes on from there.  Raises ``struct.error`` if damaged.
    """
    samples: list[_Sample] = []
    for kind, traf in _boxes(moof):
        tfhd = _find(traf, b"tfhd")
        if kind != b"traf" or tfhd[4:8] != struct.pack(">I", index.id):
            continue
        flags = int.from_bytes(tfhd[1:4], "big")
        at, base = 8, moof_at
        duration, size = index.default_duration, index.default_size
        if flags & 0x01:
            (base,) = struct.unpack_from(">Q", tfhd, at)
            at += 8
        if flags & 0x02:  # sample description index
            at += 4
        if flags & 0x08:
            (duration,) = struct.unpack_from(">I", tfhd, at)
            at += 4
        if flags & 0x10:
            (size,) = struct.unpack_from(">I", tfhd, at)
        tfdt = _find(traf, b"tfdt")
        if tfdt:
            (ticks,) = struct.unpack_from(">Q" if tfdt[0] == 1 else ">I", tfdt, 4)
        offset = base
        for name, trun in _boxes(traf):
            if name == b"trun":
                ticks, offset = _read_trun(
                    trun, samples, (base, offset), ticks, (duration, size), index
                )
    return samples, ticks


def _read_trun(
    trun: bytes,
    samples: list[_Sample],
    places: tuple[int, int],
    ticks: int | None,
    defaults: tuple[int, int],
    index: _Index,
) -> tuple[int | None, int]:
    """Append a run's samples; returns the time and place after it.

    The time is unknown (None) behind a sample whose duration nobody gives: it would
    pass for one sent twice.
    """
    flags = int.from_bytes(trun[1:4], "big")
    (count,) = struct.unpack_from(">I", trun, 4)
    if len(samples) + count > _MAX_FRAGMENT_SAMPLES:
        raise struct.error("more samples than a live fragment has")
    base, offset = places
    at = 8
    if flags & 0x01:
        offset = base + struct.unpack_from(">i", trun, at)[0]
        at += 4
    if flags & 0x04:  # flags of the first sample
        at += 4
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    for _ in range(count):
        values = dict(
            zip(fields, struct.unpack_from(f">{len(fields)}I", trun, at), strict=True)
        )
        at += 4 * len(fields)
        size = values.get(0x200, defaults[1])
        time_s = None if ticks is None else ticks / index.timescale
        samples.append(_Sample(offset, size, time_s))
        offset += size
        duration = values.get(0x100, defaults[0])
        ticks = ticks + duration if ticks is not None and duration else None
    return ticks, offset


def _not_mp4() -> DecodeError:
    return DecodeError(
        "This is not an MP4 stream, or not its beginning.", kind="unknown_format"
    )
