"""Raw PCM at 16 kHz mono: what every WhisperLive client sends unless told otherwise.

Owns sample formats and ragged messages.  Must not know containers.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from whisper_live.audio import Samples
from whisper_live.errors import DecodeError
from whisper_live.media.stream import MAX_BACKLOG_BYTES, MAX_PIECE_SAMPLES

__all__ = ["PCM_FORMATS", "PcmStream"]

# audio_format -> name in metrics, dtype, offset, scale (WhisperLive's own)
PCM_FORMATS: dict[str, tuple[str, np.dtype[Any], int, float]] = {
    "float32": ("pcm_f32", np.dtype("<f4"), 0, 1.0),
    "int16": ("pcm_s16", np.dtype("<i2"), 0, 1 / 32768),
    "uint8": ("pcm_u8", np.dtype("u1"), 128, 1 / 128),
}


class PcmStream:
    """The ``StreamDecoder`` of raw samples; a sample cut in two waits for its rest.

    Floats are passed on as they are, even those that cannot be sound: bytes in another
    format than announced are the ingest's to repair and to count.
    """

    def __init__(self, audio_format: str) -> None:
        self.codec, self._type, self._offset, self._scale = PCM_FORMATS[audio_format]
        self.notes: Counter[str] = Counter()
        self._waiting = bytearray()
        self._finished = False

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
        count = min(len(self._waiting) // self._type.itemsize, MAX_PIECE_SAMPLES)
        if not count:
            if self._finished and self._waiting:
                self.notes["ragged_tail"] += 1
                self._waiting.clear()
            return None
        size = count * self._type.itemsize
        raw = np.frombuffer(bytes(self._waiting[:size]), self._type)
        del self._waiting[:size]
        if self._type.kind == "f":
            return raw.astype(np.float32, copy=False)
        samples = raw.astype(np.float32)
        samples -= self._offset
        samples *= np.float32(self._scale)
        return samples
