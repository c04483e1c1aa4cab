"""What ``bench.quality`` listens to: spoken recordings with known words, and noise.

Everything is synthesised from a seed: held-out sentences of the demo model's grammar in
its reserved voices, laid out as people speak and as recordings are bad.  Sounds that
hold no word are drawn here too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np

from training.demo_model import grammar
from training.demo_model.material import Recording, Samples, Speaker, quiet
from training.demo_model.voices import EVALUATION_VOICES, Voice
from whisper_live.audio import SAMPLE_RATE

__all__ = ["NOISES", "Speech"]

_LEAD_S, _TRAIL_S = 0.5, 1.5  # room before the first word, and after the last


class Speech:
    """Draws recordings; the same ``seed`` gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._speaker = Speaker(seed)

    def singles(self, count: int) -> list[Recording]:
        """One sentence each, every third German."""
        languages = ("en", "en", "de")
        return [
            self._laid_out([self._sentence(self._voice(languages[i % 3]))], [])
            for i in range(count)
        ]

    def pauses(self, count: int, seconds: float) -> list[Recording]:
        """Sentences with 0.2 to 1.5 s between them."""
        return [self._talk(i, seconds, (0.2, 1.5)) for i in range(count)]

    def noisy(self, count: int, seconds: float, snr_db: float) -> list[Recording]:
        """The same in a room that hisses, ``snr_db`` below the speech."""
        recordings = self.pauses(count, seconds)
        for recording in recordings:
            self._add_noise(recording, snr_db)
        return recordings

    def voices(self) -> list[Voice]:
        """Each reserved voice once."""
        return list(dict.fromkeys(_voices("en") + _voices("de")))

    def in_noise(self, voice: Voice, seconds: float, snr_db: float) -> Recording:
        """Sentences of one voice, with pauses, in a room that hisses."""
        recording = self._said(voice, seconds, (0.2, 1.5))
        self._add_noise(recording, snr_db)
        return recording

    def overlapped(self, count: int, seconds: float) -> list[Recording]:
        """Each sentence begins before the one before it has faded: no pause."""
        return [self._talk(i, seconds, (-0.06, -0.06)) for i in range(count)]

    def babble(self, seconds: float) -> Samples:
        """Twelve voices at once, backwards and at other speeds: no words."""
        total = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
        bank = [self._sentence(self._voice("en")).samples[::-1] for _ in range(24)]
        for _ in range(12):
            at = 0
            while at < len(total):
                voice = self._rng.choice(bank)
                factor = self._rng.uniform(0.7, 1.4)
                places = np.arange(0, len(voice) - 1, factor)
                voice = np.interp(places, np.arange(len(voice)), voice)
                end = min(at + len(voice), len(total))
                total[at:end] += 0.3 * voice[: end - at]
                at = end
        return total

    # ------------------------------------------------------------------------- inside

    def _talk(
        self, index: int, seconds: float, gap_s: tuple[float, float]
    ) -> Recording:
        return self._said(self._voice("de" if index % 3 == 2 else "en"), seconds, gap_s)

    def _said(
        self, voice: Voice, seconds: float, gap_s: tuple[float, float]
    ) -> Recording:
        parts: list[Recording] = []
        gaps: list[float] = []
        while sum(part.duration for part in parts) + sum(gaps) < seconds:
            parts.append(self._sentence(voice))
            gaps.append(self._rng.uniform(*gap_s))
        return self._laid_out(parts, gaps[:-1])

    def _voice(self, language: str) -> Voice:
        voice = self._rng.choice(_voices(language))
        return Voice(voice.engine, voice.name, self._rng.uniform(0.85, 1.15))

    def _sentence(self, voice: Voice) -> Recording:
        """A sentence with 50 ms around it, as the synthesiser gives it."""
        language = "de" if voice.name.startswith("de") else "en"
        while True:
            sentence = grammar.generate(self._rng, language, held_out=True)
            try:
                said = self._speaker.say(sentence, voice)
            except RuntimeError:  # flite counts the words of "o'clock" differently
                continue
            first, last = round(0.2 * SAMPLE_RATE), round(0.3 * SAMPLE_RATE)
            said.samples = said.samples[first:-last]
            said.words = [(w, start - 0.2, end - 0.2) for w, start, end in said.words]
            return said

    def _laid_out(self, parts: list[Recording], gaps: Iterable[float]) -> Recording:
        """``parts`` with gaps between them, which may be negative, in a quiet room."""
        starts = [_LEAD_S]
        for part, gap in zip(parts, gaps):
            starts.append(starts[-1] + part.duration + gap)
        samples = quiet(self._rng, starts[-1] + parts[-1].duration + _TRAIL_S)
        words = []
        for at, part in zip(starts, parts):
            first = round(at * SAMPLE_RATE)
            samples[first : first + len(part.samples)] += part.samples
            words += [(word, start + at, end + at) for word, start, end in part.words]
        return Recording(
            samples,
            " ".join(part.text for part in parts),
            " ".join(part.english for part in parts),
            parts[0].language,
            parts[0].voice,
            words,
            [part.words[-1][2] + at for at, part in zip(starts, parts)],
        )

    def _add_noise(self, recording: Recording, snr_db: float) -> None:
        level = np.sqrt(np.mean(recording.samples**2)) * 10 ** (-snr_db / 20)
        hiss = _pink(self._generator(), len(recording.samples))
        recording.samples = recording.samples + (level * hiss).astype(np.float32)

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self._rng.randrange(1 << 30))


def _voices(language: str) -> list[Voice]:
    """Reserved voices as often as they are to be drawn."""
    # Festival starts a process for each sentence; its voice is left to `evaluate`.
    return [v for v in EVALUATION_VOICES[language] if v.engine != "festival"]


# ------------------------------------------------------------------- without any word


def _time(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def _silence(seconds: float, seed: int) -> Samples:
    """Digital silence, then a quiet room."""
    samples = quiet(random.Random(seed), seconds)
    samples[: len(samples) // 2] = 0
    return samples


def _white(seconds: float, seed: int) -> Samples:
    """White noise, another level every ten seconds: -60 to -6 dB."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(round(seconds * SAMPLE_RATE))
    for at in range(0, len(samples), 10 * SAMPLE_RATE):
        samples[at : at + 10 * SAMPLE_RATE] *= 10 ** (rng.uniform(-60, -6) / 20)
    return samples.clip(-1, 1).astype(np.float32)


def _hum(seconds: float, seed: int) -> Samples:
    """Mains hum with overtones that come and go, and a motor's drone."""
    rng, time = np.random.default_rng(seed), _time(seconds)
    total = 0.002 * rng.standard_normal(len(time))
    for overtone in range(1, 9):
        swell = 1 + np.sin(2 * np.pi * rng.uniform(0.02, 0.3) * time + rng.random())
        total += 0.05 / overtone * swell * np.sin(2 * np.pi * 50 * overtone * time)
    drone = 90 + 20 * np.sin(2 * np.pi * 0.05 * time)
    total += 0.05 * np.sin(2 * np.pi * np.cumsum(drone) / SAMPLE_RATE)
    return total.astype(np.float32)


def _music(seconds: float, seed: int) -> Samples:
    """A plucked tune over sustained chords, in a major scale."""
    rng = np.random.default_rng(seed)
    total = np.zeros(round(seconds * SAMPLE_RATE))
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16]) / 12)

    def add(at: int, pitch: float, length_s: float, decay: float, level: float) -> None:
        time = _time(length_s)[: len(total) - at]
        tone = sum(np.sin(2 * np.pi * pitch * k * time) / k**1.5 for k in range(1, 7))
        total[at : at + len(time)] += level * np.exp(-decay * time) * tone

    at = 0
    while at < len(total):
        add(at, rng.choice(scale) * rng.choice([1, 2]), 0.8, 4.0, 0.12)
        if rng.random() < 0.2:
            for step in rng.choice(5) + np.array([0, 2, 4]):
                add(at, scale[step], 3.0, 0.3, 0.04)
        at += round(rng.choice([0.2, 0.4, 0.8]) * SAMPLE_RATE)
    return total.clip(-1, 1).astype(np.float32)


def _babble(seconds: float, seed: int) -> Samples:
    """See ``Speech.babble``."""
    return Speech(seed).babble(seconds)


NOISES: dict[str, Callable[[float, int], Samples]] = {
    "silence": _silence,
    "white noise": _white,
    "hum": _hum,
    "music": _music,
    "babble": _babble,
}


def _pink(rng: np.random.Generator, count: int) -> Samples:
    """Noise that falls by 3 dB an octave, of power one."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, count)
    power = float(np.mean(noise**2))
    return np.asarray(noise / np.sqrt(power), dtype=np.float32)
