"""Changes to cached log-mels: speaker, room, channel, noise. All in the mel domain.

Everything works on log10 or linear mel power, [frames, 80], and costs a millisecond
or so per ten seconds. ``strength`` runs from 0 to 1 and grows during training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from training.demo_model.features import FLOOR, MELS, log_mel
from training.demo_model.synth import SAMPLE_RATE

__all__ = ["Augmenter", "babble_bank", "noise_bank"]

Mel = NDArray[np.float32]
Wave = NDArray[np.float64]
_BINS = np.arange(MELS, dtype=np.float32)


def noise_bank(seed: int, count: int = 64, seconds: float = 10.0) -> list[Mel]:
    """Return log10 mels of noise, hum, tones, sweeps, clicks, chimes; no speech."""
    rng = np.random.default_rng(seed)
    kinds = (_coloured, _wind, _clicks, _hum, _tones, _sweep, _chimes, _sweep)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    bank = []
    for index in range(count):
        sound = kinds[index % len(kinds)](rng, time)
        sound = sound / np.abs(sound).max()
        sound += 10 ** rng.uniform(-5, -1.5) * rng.standard_normal(len(time))
        bank.append(log_mel(sound.astype(np.float32)))
    return bank


def _coloured(rng: np.random.Generator, time: Wave) -> Wave:
    """Noise from white to brown."""
    white: Wave = rng.standard_normal(len(time))
    return np.asarray(lfilter([1.0], [1.0, -rng.choice((0.0, 0.5, 0.9, 0.99))], white))


def _wind(rng: np.random.Generator, time: Wave) -> Wave:
    """Noise that swells and fades slowly."""
    swell = 1 + 0.9 * np.sin(2 * np.pi * rng.uniform(0.1, 1.5) * time)
    return _coloured(rng, time) * swell


def _clicks(rng: np.random.Generator, time: Wave) -> Wave:
    """Clicks and typing."""
    hits = (rng.random(len(time)) < 10 ** rng.uniform(-5, -3)).astype(float)
    return np.asarray(lfilter([1.0], [1.0, -rng.uniform(0.0, 0.99)], hits)) + 1e-9


def _hum(rng: np.random.Generator, time: Wave) -> Wave:
    """Mains or a motor: a low tone and its harmonics."""
    base = rng.uniform(45, 130)
    harmonics = np.arange(1, rng.integers(2, 10))[:, None]
    loudness = rng.uniform(0.1, 1, harmonics.shape) / harmonics
    return np.asarray((loudness * np.sin(2 * np.pi * base * harmonics * time)).sum(0))


def _tones(rng: np.random.Generator, time: Wave) -> Wave:
    """One to three steady tones, sometimes switched on and off."""
    tones = 10 ** rng.uniform(1.9, 3.8, (rng.integers(1, 4), 1))
    sound: Wave = np.sin(2 * np.pi * tones * time).sum(0)
    if rng.random() < 0.5:
        period = rng.uniform(0.2, 2.0)
        sound = sound * (time % period < period * rng.uniform(0.2, 0.8))
    return sound


def _sweep(rng: np.random.Generator, time: Wave) -> Wave:
    """A tone that glides between two frequencies, or to and fro."""
    low, high = 10 ** rng.uniform(1.9, 3.8, 2)
    share = time / time[-1]
    if rng.random() < 0.5:
        share = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.05, 2.0) * time)
    frequency = low + (high - low) * share
    return np.asarray(np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE))


def _chimes(rng: np.random.Generator, time: Wave) -> Wave:
    """Notes that start and fade."""
    sound: Wave = np.zeros(len(time))
    for start in rng.uniform(0, time[-1], rng.integers(3, 30)):
        after = time[time >= start] - start
        note = np.sin(2 * np.pi * 10 ** rng.uniform(2.2, 3.5) * after)
        sound[-len(after) :] += note * np.exp(-after * rng.uniform(1, 15))
    return sound


def babble_bank(
    rng: np.random.Generator,
    voices: Sequence[NDArray[np.float16]],
    count: int = 32,
    frames: int = 1000,
) -> list[Mel]:
    """Return log10 mels of many voices at once, in which no word can be told.

    ``voices``: log10 mels of speech. 4 to 7 voices all run backwards, 8 to 15 in
    either direction; each at its own speed, 0.6 to 1.6.
    """
    bank = []
    for _ in range(count):
        power = np.zeros((frames, MELS), np.float32)
        crowd = rng.integers(4, 16)
        for _ in range(crowd):
            at, level = 0, rng.uniform(-1.0, 0.0)
            while at < frames:
                voice = voices[int(rng.integers(len(voices)))].astype(np.float32)
                speed = rng.uniform(0.6, 1.6)
                voice = voice[(np.arange(int(len(voice) / speed)) * speed).astype(int)]
                if crowd < 8 or rng.random() < 0.5:
                    voice = voice[::-1]
                part = voice[: frames - at]
                power[at : at + len(part)] += 10 ** (part - voice.max() + level)
                at += len(part)
        bank.append(np.log10(power + 1e-10))
    return bank


class Augmenter:
    """Draws changes from one random generator; owns a bank of noises and babble.

    ``voices``: log10 mels of speech, to make babble of.
    """

    def __init__(
        self, rng: np.random.Generator, voices: Sequence[NDArray[np.float16]]
    ) -> None:
        self._rng = rng
        self._noises = noise_bank(7) + babble_bank(rng, voices)

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
