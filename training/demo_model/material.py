"""Evaluation material: reserved voices saying held-out sentences, and noises.

Everything is synthesised on the spot from a seed, so there is no corpus to keep. The
one exception are human digits, read from the FSDD archives where they are given.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.demo_model import grammar
from training.demo_model.digits import read_digits
from training.demo_model.synth import SAMPLE_RATE, Espeak, Flite, Speech, festival
from training.demo_model.voices import EVALUATION_VOICES, Voice

__all__ = [
    "Recording",
    "Samples",
    "Speaker",
    "human_digits",
    "joined",
    "noises",
    "quiet",
]

Samples = NDArray[np.float32]


@dataclass
class Recording:
    """Samples at 16 kHz and what is said in them.

    ``words``: (word, start, end) in s. ``ends``: end of each utterance in s.
    """

    samples: Samples
    text: str
    english: str
    language: str
    voice: str
    words: list[tuple[str, float, float]] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    @property
    def duration(self) -> float:
        """Return the length in seconds."""
        return len(self.samples) / SAMPLE_RATE


class Speaker:
    """Draws held-out sentences and has reserved voices say them."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._espeak = Espeak()
        self._flite = Flite()

    def say(self, sentence: grammar.Sentence, voice: Voice) -> Recording:
        """Synthesise one sentence, with 0.2 s before and 0.3 s after it.

        Raises RuntimeError if the engine splits the words differently.
        """
        speech: Speech | None
        if voice.engine == "festival":
            (speech,) = festival([(sentence.text, voice)])
        elif voice.engine == "flite":
            speech = self._flite.speak(sentence.text, voice)
        else:
            speech = self._espeak.speak(sentence.text, voice)
        if speech is None:
            raise RuntimeError(f"festival split {sentence.text!r} differently")
        before = 0.2
        samples = np.concatenate(
            [quiet(self._rng, before), 0.5 * speech.samples, quiet(self._rng, 0.3)]
        )
        words = [
            (word, start + before, end + before)
            for word, (start, end) in zip(sentence.text.split(), speech.words)
        ]
        return Recording(
            samples,
            sentence.text,
            sentence.english,
            sentence.language,
            f"{voice.engine}:{voice.name}",
            words,
            [words[-1][2]],
        )

    def draw(self, count: int, language: str, kind: str) -> list[Recording]:
        """Draw ``count`` recordings, voices in turn, speaking rate 0.85 to 1.15."""
        voices = EVALUATION_VOICES[language]
        recordings: list[Recording] = []
        while len(recordings) < count:
            chosen = voices[len(recordings) % len(voices)]
            voice = Voice(chosen.engine, chosen.name, self._rng.uniform(0.85, 1.15))
            sentence = grammar.generate(self._rng, language, held_out=True, kind=kind)
            try:
                recordings.append(self.say(sentence, voice))
            except RuntimeError:
                continue
        return recordings

    def conversation(self, least_s: float, most_s: float, language: str) -> Recording:
        """Draw utterances with pauses of 0.1 to 1.5 s until ``least_s`` is reached.

        One voice throughout; the result may be shorter than ``least_s`` by an
        utterance if the next would pass ``most_s``.
        """
        voice = self._rng.choice(EVALUATION_VOICES[language])
        parts: list[Recording] = []
        total = 0.0
        while total < least_s:
            sentence = grammar.generate(self._rng, language, held_out=True)
            try:
                part = self.say(sentence, voice)
            except RuntimeError:
                continue
            pause = quiet(self._rng, self._rng.uniform(0.0, 1.2))
            if total + part.duration + len(pause) / SAMPLE_RATE > most_s:
                break
            part.samples = np.concatenate([part.samples, pause])
            parts.append(part)
            total += part.duration
        return joined(parts)


def quiet(rng: random.Random, seconds: float) -> Samples:
    """Return a quiet room: noise at -66 dB of full scale."""
    count = round(seconds * SAMPLE_RATE)
    generator = np.random.default_rng(rng.randrange(1 << 30))
    return (0.0005 * generator.standard_normal(count)).astype(np.float32)


def joined(parts: list[Recording]) -> Recording:
    """Put recordings one after another."""
    words: list[tuple[str, float, float]] = []
    ends: list[float] = []
    at = 0.0
    for part in parts:
        words += [(word, start + at, end + at) for word, start, end in part.words]
        ends += [end + at for end in part.ends]
        at += part.duration
    return Recording(
        np.concatenate([part.samples for part in parts]),
        " ".join(part.text for part in parts),
        " ".join(part.english for part in parts),
        parts[0].language,
        parts[0].voice,
        words,
        ends,
    )


def human_digits(archive: Path, count: int, seed: int) -> list[Recording]:
    """Draw single digits of one FSDD speaker, each with 0.3 s of room around it."""
    rng = random.Random(seed)
    digits = list(read_digits(archive))
    recordings = []
    for samples, digit in rng.sample(digits, min(count, len(digits))):
        text = f"{digit.capitalize()}."
        padded = np.concatenate([quiet(rng, 0.3), samples, quiet(rng, 0.3)])
        recordings.append(Recording(padded, text, text, "en", archive.stem))
    return recordings


def noises(seed: int, seconds: float = 10.0) -> dict[str, Samples]:
    """Return sounds without speech, by name."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    white = rng.standard_normal(len(time))
    brown = np.cumsum(white - white.mean())
    brown /= np.abs(brown).max()
    overtones = np.arange(1, 8)[:, None]
    hum = (np.sin(2 * np.pi * 50 * overtones * time) / overtones).sum(0)
    sounds: dict[str, NDArray[np.float64]] = {
        "digital silence": 0 * time,
        "faint noise": 0.001 * white,
        "white noise": 0.05 * white,
        "loud white noise": 0.25 * white,
        "brown noise": 0.3 * brown,
        "hum 50 Hz": 0.1 * hum,
        "hum with noise": 0.1 * hum + 0.01 * white,
        "tone 440 Hz": 0.2 * np.sin(2 * np.pi * 440 * time),
        "tone 1 kHz": 0.2 * np.sin(2 * np.pi * 1000 * time),
        "tones of a telephone": 0.1
        * (np.sin(2 * np.pi * 697 * time) + np.sin(2 * np.pi * 1336 * time)),
        "beeps": 0.2 * np.sin(2 * np.pi * 800 * time) * (time % 1 < 0.3),
        "sweep": 0.2 * np.sin(2 * np.pi * (100 + 150 * time) * time),
        "clicks": np.where(rng.random(len(time)) < 2e-4, 0.5, 0.0),
    }
    return {name: sound.astype(np.float32) for name, sound in sounds.items()}
