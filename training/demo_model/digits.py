"""Single digits: the FSDD archives, the best synthetic voices, and made-up speakers.

The Free Spoken Digit Dataset has six speakers, of whom a model that heard three or
four knows each too well. The WORLD vocoder takes a recording apart into pitch,
spectral envelope and breath; put together again with other pitch, another length of
the vocal tract and other timing it is a new speaker with a human's articulation.
flite's and Festival's voices are recorded from people, so they serve alike.
"""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from training.demo_model.domain import DIGITS
from training.demo_model.synth import SAMPLE_RATE, Flite, festival
from training.demo_model.voices import TRAINING_FESTIVAL, TRAINING_FLITE, Voice

__all__ = ["DigitVoice", "digit_voice", "read_digits", "revoiced", "spoken_digits"]

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class DigitVoice:
    """A made-up speaker: factors of pitch, formants and duration; breath, tilt.

    ``breath``: 0 as recorded, 1 whispered. ``tilt``: natural log of the power gained
    from 0 to 8 kHz.
    """

    pitch: float
    formants: float
    duration: float
    breath: float
    tilt: float


def digit_voice(name: str) -> DigitVoice:
    """Return the voice of that name, always the same one."""
    rng = random.Random(name)
    return DigitVoice(
        2 ** rng.uniform(-0.8, 0.9),
        rng.uniform(0.8, 1.25),
        rng.uniform(0.75, 1.35),
        rng.choice((0.0, 0.0, rng.uniform(0.0, 0.6))),
        rng.uniform(-3.0, 3.0),
    )


def read_digits(archive: Path) -> Iterator[tuple[Samples, str]]:
    """Yield (samples at 16 kHz, digit as a word) of every recording, by name."""
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            if not member.name.endswith(".wav"):
                continue
            file = tar.extractfile(member)
            assert file is not None, "a member that ends in .wav is a file"
            samples, rate = sf.read(BytesIO(file.read()), dtype="float32")
            samples = soxr.resample(samples, rate, SAMPLE_RATE)
            yield samples, DIGITS[int(Path(member.name).name[0])]


def spoken_digits() -> Iterator[tuple[str, Samples, str]]:
    """Yield (voice, samples, digit) of synthetic voices at three speaking rates.

    Nothing above 4 kHz, like the human recordings.
    """
    flite = Flite()
    said: list[tuple[Voice, str]] = [
        (Voice(engine, name, rate), digit)
        for engine, names in (
            ("flite", TRAINING_FLITE),
            ("festival", TRAINING_FESTIVAL),
        )
        for name in names
        for rate in (0.85, 1.0, 1.2)
        for digit in DIGITS
    ]
    for voice, digit in said:
        text = f"{digit.capitalize()}."
        if voice.engine == "flite":
            speech = flite.speak(text, voice)
        else:
            (found,) = festival([(text, voice)])
            if found is None:
                continue
            speech = found
        start, end = speech.words[0]
        first, last = (round(at * SAMPLE_RATE) for at in (start, end))
        narrow = soxr.resample(speech.samples[first:last], SAMPLE_RATE, 8000)
        yield voice.name, soxr.resample(narrow, 8000, SAMPLE_RATE), digit


def revoiced(samples: Samples, voice: DigitVoice, rng: np.random.Generator) -> Samples:
    """Return ``samples`` as ``voice`` would say them, each time a little otherwise."""
    import pyworld  # noqa: PLC0415 - to build clips; nothing else here needs it

    wave = np.ascontiguousarray(samples, np.float64)
    pitch, times = pyworld.dio(wave, SAMPLE_RATE)
    pitch = pyworld.stonemask(wave, pitch, times, SAMPLE_RATE)
    envelope = pyworld.cheaptrick(wave, pitch, times, SAMPLE_RATE)
    breath = pyworld.d4c(wave, pitch, times, SAMPLE_RATE)
    # Time, the same for all three; then frequency.
    duration = voice.duration * rng.uniform(0.9, 1.1)
    count = max(2, round(len(times) * duration))
    rows = np.linspace(0, len(times) - 1, count).round().astype(int)
    bins = np.arange(envelope.shape[1])
    factor = voice.formants * rng.uniform(0.97, 1.03)
    source = np.clip(bins / factor, 0, len(bins) - 1).astype(int)
    tilt = np.exp(voice.tilt * bins / len(bins))
    result = pyworld.synthesize(
        pitch[rows] * voice.pitch * rng.uniform(0.95, 1.05),
        np.ascontiguousarray(envelope[rows][:, source] * tilt),
        np.ascontiguousarray(np.clip(breath[rows][:, source] + voice.breath, 0, 1)),
        SAMPLE_RATE,
    )
    return (result / max(np.abs(result).max(), 1e-3) * 0.5).astype(np.float32)
