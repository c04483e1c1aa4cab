"""Units of audio and the buffer that holds a session's recent samples.

A sample is one mono float32 value at 16 kHz, nominally in -1..1.  Positions are
integer samples since the session started; nothing below the wire format uses
seconds for a position.  No I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FRAME_SAMPLES",
    "FRAME_S",
    "PcmFormat",
    "SAMPLE_RATE",
    "SampleBuffer",
    "Samples",
    "ms_to_samples",
    "s_to_samples",
    "samples_to_s",
]

Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 512  # what Silero scores at 16 kHz, neither more nor less
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE  # 0.032


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """Raw samples as a peer describes them, channels interleaved, little-endian.

    ``width`` are bytes of one sample: 8 bit without a sign as in WAV, others signed.
    """

    rate: int
    width: int
    channels: int

    @property
    def frame_bytes(self) -> int:
        """What all channels have at one moment."""
        return self.width * self.channels

    @property
    def bytes_per_s(self) -> int:
        """Of sound."""
        return self.rate * self.frame_bytes

    def __str__(self) -> str:
        return f"pcm{8 * self.width}-{self.rate}x{self.channels}"


def s_to_samples(seconds: float) -> int:
    """Seconds to the nearest whole sample."""
    return round(seconds * SAMPLE_RATE)


def ms_to_samples(milliseconds: float) -> int:
    """Milliseconds to the nearest whole sample."""
    return round(milliseconds * SAMPLE_RATE / 1000)


def samples_to_s(samples: int) -> float:
    """Samples to seconds."""
    return samples / SAMPLE_RATE


class SampleBuffer:
    """A contiguous span of samples addressed by absolute position.

    ``append`` adds at ``end``, ``trim`` gives up everything before a position.
    Both are amortised O(samples given): the storage is compacted only when the free
    room at its tail runs out, and it shrinks again after a long utterance, so that
    an idle session costs what a new one does.
    """

    _SMALLEST = 2 * SAMPLE_RATE

    def __init__(self) -> None:
        self._store: Samples = np.empty(0, dtype=np.float32)  # until there is a sample
        self._head = 0  # index in the store of the sample at `start`
        self._tail = 0  # index after the newest sample
        self._start = 0  # absolute position of the oldest sample kept

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def start(self) -> int:
        """Position of the oldest sample kept."""
        return self._start

    @property
    def end(self) -> int:
        """Position after the newest sample."""
        return self._start + len(self)

    def append(self, samples: Samples) -> None:
        """Copy ``samples`` (shape ``[n]``) to the end."""
        if self._tail + len(samples) > len(self._store):
            # Half as much again stays free, or the next few would move all others.
            roomy = (len(self) + len(samples)) * 3 // 2
            fits = roomy <= len(self._store) <= 2 * roomy
            self._move(len(self._store) if fits else max(roomy, self._SMALLEST))
        # numpy would let go of the interpreter's lock for this and wait to get it back:
        # at 130 streams an eighth of the event loop's time.
        room = self._store.data[self._tail : self._tail + len(samples)]
        room[:] = samples.data
        self._tail += len(samples)

    def read(self, start: int, end: int) -> Samples:
        """A copy of the span ``start..end``; both must lie inside the buffer."""
        assert self.start <= start <= end <= self.end, "read outside the buffer"
        offset = self._head - self._start
        return self._store[start + offset : end + offset].copy()

    def trim(self, before: int) -> None:
        """Give up all samples before position ``before`` (no-op if already gone)."""
        dropped = min(max(before - self._start, 0), len(self))
        self._head += dropped
        self._start += dropped
        if len(self) * 4 < self._SMALLEST < len(self._store):
            self._move(self._SMALLEST)

    def _move(self, size: int) -> None:
        """Bring what is kept to the front of a store of ``size`` samples."""
        store, kept = self._store, len(self)
        if size != len(store):
            store = np.empty(size, dtype=np.float32)
        store[:kept] = self._store[self._head : self._tail]
        self._store, self._head, self._tail = store, 0, kept
