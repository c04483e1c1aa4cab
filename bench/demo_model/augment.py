"""Changes to cached log-mels: speaker, room, channel, noise. All in the mel domain.

Everything works on log10 or linear mel power, [frames, 80], and costs a millisecond
or so per ten seconds. ``strength`` runs from 0 to 1 and grows during training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from bench.demo_model.features import FLOOR, MELS

__all__ = ["Augmenter", "noise_bank"]

Mel = NDArray[np.float32]
_BINS = np.arange(MELS, dtype=np.float32)


def noise_bank(seed: int, count: int = 48, frames: int = 1000) -> list[Mel]:
    """Return log10 mels of noise, hum, tones, clicks and chimes; no speech."""
    rng = np.random.default_rng(seed)
    return [_noise(rng, frames, index % 8) for index in range(count)]


def _noise(rng: np.random.Generator, frames: int, kind: int) -> Mel:
    # The mel power of white noise has about this many degrees of freedom per bin:
    # filters widen with frequency.
    freedom = 2.0 + _BINS / 16
    grain = rng.gamma(freedom, 1 / freedom, (frames, MELS)).astype(np.float32)
    time = np.arange(frames)[:, None] / 100
    power: Any
    if kind == 0:  # white
        power = grain
    elif kind == 1:  # coloured
        power = grain * 10 ** (-_BINS * rng.uniform(0.0, 0.05))
    elif kind == 2:  # wind, traffic: slow swell
        swell = 1 + 0.9 * np.sin(2 * np.pi * rng.uniform(0.1, 1.5) * time)
        power = grain * 10 ** (-_BINS * rng.uniform(0.01, 0.06)) * swell
    elif kind == 3:  # hum and its harmonics
        power = 1e-3 * grain
        for harmonic in range(1, rng.integers(2, 8)):
            centre = min(harmonic * rng.uniform(1.3, 2.7), 79)
            line = np.exp(-0.5 * ((_BINS - centre) / 0.6) ** 2)
            power = power + line * rng.uniform(0.1, 1)
    elif kind == 4:  # steady tones
        power = 1e-3 * grain
        for _ in range(rng.integers(1, 4)):
            line = np.exp(-0.5 * ((_BINS - rng.uniform(2, 75)) / 0.6) ** 2)
            power = power + line * rng.uniform(0.1, 1)
    elif kind == 5:  # chirps
        power = 1e-3 * grain
        path = 40 + 35 * np.sin(2 * np.pi * rng.uniform(0.05, 0.8) * time)
        power = power + np.exp(-0.5 * ((_BINS - path) / 0.8) ** 2)
    elif kind == 6:  # clicks, typing
        power = 1e-3 * grain
        for at in rng.integers(0, frames, rng.integers(3, 60)):
            decay = np.exp(-np.arange(min(12, frames - at)) / rng.uniform(0.5, 4))
            power[at : at + 12] += (grain[at : at + 12].T * decay).T
    else:  # chimes: notes that start and fade
        power = 1e-3 * grain
        for at in range(0, frames, rng.integers(15, 120)):
            length = min(int(rng.integers(20, 150)), frames - at)
            line = np.exp(-0.5 * ((_BINS - rng.uniform(5, 60)) / 0.7) ** 2)
            fade = np.exp(-np.arange(length) / rng.uniform(5, 60))
            power[at : at + length] += fade[:, None] * line
    return np.asarray(np.log10(np.maximum(power, 1e-10)), np.float32)


class Augmenter:
    """Draws changes from one random generator; owns a bank of noises."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._noises = noise_bank(7)

    def speaker(self, mel: Mel, strength: float) -> Mel:
        """Move formants and tilt the spectrum of one clip (log10 in, log10 out)."""
        rng = self._rng
        if rng.random() < 0.6 * strength:
            factor = rng.uniform(1 - 0.12 * strength, 1 + 0.12 * strength)
            source = np.clip(_BINS * factor, 0, MELS - 1.001)
            low = source.astype(int)
            part = source - low
            mel = mel[:, low] * (1 - part) + mel[:, low + 1] * part
        changed: Mel = mel + self._smooth_curve(0.5 * strength)
        return changed

    def _smooth_curve(self, size: float) -> Mel:
        knots = self._rng.normal(0, size, 6)
        curve = np.interp(_BINS, np.linspace(0, MELS - 1, 6), knots)
        return np.asarray(curve, np.float32)

    def reverberate(self, power: Mel) -> Mel:
        """Add an exponential tail (linear power in and out)."""
        decay = self._rng.uniform(0.6, 0.93)  # per 10 ms: RT60 of 0.14 s to 0.95 s
        gain = self._rng.uniform(0.02, 0.25) * (1 - decay)
        tail = lfilter([0.0, gain], [1.0, -decay], power, axis=0)
        return np.asarray(power + tail, np.float32)

    def background(self, frames: int) -> Mel:
        """Return log10 mel of some noise with its loudest bin near 0."""
        rng = self._rng
        noise = self._noises[rng.integers(len(self._noises))]
        start = rng.integers(len(noise))
        rows = (start + np.arange(frames)) % len(noise)
        mel: Mel = noise[rows] + self._smooth_curve(0.6)
        mel -= mel.max()
        return mel

    def channel(self, mel: Mel, strength: float) -> Mel:
        """Colour and band-limit a window (log10 in and out)."""
        rng = self._rng
        mel = mel + self._smooth_curve(0.3 * strength)
        if rng.random() < 0.25 * strength:
            # Nothing above 3 to 4 kHz, as in 8 kHz recordings: bins from 52 to 60.
            cut = rng.integers(50, 62)
            mel[:, cut:] = np.minimum(mel[:, cut:], FLOOR + rng.uniform(0, 5))
        if rng.random() < 0.1 * strength:
            mel[:, : rng.integers(1, 8)] -= rng.uniform(1, 4)
        return mel

    def mask(self, mel: Mel, strength: float) -> Mel:
        """Blank a few bands and moments (normalised mel in and out)."""
        rng = self._rng
        low = mel.min()
        for _ in range(rng.integers(0, 1 + round(3 * strength))):
            first, width = rng.integers(0, MELS - 1), rng.integers(1, 10)
            mel[:, first : first + width] = low
        for _ in range(rng.integers(0, 1 + round(len(mel) / 250 * strength))):
            first, width = rng.integers(0, len(mel)), rng.integers(1, 8)
            mel[first : first + width] = low
        return mel
