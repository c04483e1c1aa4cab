"""What a container splitter hands to a codec: tracks and packets, and their limits.

Pure: bytes and numbers only, no PyAV, no clock.  ``webm``, ``ogg`` and ``mp4`` find
packets; ``codec`` turns them into samples; neither knows the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from whisper_live.errors import DecodeError

__all__ = [
    "MAX_HEADER_BYTES",
    "MAX_HUNT_BYTES",
    "MAX_JUNK",
    "MAX_PACKET_BYTES",
    "MAX_SKIP_BYTES",
    "OPUS_RATE",
    "Packet",
    "Track",
    "check_track",
    "opus_samples",
    "opus_track",
    "printable",
]

# Far above what any browser sends, far below what would hurt.
MAX_HEADER_BYTES = 64 * 1024  # EBML header, Info, Tracks; moov and moof have their own
MAX_PACKET_BYTES = 256 * 1024  # one WebM block or MP4 sample
MAX_SKIP_BYTES = 1024 * 1024  # one element or box passed over unread
MAX_HUNT_BYTES = 256 * 1024  # looked through for the next place to start from
MAX_JUNK = 250  # elements, boxes or pages in a row without a packet

OPUS_RATE = 48_000
# Chrome's MP4 declares 3840 samples, a hostile header 65535.  Real priming is 312,
# and what is skipped beyond it is speech.
_MAX_PRESKIP = 960
_LOWEST_RATE, _HIGHEST_RATE = 8_000, 192_000


@dataclass(frozen=True, slots=True)
class Track:
    """The one audio track of a stream, as its header describes it."""

    codec: str  # "opus", "aac", "pcm_f32", "pcm_f64", "pcm_u8", "pcm_s16", "pcm_s32"
    rate: int  # Hz, before resampling
    channels: int  # 1 or 2
    preskip: int = 0  # samples to drop at the start, at ``rate``
    gain: int = 0  # Opus output gain, 1/256 dB
    config: bytes = b""  # AAC: AudioSpecificConfig


class Packet(NamedTuple):
    """One coded unit with the time its container gives it."""

    data: bytes
    time_s: float | None  # None: the container did not say
    trim_s: float = 0.0  # to cut from the end of what it decodes to


def check_track(track: Track) -> Track:
    """``track`` itself; raises ``DecodeError`` where its numbers are out of bounds."""
    if not _LOWEST_RATE <= track.rate <= _HIGHEST_RATE:
        raise DecodeError(
            f"The audio track has a sample rate of {track.rate} Hz; "
            f"{_LOWEST_RATE} to {_HIGHEST_RATE} Hz can be decoded.",
            kind="sample_rate",
        )
    if track.channels not in (1, 2):
        raise DecodeError(
            f"The audio track has {track.channels} channels; send one or two.",
            kind="channels",
        )
    return track


def opus_track(head: bytes) -> Track:
    """The track that an OpusHead (RFC 7845, 5.1) describes.

    A head that is missing or too short still gives a track: Opus packets describe
    themselves, and a stereo decoder plays mono packets.
    """
    if len(head) < 19 or head[:8] != b"OpusHead":
        return Track("opus", OPUS_RATE, 2)
    if head[18] != 0:
        raise DecodeError(
            "The Opus track uses a surround mapping; send mono or stereo.",
            kind="channels",
        )
    preskip = int.from_bytes(head[10:12], "little")
    return check_track(
        Track(
            "opus",
            OPUS_RATE,  # the head's own rate is that of the recording, not of Opus
            head[9],
            preskip=min(preskip, _MAX_PRESKIP),
            gain=int.from_bytes(head[16:18], "little", signed=True),
        )
    )


def opus_samples(packet: bytes) -> int:
    """How many samples at 48 kHz an Opus packet holds (RFC 6716, 3.1); 0 if none."""
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:  # SILK
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:  # hybrid
        frame = (480, 960)[config & 1]
    else:  # CELT
        frame = (120, 240, 480, 960)[config & 3]
    if code < 3:
        return frame * (1, 2, 2)[code]
    return frame * (packet[1] & 0x3F) if len(packet) > 1 else 0


def printable(name: bytes) -> str:
    """A client's codec name, made fit for a sentence."""
    text = name[:32].decode("ascii", "replace").strip("\0 ")
    return "".join(c if c.isprintable() else "?" for c in text) or "(none)"
