"""Log-mel features, as faster-whisper computes them, cut in two halves.

``log_mel`` is the half that can be cached and mixed; ``normalised`` is the half that
depends on the whole window (Whisper clamps to 8 below the maximum).
"""

from __future__ import annotations

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

__all__ = ["FLOOR", "HOP_S", "MELS", "log_mel", "normalised"]

MELS = 80
HOP_S = 0.01
FLOOR = -10.0  # log10 of the 1e-10 that Whisper clips mel power to

_N_FFT, _HOP = 400, 160
_WINDOW = np.hanning(_N_FFT + 1)[:-1].astype(np.float32)
_FILTERS: NDArray[np.float32] = FeatureExtractor().mel_filters.astype(np.float32)


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log10 mel power of 16 kHz samples, one row per hop: [frames, 80]."""
    frames = len(samples) // _HOP
    padded = np.pad(samples, _N_FFT // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP]
    power = np.abs(np.fft.rfft(windows[:frames] * _WINDOW)) ** 2
    mel: NDArray[np.float32] = power.astype(np.float32) @ _FILTERS.T
    return np.log10(np.maximum(mel, np.float32(1e-10)))


def normalised(mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clamp and scale log10 mel power the way the model expects its input."""
    clamped = np.maximum(mel, mel.max() - 8.0)
    scaled: NDArray[np.float32] = (clamped + 4.0) / 4.0
    return scaled
