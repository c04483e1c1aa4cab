"""Log-mel features of windows, computed only for the samples that are new.

Owns Whisper's front end (25 ms frames every 10 ms hop, Slaney mel filters) and the
cache of what was computed for growing windows.  Knows nothing of models, batches or
text.  The numbers agree with faster-whisper's ``FeatureExtractor`` to 1e-4; what is
added here is that a window which grew by half a second costs half a second.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import SAMPLE_RATE, Samples

__all__ = ["FeatureCache", "Features", "HOP_SAMPLES", "LogMel"]

HOP_SAMPLES = 160  # 10 ms, one column of features
FFT_SAMPLES = 400  # 25 ms
HALF = FFT_SAMPLES // 2  # a column looks this far to both sides of its centre
PROBE = 37  # every so many samples are kept to recognise a window by
DYNAMIC_RANGE = 8.0  # log10 units kept below the loudest value of the window
# numpy's matmul goes to OpenBLAS, which uses threads above 2**18 multiplications: for
# this small product they cost more CPU than they save time.  Sixteen columns of 80 x
# 201 stay just below, for where numpy came before the package could forbid threads.
BLOCK = 16

Features = NDArray[np.float32]  # shape [mels, hops]


class LogMel:
    """Samples to log-mel columns.  Holds constants only: safe in any thread."""

    def __init__(self, mels: int) -> None:
        self.mels = mels
        self._filters = _mel_filters(mels)
        # periodic Hann, as torch.hann_window and faster-whisper have it
        self._taper = np.hanning(FFT_SAMPLES + 1)[:-1].astype(np.float32)

    def columns(self, padded: Samples) -> Features:
        """Raw log10 mel energies of every whole frame in ``padded``.

        ``padded`` has shape ``[400 + 160 * (n - 1) + rest]``; the result ``[mels, n]``
        is neither clamped nor scaled.
        """
        count = 1 + (len(padded) - FFT_SAMPLES) // HOP_SAMPLES
        frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)
        spectrum = np.fft.rfft(frames[::HOP_SAMPLES][:count] * self._taper)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        whole = -(-count // BLOCK) * BLOCK
        blocks = np.zeros((whole, power.shape[1]), dtype=np.float32)
        blocks[:count] = power
        energies = blocks.reshape(-1, BLOCK, power.shape[1]) @ self._filters.T
        flat = energies.reshape(whole, self.mels)[:count]
        logs: Features = np.log10(np.maximum(flat, 1e-10)).T
        return logs

    @staticmethod
    def scaled(raw: Features) -> Features:
        """Clamp to the window's own dynamic range and scale as Whisper expects."""
        clamped: Features = np.maximum(raw, raw.max() - DYNAMIC_RANGE)
        return (clamped + 4.0) / 4.0


@dataclass(slots=True)
class _Grown:
    """Columns of one window that no later sample can change, and their audio's end."""

    raw: Features  # shape [mels, room]
    settled: int = 0  # columns of `raw` that are filled
    probes: Samples = field(default_factory=lambda: np.empty(0, np.float32))
    lock: threading.Lock = field(default_factory=threading.Lock)


class FeatureCache:
    """Features of windows, extended where an earlier window had the same start.

    A column is settled once all of its 400 samples are real audio; the last one or two
    of a window lean on padding and are computed again.  Keyed by session and start
    position, one window per session, at most ``capacity`` sessions (the least recently
    used goes first; a 30 s window holds 1 MB).  Thread-safe.
    """

    def __init__(self, mels: int, *, capacity: int = 256) -> None:
        self._mel = LogMel(mels)
        self._capacity = capacity
        self._windows: OrderedDict[str, tuple[int, _Grown]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._windows)

    def forget(self, session: str) -> None:
        """Drop what is kept for a session; no-op if there is nothing."""
        with self._lock:
            self._windows.pop(session, None)

    def features(self, session: str, start: int, audio: Samples) -> Features:
        """Features of the window ``audio`` (``[samples]``, more than 200 of them).

        Shape ``[mels, samples // 160]``, the columns that faster-whisper feeds to the
        encoder (it computes one more, which counts for the window's loudest value).
        """
        grown = self._entry(session, start)
        with grown.lock:
            probes = audio[::PROBE]
            shared = min(len(probes), len(grown.probes))
            if not np.array_equal(probes[:shared], grown.probes[:shared]):
                grown.settled = 0  # other samples at a known position
            own = _settled(len(audio))
            known = min(grown.settled, own)
            fresh = self._mel.columns(_padded(audio, known))
            total = known + fresh.shape[1]
            raw = _with_room(grown.raw, known, total)
            raw[:, known:total] = fresh
            grown.raw, grown.settled, grown.probes = raw, own, probes.copy()
            return self._mel.scaled(raw[:, :total])[:, : len(audio) // HOP_SAMPLES]

    def _entry(self, session: str, start: int) -> _Grown:
        with self._lock:
            found = self._windows.get(session)
            if found is None or found[0] != start:
                empty = np.empty((self._mel.mels, 0), np.float32)
                found = self._windows[session] = (start, _Grown(empty))
            self._windows.move_to_end(session)
            while len(self._windows) > self._capacity:
                self._windows.popitem(last=False)
            return found[1]


def _column_start(column: int) -> int:
    """First sample, in the window, that a column looks at (not mirrored)."""
    return max(column * HOP_SAMPLES - HALF, 0)


def _settled(samples: int) -> int:
    """Columns of a window of this length that no later sample changes."""
    count = 1 + (samples - HALF) // HOP_SAMPLES
    # columns 0 and 1 look at the left mirror: they are kept once 2 is settled
    return count if count > 2 else 0


def _padded(audio: Samples, known: int) -> Samples:
    """What the columns from ``known`` on look at: a hop of zeros, then mirrors."""
    lead = 0 if known else HALF
    fresh = audio[_column_start(known) :]
    # The right mirror reflects about the last of the added zeros: 159 further zeros,
    # then the last 41 samples backwards.
    mirrored = audio[: -(HALF - HOP_SAMPLES + 2) : -1]
    zeros = np.zeros(HOP_SAMPLES + HOP_SAMPLES - 1, dtype=np.float32)
    return np.concatenate((audio[lead:0:-1], fresh, zeros, mirrored))


def _with_room(raw: Features, used: int, needed: int) -> Features:
    """``raw`` itself, or a copy of its first ``used`` columns with room to grow."""
    if needed <= raw.shape[1]:
        return raw
    larger = np.empty((raw.shape[0], needed + needed // 2), dtype=np.float32)
    larger[:, :used] = raw[:, :used]
    return larger


def _mel_filters(mels: int) -> Features:
    """Slaney's triangular filters, area-normalised; shape ``[mels, 201]``.

    The scale is linear to 1 kHz (3 mel per 200 Hz) and logarithmic above it (27 mel
    per factor of 6.4), up to 8 kHz.
    """
    knee_hz, per_hz, step = 1000.0, 3 / 200, np.log(6.4) / 27
    knee = knee_hz * per_hz
    top = knee + np.log(SAMPLE_RATE / 2 / knee_hz) / step
    points = np.linspace(0.0, top, mels + 2)
    edges = np.where(
        points < knee, points / per_hz, knee_hz * np.exp(step * (points - knee))
    )
    bins = np.fft.rfftfreq(FFT_SAMPLES, 1 / SAMPLE_RATE)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * 2.0 / (high - low), dtype=np.float32)
