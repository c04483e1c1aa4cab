"""Raw PCM: at 16 kHz mono what WhisperLive clients send, and in any form others do.

Owns sample formats and ragged messages.  Must not know containers.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from whisper_live.audio import PcmFormat, Samples
from whisper_live.errors import DecodeError
from whisper_live.media.codec import Resampler
from whisper_live.media.mixing import mixed
from whisper_live.media.stream import MAX_BACKLOG_BYTES, MAX_PIECE_SAMPLES, Output

__all__ = ["PCM_FORMATS", "AnyPcmStream", "PcmStream"]

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


_LONGEST_BLOCK_S = 5


class AnyPcmStream:
    """The ``StreamDecoder`` of raw samples at any rate, of any width, in any channels.

    A frame cut in two waits for its rest.
    """

    def __init__(self, pcm: PcmFormat) -> None:
        self.codec = "pcm_u8" if pcm.width == 1 else f"pcm_s{8 * pcm.width}"
        self.notes: Counter[str] = Counter()
        self._pcm = pcm
        self._resampler = Resampler(pcm.rate)
        self._waiting = bytearray()
        self._output = Output()
        self._finished = False
        self._flushed = False

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
            if not self._convert_block() and not (self._finished and self._flush()):
                return None
        return self._output.take()

    def _convert_block(self) -> bool:
        """Convert the next samples; False where there is no whole one."""
        frame = self._pcm.frame_bytes
        frames = min(len(self._waiting) // frame, _LONGEST_BLOCK_S * self._pcm.rate)
        if not frames:
            return False
        block = bytes(self._waiting[: frames * frame])
        del self._waiting[: frames * frame]
        samples, channels = _floats(block, self._pcm.width), self._pcm.channels
        mono = mixed([samples[channel::channels] for channel in range(channels)])
        self._output.add(self._resampler.push([mono]))
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


def _floats(block: bytes, width: int) -> Samples:
    """Whole samples as floats in -1..1."""
    if width == 1:
        return (np.frombuffer(block, "u1").astype(np.float32) - 128) / np.float32(128)
    if width == 3:  # numpy has no such type: the upper bytes of 32 bit
        wide = np.zeros((len(block) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(block, np.uint8).reshape(-1, 3)
        block, width = wide.tobytes(), 4
    whole = np.frombuffer(block, f"<i{width}").astype(np.float32)
    return whole * np.float32(0.5 ** (8 * width - 1))
