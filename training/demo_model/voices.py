"""Which synthetic voices speak in training, which only in evaluation.

Owns the reserved list. A reserved voice must never reach ``training_voice``; the
unit tests hold that.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "EVALUATION_VOICES",
    "RESERVED_ESPEAK",
    "Voice",
    "random_variant",
    "training_voice",
]

# Reserved for acceptance (issue 2): no training clip may use one of these.
RESERVED_ESPEAK = ("f3", "m5", "croak", "whisper", "Andy", "Annie")
RESERVED = frozenset(
    {f"espeak:{name}" for name in RESERVED_ESPEAK} | {"flite:rms", "festival:ked"}
)

# "whisperf" and "AnxiousAndy" are the reserved voices with a parameter or two
# changed, so they are left out of training as well.
_ESPEAK_NEAR_RESERVED = ("whisperf", "AnxiousAndy")

_ESPEAK_ENGLISH = (
    "en-us,en-us,en-us,en-us,en,en,en-gb-x-rp,en-gb-scotland,en-gb-x-gbclan,"
    "en-gb-x-gbcwmd,en-029,en-us-nyc"
).split(",")

TRAINING_FLITE = ("slt", "awb", "kal", "kal16")
TRAINING_FESTIVAL = ("kal_diphone", "cmu_us_slt_arctic_hts")

# Shares of the engines in English training data: flite and Festival are a quarter
# because they sound least like the rest and are fewest. German has only espeak-ng.
_ENGINE_SHARES = {"espeak": 0.66, "flite": 0.26, "festival": 0.08}

# Named variants are a third of espeak clips; the rest get a freshly drawn variant
# file, so that no speaker is heard often enough to be learned by heart.
_RANDOM_VARIANT_SHARE = 0.6


@dataclass(frozen=True)
class Voice:
    """A voice and how it speaks this once.

    ``name`` is what the engine calls it ("en-us+f2", "slt", "kal_diphone").
    ``rate`` multiplies speed, ``pitch`` and ``pitch_range`` are espeak-ng's 0..100,
    ``resample`` shifts pitch and formants together by playing faster or slower.
    """

    engine: str  # "espeak", "flite" or "festival"
    name: str
    rate: float = 1.0
    pitch: int = 50
    pitch_range: int = 50
    resample: float = 1.0

    @property
    def identity(self) -> str:
        """Return "engine:speaker", the form of the reserved list."""
        return f"{self.engine}:{self.name.rpartition('+')[2]}"


EVALUATION_VOICES: dict[str, list[Voice]] = {
    "en": [
        *(Voice("espeak", f"en-us+{name}") for name in RESERVED_ESPEAK),
        *(Voice("espeak", f"en+{name}") for name in RESERVED_ESPEAK),
        *([Voice("flite", "rms")] * 3),
        *([Voice("festival", "ked_diphone")] * 3),
    ],
    "de": [Voice("espeak", f"de+{name}") for name in RESERVED_ESPEAK],
}


def training_voice(
    rng: random.Random, language: str, named_variants: list[str], random_variants: int
) -> Voice:
    """Draw a voice for one training clip.

    ``named_variants`` are espeak-ng's own variant files; reserved ones are dropped
    here. ``random_variants`` is how many files ``random_variant`` wrote (r0, r1, ...).
    """
    engine = "espeak"
    if language == "en":
        engine = rng.choices(list(_ENGINE_SHARES), list(_ENGINE_SHARES.values()))[0]
    resample = rng.uniform(0.87, 1.13)
    rate = rng.uniform(0.75, 1.35)
    if engine == "flite":
        return Voice("flite", rng.choice(TRAINING_FLITE), rate, resample=resample)
    if engine == "festival":
        return Voice("festival", rng.choice(TRAINING_FESTIVAL), rate, resample=resample)
    accent = rng.choice(_ESPEAK_ENGLISH) if language == "en" else "de"
    dropped = (*RESERVED_ESPEAK, *_ESPEAK_NEAR_RESERVED)
    allowed = sorted(set(named_variants) - set(dropped))
    if rng.random() < _RANDOM_VARIANT_SHARE:
        variant = f"r{rng.randrange(random_variants)}"
    else:
        variant = rng.choice(allowed)
    return Voice(
        "espeak",
        f"{accent}+{variant}",
        rate,
        pitch=rng.randint(25, 80),
        pitch_range=rng.randint(15, 85),
        resample=resample,
    )


def random_variant(rng: random.Random, path: Path) -> None:
    """Write an espeak-ng variant file with a speaker drawn at random.

    Formants, bandwidths, spectral tilt, breath and voicing vary over the ranges that
    the variants shipped with espeak-ng span.
    """
    base = rng.randint(75, 230)
    tract = rng.uniform(0.85, 1.25)  # vocal tract: moves all formants together
    lines = ["language variant", f"name {path.name}"]
    lines.append(f"gender {rng.choice(('male', 'female'))}")
    lines.append(f"pitch {base} {int(base * rng.uniform(1.15, 1.9))}")
    lines.append(f"flutter {rng.randint(0, 12)}")
    lines.append(f"roughness {rng.choice((0, 0, 1, 2, 3, 4, 5))}")
    lines.append(f"voicing {rng.choice((100, 100, 90, 70, 45, 25, 15))}")
    lines.append(f"consonants {rng.randint(70, 130)} {rng.randint(70, 130)}")
    if rng.random() < 0.35:
        breath = [rng.randint(0, 75) for _ in range(6)]
        lines.append("breath " + " ".join(str(value) for value in breath))
        lines.append("breathw 150 150 200 200 400 400")
    if rng.random() < 0.4:
        lines.append(
            f"tone 100 {rng.randint(150, 255)} 600 {rng.randint(60, 255)} "
            f"1200 {rng.randint(30, 255)} 2400 {rng.randint(20, 200)}"
        )
    lines.append(f"formant 0 100 {rng.randint(70, 100)} {rng.randint(90, 150)}")
    for formant in range(1, 9):
        frequency = int(100 * tract * rng.uniform(0.93, 1.07))
        height, width = rng.randint(70, 120), rng.randint(70, 150)
        lines.append(f"formant {formant} {frequency} {height} {width}")
    if rng.random() < 0.2:
        lines.append(f"echo {rng.randint(20, 140)} {rng.randint(3, 14)}")
    path.write_text("\n".join(lines) + "\n")
