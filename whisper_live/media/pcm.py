"""Raw samples: at 16 kHz mono what WhisperLive clients send, and in any form others do.

Owns sample formats and ragged messages.  Must not know containers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from whisper_live.audio import SAMPLE_RATE, PcmFormat, Samples
from whisper_live.media.codec import Resampler
from whisper_live.media.g711 import A_LAW, MU_LAW
from whisper_live.media.mixing import mixed
from whisper_live.media.stream import Output, keep

__all__ = ["RAW_FORMATS", "RawFormat", "RawStream", "raw_format"]

_LONGEST_BLOCK_S = 5


@dataclass(frozen=True, slots=True)
class RawFormat:
    """How raw bytes are read; ``mono`` makes samples of whole frames, at ``rate``."""

    codec: str  # for metrics
    rate: int
    frame_bytes: int  # what all channels have at one moment
    mono: Callable[[bytes], Samples]


class RawStream:
    """The ``StreamDecoder`` of raw samples; a frame cut in two waits for its rest.

    Floats are passed on as they are, even those that cannot be sound: bytes in another
    format than announced are the ingest's to repair and to count.
    """

    def __init__(self, raw: RawFormat) -> None:
        self.codec = raw.codec
        self.notes: Counter[str] = Counter()
        self._raw = raw
        self._resampler = Resampler(raw.rate)
        self._waiting = bytearray()
        self._output = Output()
        self._finished = False
        self._flushed = False

    def push(self, data: bytes) -> None:
        """Keep ``data``; raises ``DecodeError`` if over a MiB is waiting already."""
        keep(self._waiting, data)

    def skip(self) -> None:
        """Raw samples have no times."""

    def finish(self) -> None:
        """No more bytes will come."""
        self._finished = True

    def pull(self) -> Samples | None:
        """The next piece of at most 5 s; None when more bytes are needed."""
        while not self._output:
            if not self._convert_block() and not (self._finished and self._flush()):
                return None
        return self._output.take()

    def _convert_block(self) -> bool:
        """Convert the next samples; False where there is no whole one."""
        frame = self._raw.frame_bytes
        frames = min(len(self._waiting) // frame, _LONGEST_BLOCK_S * self._raw.rate)
        if not frames:
            return False
        block = bytes(self._waiting[: frames * frame])
        del self._waiting[: frames * frame]
        self._output.add(self._resampler.push([self._raw.mono(block)]))
        return True

    def _flush(self) -> bool:
        """Give what the resampler holds, the first time."""
        if self._flushed:
            return False
        self._flushed = True
        if self._waiting:
            self.notes["ragged_tail"] += 1
            self._waiting.clear()
        self._output.add(self._resampler.flush())
        return True


def raw_format(pcm: PcmFormat) -> RawFormat:
    """How samples are read that a peer describes."""
    codec = "pcm_u8" if pcm.width == 1 else f"pcm_s{8 * pcm.width}"
    mono = partial(_mono, width=pcm.width, channels=pcm.channels)
    return RawFormat(codec, pcm.rate, pcm.frame_bytes, mono)


def _mono(block: bytes, *, width: int, channels: int) -> Samples:
    samples = _integers(block, width)
    return mixed([samples[channel::channels] for channel in range(channels)])


def _integers(block: bytes, width: int) -> Samples:
    """Whole samples as floats in -1..1."""
    if width == 1:
        return (np.frombuffer(block, "u1").astype(np.float32) - 128) / np.float32(128)
    if width == 3:  # numpy has no such type: the upper bytes of 32 bit
        wide = np.zeros((len(block) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(block, np.uint8).reshape(-1, 3)
        block, width = wide.tobytes(), 4
    whole = np.frombuffer(block, f"<i{width}").astype(np.float32)
    return whole * np.float32(0.5 ** (8 * width - 1))


def _floats(block: bytes) -> Samples:
    return np.frombuffer(block, "<f4").astype(np.float32, copy=False)


def _looked_up(block: bytes, *, table: Samples) -> Samples:
    return table[np.frombuffer(block, np.uint8)]


# By the names that protocols give them: WhisperLive's own, then OpenAI's.
RAW_FORMATS = {
    "float32": RawFormat("pcm_f32", SAMPLE_RATE, 4, _floats),
    "int16": raw_format(PcmFormat(SAMPLE_RATE, 2, 1)),
    "uint8": raw_format(PcmFormat(SAMPLE_RATE, 1, 1)),
    "pcm16_24k": RawFormat("pcm_s16_24k", 24_000, 2, partial(_integers, width=2)),
    "pcmu": RawFormat("pcm_mulaw", 8_000, 1, partial(_looked_up, table=MU_LAW)),
    "pcma": RawFormat("pcm_alaw", 8_000, 1, partial(_looked_up, table=A_LAW)),
}
