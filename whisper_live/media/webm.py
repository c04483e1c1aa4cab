"""WebM as a stream: bytes in any cut go in, packets of one audio track come out.

Owns the EBML parsing that live recordings need (RFC 8794, RFC 9559) and the way
back after damage: hunt for the next Cluster.  Chrome cuts its blobs inside elements
and leaves the sizes of Segment and Cluster unknown, so elements are read flat: an ID
says what follows, ends of parents are not tracked.  Must not know codecs' insides,
PyAV, or any clock.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Container, Iterator

from whisper_live.errors import DecodeError
from whisper_live.media.lacing import unlace
from whisper_live.media.packets import (
    MAX_HEADER_BYTES,
    MAX_PACKET_BYTES,
    MAX_SKIP_BYTES,
    OPUS_RATE,
    Packet,
    Track,
    check_track,
    opus_samples,
    opus_track,
    printable,
)
from whisper_live.media.splitter import Splitter

__all__ = ["WebmSplitter"]

_EBML = 0x1A45DFA3
_SEGMENT = 0x18538067
_INFO = 0x1549A966
_TIMESTAMP_SCALE = 0x2AD7B1
_TRACKS = 0x1654AE6B
_TRACK_ENTRY = 0xAE
_TRACK_NUMBER = 0xD7
_TRACK_TYPE = 0x83
_CODEC_ID = 0x86
_CODEC_PRIVATE = 0x63A2
_AUDIO = 0xE1
_SAMPLING_FREQUENCY = 0xB5
_CHANNELS = 0x9F
_BIT_DEPTH = 0x6264
_CONTENT_ENCODINGS = 0x6D80
_CLUSTER = 0x1F43B675
_TIMESTAMP = 0xE7
_SIMPLE_BLOCK = 0xA3
_BLOCK_GROUP = 0xA0
_BLOCK = 0xA1
_DISCARD_PADDING = 0x75A2

# Passed over.  Inside clusters nothing else is believed: random bytes look like
# unknown elements half of the time, and one of those can swallow seconds of audio.
_SKIPPED = frozenset(
    {
        0xEC,  # Void
        0xBF,  # CRC-32
        0x114D9B74,  # SeekHead
        0x1C53BB6B,  # Cues
        0x1043A770,  # Chapters
        0x1254C367,  # Tags
        0x1941A469,  # Attachments
        0xAB,  # PrevSize
        0xA7,  # Position
        0x5854,  # SilentTracks
        0xAF,  # EncryptedBlock
    }
)

_EBML_BYTES = _EBML.to_bytes(4, "big")
_START = re.compile(rb"\x1f\x43\xb6\x75|\x1a\x45\xdf\xa3")  # Cluster or EBML
# A Cluster with its Timestamp or a header with its version, found inside a block:
# bytes were lost and the block has swallowed what came after them.
_MARK_BYTES = 12  # at most, without the last one
_SIZE = rb"(?:[\x80-\xff]|[\x40-\x7f].|[\x10-\x1f]...|\x01.{7})"
_SWALLOWED = re.compile(
    rb"\x1f\x43\xb6\x75%b\xe7|\x1a\x45\xdf\xa3%b\x42" % (_SIZE, _SIZE), re.DOTALL
)

_PCM = {
    ("A_PCM/FLOAT/IEEE", 32): "pcm_f32",  # what Chrome sends
    ("A_PCM/FLOAT/IEEE", 64): "pcm_f64",
    ("A_PCM/INT/LIT", 8): "pcm_u8",
    ("A_PCM/INT/LIT", 16): "pcm_s16",
    ("A_PCM/INT/LIT", 32): "pcm_s32",
}


class WebmSplitter(Splitter):
    """A ``Splitter`` for WebM and Matroska.

    A stream that does not open with an EBML header is taken up at its next Cluster
    and assumed to hold Opus: a client reconnected while its recorder went on.
    """

    _container = "WebM"

    def __init__(self) -> None:
        super().__init__()
        self._opened = False  # the first four bytes were looked at
        self._tail = b""  # of the block that ends here
        self._begin()

    def _begin(self) -> None:
        """Forget what a header said."""
        self._in_header = True  # until the first Cluster
        self._scale_ns = 1_000_000
        self._track: Track | None = None
        self._number: int | None = None  # of the track; None: that of the first block
        self._numbers: Container[int] = range(1, 9)  # of all tracks; a guess if joined
        self._stranger: int | None = None  # an unknown track's number, met last
        self._cluster_time: int | None = None

    def finish(self) -> None:
        """Raise ``DecodeError`` if neither a header nor a Cluster was ever seen."""
        if self._at < len(self._data) or self._skip:
            self.notes["truncated"] += 1
            if not self._recognised and self._opened:
                raise DecodeError("This is not a WebM stream.", kind="unknown_format")

    # ------------------------------------------------------------------- elements

    def _take_next(self) -> bool:
        """Deal with one element."""
        if not self._opened:
            if len(self._data) < 4:
                return False
            self._opened = True
            if not self._data.startswith(_EBML_BYTES):
                self.notes["joined"] += 1
                self._hunting = True
                return True

        data, at = self._data, self._at
        if at >= len(data):
            return False
        # An ID is 1 to 4 bytes and keeps its length bits, a size is 1 to 8 and does
        # not; the leading zeros of the first byte say how many.
        id_end = at + 9 - data[at].bit_length()
        if id_end > at + 4:
            return self._lose_sync()
        if id_end >= len(data):
            return False
        size_bytes = 9 - data[id_end].bit_length()
        if size_bytes > 8:
            return self._lose_sync()
        body = id_end + size_bytes
        if body > len(data):
            return False
        known = (1 << 7 * size_bytes) - 1
        size: int | None = int.from_bytes(data[id_end:body], "big") & known
        if size == known:
            size = None  # "unknown": goes on until something else starts
        element = int.from_bytes(data[at:id_end], "big")
        if element == _SIMPLE_BLOCK or element == _BLOCK_GROUP:
            return self._take_block(element, size, body)
        if not self._take(element, size, body):
            return False
        self._tail = b""
        self._count_junk()
        return True

    def _take(self, element: int, size: int | None, body: int) -> bool:
        """Deal with what is not a block; its contents start at ``body``."""
        if element == _CLUSTER:
            self._recognised = True
            self._in_header = False
            self._cluster_time = None
            self._at = body
        elif element == _TIMESTAMP:
            if size is None or size > 8:
                return self._lose_sync()
            if body + size > len(self._data):
                return False
            self._cluster_time = int.from_bytes(self._data[body : body + size], "big")
            self._at = body + size
        elif element == _EBML:
            if size is None:
                return self._lose_sync()
            if size > MAX_HEADER_BYTES:
                raise _header_too_big()
            if self._recognised:
                self.notes["restart"] += 1
            self._recognised = True
            self._begin()
            self._pass_over(size, body)
        elif element == _SEGMENT:
            self._at = body
        elif element == _TRACKS or element == _INFO:
            return self._take_header(element, size, body)
        elif size is not None and (
            (element in _SKIPPED and size <= MAX_SKIP_BYTES)
            or (self._in_header and size <= MAX_HEADER_BYTES)
        ):
            self._pass_over(size, body)
        else:
            return self._lose_sync()
        return True

    def _pass_over(self, size: int, body: int) -> None:
        self._tail = b""
        self._at = body
        self._skip = size

    def _take_header(self, element: int, size: int | None, body: int) -> bool:
        if size is None or size > MAX_HEADER_BYTES:
            raise _header_too_big()
        if body + size > len(self._data):
            return False
        content = bytes(self._data[body : body + size])
        self._at = body + size
        if element == _TRACKS:
            self._number, self._track = _choose_track(content)
            self._numbers = {
                _number(_first(entry, _TRACK_NUMBER), 1)
                for kind, entry in _children(content)
                if kind == _TRACK_ENTRY
            }
            self._ready.append(self._track)
        else:
            scale = _number(_first(content, _TIMESTAMP_SCALE), 1_000_000)
            self._scale_ns = min(max(scale, 1), 1_000_000_000)
        return True

    # --------------------------------------------------------------------- blocks

    def _take_block(self, element: int, size: int | None, body: int) -> bool:
        if size is None or size > MAX_SKIP_BYTES:
            return self._lose_sync()
        if element == _SIMPLE_BLOCK and self._number is not None:
            # Enough to see whose block it is: video must not be waited for.
            if body >= len(self._data):
                return False
            number = self._data[body] & 0x7F
            if self._data[body] <= 0x80:
                return self._lose_sync()
            if number not in self._numbers:
                return self._meet_stranger(number)
            if number != self._number:
                if size < 16:
                    self._count_junk()
                self._pass_over(size, body)
                return True
        if size > MAX_PACKET_BYTES:
            return self._lose_sync()
        end = body + size
        if end > len(self._data):
            return False
        content = bytes(self._data[body:end])
        swallowed = _SWALLOWED.search(content)
        if swallowed:
            self._count_junk()
            self.notes["resync"] += 1
            self._tail = b""
            self._at = body + swallowed.start()
            return True
        if self._track is None:  # joined in mid-stream: a browser, so Opus
            self._track = opus_track(b"")
            self._ready.append(self._track)
            return True  # and come back to the block
        self._at = end
        self._tail = content[-_MARK_BYTES:]
        trim_s = 0.0
        if element == _BLOCK_GROUP:
            padding = _first(content, _DISCARD_PADDING)
            trim_s = int.from_bytes(padding[:8], "big", signed=True) / 1e9
            content = _first(content, _BLOCK)
        self._read_block(content, max(trim_s, 0.0))
        return True

    def _meet_stranger(self, number: int) -> bool:
        """A block of a track that the header does not name is mostly garbage.

        The same number behind two Clusters in a row is another recording, whose
        header was lost: what it holds is taken to be what the last one held.
        """
        if number != self._stranger:
            self._stranger = number
            return self._lose_sync()
        assert self._track is not None, "a number is known once there is a track"
        self.notes["restart"] += 1
        self._stranger = None
        self._number, self._numbers = number, range(1, 127)
        self._ready.append(self._track)
        return True  # and come back to the block

    def _read_block(self, block: bytes, trim_s: float) -> None:
        """Block: track number, 16 bits of time relative to the Cluster, flags, data."""
        self._count_junk()
        if len(block) < 4 or not block[0] & 0x80:
            self.notes["bad_packet"] += 1
            return
        if self._number is None:
            self._number = block[0] & 0x7F
        if block[0] & 0x7F != self._number:
            return
        try:
            packets = unlace(block[3] >> 1 & 0x03, block[4:])
        except ValueError:
            self.notes["bad_packet"] += 1
            return
        time_s = None
        if self._cluster_time is not None:
            ticks = self._cluster_time + int.from_bytes(block[1:3], "big", signed=True)
            time_s = ticks * self._scale_ns / 1e9
        self._junk = self._hunted = 0
        self._stranger = None
        last = len(packets) - 1
        for index, packet in enumerate(packets):
            self._ready.append(Packet(packet, time_s, trim_s if index == last else 0.0))
            if time_s is not None:
                time_s = self._time_after(packet, time_s)

    def _time_after(self, packet: bytes, time_s: float) -> float | None:
        """When the next packet of a lace starts; only the first has a time."""
        assert self._track is not None, "blocks are read once there is a track"
        if self._track.codec != "opus":
            return None
        return time_s + opus_samples(packet) / OPUS_RATE

    # --------------------------------------------------------------------- resync

    def _lose_sync(self) -> bool:
        """What stands here cannot be: look for the next Cluster or header.

        Behind it, or in front of it: a block with bytes lost may end inside a mark.
        """
        self._count_junk()
        self.notes["resync"] += 1
        self._hunting = True
        self._in_header = False
        if self._tail:
            self._data[self._at : self._at] = self._tail
            self._tail = b""
        else:
            self._at += 1
        self._hunted += 1
        return True

    def _hunt(self) -> bool:
        """Move to the next Cluster or EBML header."""
        self._hunting = not self._seek(_START)
        return not self._hunting


# ----------------------------------------------------------------- header contents


def _children(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of a whole master element; stops at the first that cannot be."""
    at = 0
    while at < len(content):
        id_end = at + 9 - content[at].bit_length()
        if id_end > at + 4 or id_end >= len(content):
            return
        size_bytes = 9 - content[id_end].bit_length()
        body = id_end + size_bytes
        if size_bytes > 8 or body > len(content):
            return
        size = int.from_bytes(content[id_end:body], "big") & (1 << 7 * size_bytes) - 1
        if body + size > len(content):
            return
        yield int.from_bytes(content[at:id_end], "big"), content[body : body + size]
        at = body + size


def _first(content: bytes, element: int) -> bytes:
    """Contents of the first such child, empty where there is none."""
    return next((body for kind, body in _children(content) if kind == element), b"")


def _number(body: bytes, default: int) -> int:
    return int.from_bytes(body[:8], "big") if body else default


def _float(body: bytes, default: float) -> float:
    if len(body) == 4 or len(body) == 8:
        value: float = struct.unpack(">f" if len(body) == 4 else ">d", body)[0]
        return value
    return default


def _choose_track(tracks: bytes) -> tuple[int, Track]:
    """Number and description of the first audio track that can be decoded."""
    unusable: list[str] = []
    for kind, entry in _children(tracks):
        if kind != _TRACK_ENTRY:
            continue
        if _number(_first(entry, _TRACK_TYPE), 0) != 2:  # 1 is video, 2 audio
            continue
        number = _number(_first(entry, _TRACK_NUMBER), 1)
        track = _describe(entry)
        if track is not None and 1 <= number <= 126:
            return number, check_track(track)
        how = "compressed or encrypted " if _first(entry, _CONTENT_ENCODINGS) else ""
        unusable.append(how + printable(_first(entry, _CODEC_ID)))
    if unusable:
        raise DecodeError(
            f"The WebM stream holds {unusable[0]} audio; "
            "live WebM may hold Opus or little-endian PCM (not of 24 bits).",
            kind="unsupported_codec",
        )
    raise DecodeError("The WebM stream has no audio track.", kind="no_audio_track")


def _describe(entry: bytes) -> Track | None:
    if _first(entry, _CONTENT_ENCODINGS):  # encrypted or compressed
        return None
    codec = _first(entry, _CODEC_ID).rstrip(b"\0").decode("ascii", "replace")
    private = _first(entry, _CODEC_PRIVATE)
    audio = _first(entry, _AUDIO)
    if codec == "A_OPUS":
        return opus_track(private)
    declared = _float(_first(audio, _SAMPLING_FREQUENCY), 8000.0)
    rate = round(declared) if 0 < declared < 1e9 else 0
    channels = _number(_first(audio, _CHANNELS), 1)
    pcm = _PCM.get((codec, _number(_first(audio, _BIT_DEPTH), 0)))
    return Track(pcm, rate, channels) if pcm else None


def _header_too_big() -> DecodeError:
    return DecodeError(
        f"The WebM header is larger than {MAX_HEADER_BYTES // 1024} KiB.",
        kind="header_too_big",
    )
