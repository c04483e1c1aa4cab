"""Raw mono samples at other rates than 16 kHz: OpenAI's 24 kHz, and telephones' 8 kHz.

Owns G.711's two tables and the resampling.  Must not know containers.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import Samples
from whisper_live.errors import DecodeError
from whisper_live.media.codec import Resampler
from whisper_live.media.stream import MAX_BACKLOG_BYTES, Output

__all__ = ["RATED_FORMATS", "RatedStream"]

_BATCH_S = 5  # resampled at a time


def _mu_law() -> NDArray[np.float32]:
    """G.711's table: sign, exponent and mantissa, all bits inverted."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code >> 4) & 7)) - 0x84
    return _scaled(np.where(code & 0x80, -magnitude, magnitude))


def _a_law() -> NDArray[np.float32]:
    """G.711's other table: every second bit inverted, and the sign the other way."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 0x0F) << 4
    magnitude = np.where(
        exponent > 0,
        mantissa + 0x108 << np.maximum(exponent - 1, 0),
        mantissa + 8,
    )
    return _scaled(np.where(code & 0x80, magnitude, -magnitude))


def _scaled(values: NDArray[np.int32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = values.astype(np.float32) / np.float32(32768)
    return scaled


# What a protocol names -> name in metrics, samples a second, and a table for bytes
# that are no samples themselves
RATED_FORMATS: dict[str, tuple[str, int, NDArray[np.float32] | None]] = {
    "pcm16_24k": ("pcm_s16_24k", 24_000, None),
    "pcmu": ("pcm_mulaw", 8_000, _mu_law()),
    "pcma": ("pcm_alaw", 8_000, _a_law()),
}


class RatedStream:
    """The ``StreamDecoder`` of these; a sample cut in two waits for its rest."""

    def __init__(self, audio_format: str) -> None:
        self.codec, rate, self._table = RATED_FORMATS[audio_format]
        self.notes: Counter[str] = Counter()
        self._size = 2 if self._table is None else 1
        self._most = _BATCH_S * rate * self._size
        self._waiting = bytearray()
        self._resampler = Resampler(rate)
        self._finished = self._flushed = False
        self._output = Output()

    def push(self, data: bytes) -> None:
        """Keep ``data``; raises ``DecodeError`` if over a MiB is waiting already."""
        if len(self._waiting) > MAX_BACKLOG_BYTES:
            raise DecodeError("More was sent than was decoded.", kind="backlog")
        self._waiting += data

    def finish(self) -> None:
        """No more bytes will come."""
        self._finished = True

    def pull(self) -> Samples | None:
        """The next piece of at most 5 s; None when more bytes are needed."""
        while not self._output:
            count = min(len(self._waiting), self._most)
            count -= count % self._size
            if count:
                data = bytes(self._waiting[:count])
                del self._waiting[:count]
                self._output.add(self._resampler.push([self._samples(data)]))
            elif self._finished and not self._flushed:
                self._flushed = True
                if self._waiting:
                    self.notes["ragged_tail"] += 1
                self._output.add(self._resampler.flush())
            else:
                return None
        return self._output.take()

    def _samples(self, data: bytes) -> Samples:
        if self._table is not None:
            return self._table[np.frombuffer(data, np.uint8)]
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
