"""What the clients of a load test say, with the time of every word.

Marks for the oracle engine, or sentences cut from a recording whose word times are
known.  Every client gets a recording of its own, made from a seed.  Knows no clock and
no wire.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from whisper_live.audio import SAMPLE_RATE, Samples, samples_to_s
from whisper_live.media.files import read_file
from whisper_live.testing.marks import (
    NumberedWord,
    Variant,
    word_text,
    write_monologue,
    write_speech,
)
from whisper_live.testing.recordings import TimedWord, read_word_times, shipped

__all__ = [
    "Recording",
    "RecordingName",
    "Speech",
    "SpokenWord",
    "TAIL_S",
    "bare_words",
    "read_sentences",
    "shipped_sentences",
    "recite",
    "write_marks",
]

RecordingName = Literal["meeting", "demo"]

TAIL_S = 6.0  # silence at the end: what a microphone sends before it is switched off
_LEAD_S = (0.3, 1.3)  # the first word comes at a different moment in each stream
_LEAST_PAUSE_S = 0.7  # longer than any hangover, so that an utterance ends
_MARK_S, _MARK_GAP_S = {"plain": 0.3, "robust": 0.4}, 0.1
_SESSION_NUMBERS = 10_000  # word numbers of one session, so that streams differ
_EDGE_S = 0.12  # kept around a sentence


class SpokenWord(NamedTuple):
    """A word and where it is, in seconds from the start of the recording."""

    text: str
    start_s: float
    end_s: float
    utterance: int  # counts from 0


@dataclass(frozen=True, slots=True)
class Recording:
    """Samples (shape ``[n]``, 16 kHz mono) and the words in them, in order."""

    samples: Samples
    words: tuple[SpokenWord, ...]


@dataclass(frozen=True, slots=True)
class Speech:
    """How one client speaks."""

    duration_s: float = 30.0  # without the silence at the end
    duty: float = 0.45  # share of speech; 1.0 never pauses
    seed: int = 0
    tail_s: float = TAIL_S  # the silence at the end

    @property
    def whole_s(self) -> float:
        """How long it takes, but for the rest of a last sentence."""
        return self.duration_s + self.tail_s


def bare_words(text: str) -> list[str]:
    """The words of a text as they are compared: lower case, without punctuation.

    An apostrophe stays inside a word only.  (``text.wer`` has words as the session
    compares them, also of scripts without spaces.)
    """
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


# ----------------------------------------------------------------------------- marks


def write_marks(session: int, speech: Speech, variant: Variant = "plain") -> Recording:
    """Words that the oracle reads; no two sessions (below 1600) share one.

    ``robust`` marks survive Opus, ``plain`` ones only raw samples.
    """
    chance = random.Random(f"{speech.seed} {session}")
    first = session * _SESSION_NUMBERS
    lead_s = chance.uniform(*_LEAD_S)
    if speech.duty >= 1:
        return _monologue(first, lead_s, speech, variant)
    word_s = _MARK_S[variant]
    utterances: list[range] = []
    pauses: list[float] = []
    at_s, number = lead_s, first
    while at_s < speech.duration_s:
        size = chance.randint(3, 10)
        spoken_s = size * (word_s + _MARK_GAP_S) - _MARK_GAP_S
        utterances.append(range(number, number + size))
        pauses.append(_pause_s(spoken_s, speech.duty, chance))
        number += size
        at_s += spoken_s + pauses[-1]
    pauses[-1] = speech.tail_s
    samples, words = write_speech(
        utterances, lead_s=lead_s, pause_s=pauses, word_s=word_s, variant=variant
    )
    numbered = {n: i for i, numbers in enumerate(utterances) for n in numbers}
    return Recording(samples, tuple(_spoken(w, numbered[w.number]) for w in words))


def _monologue(
    first: int, lead_s: float, speech: Speech, variant: Variant
) -> Recording:
    pieces = [np.zeros(round(lead_s * SAMPLE_RATE), np.float32)]
    words: list[SpokenWord] = []
    lead = len(pieces[0])
    for samples, numbered in write_monologue(
        speech.duration_s - lead_s, first=first, variant=variant, seed=first
    ):
        pieces.append(samples)
        words += [
            _spoken(word._replace(start=word.start + lead, end=word.end + lead), 0)
            for word in numbered
        ]
    pieces.append(np.zeros(round(speech.tail_s * SAMPLE_RATE), np.float32))
    return Recording(np.concatenate(pieces), tuple(words))


def _spoken(word: NumberedWord, utterance: int) -> SpokenWord:
    text = word_text(word.number).strip()
    return SpokenWord(text, samples_to_s(word.start), samples_to_s(word.end), utterance)


def _pause_s(spoken_s: float, duty: float, chance: random.Random) -> float:
    """A pause that gives the duty cycle, more or less."""
    pause_s = spoken_s * (1 - duty) / duty * chance.uniform(0.6, 1.4)
    return max(pause_s, _LEAST_PAUSE_S)


# ------------------------------------------------------------------------- sentences


def shipped_sentences(name: RecordingName) -> list[Recording]:
    """The sentences of a recording that ships with the package."""
    recording = shipped(name)
    return read_sentences(recording.audio, recording.times)


def read_sentences(audio: Path, times: Path) -> list[Recording]:
    """A recording in any format, cut into its sentences (see ``read_word_times``)."""
    samples = np.concatenate(list(read_file(audio)))
    return [_cut(samples, words) for words in read_word_times(times)]


def _cut(samples: Samples, words: Sequence[TimedWord]) -> Recording:
    begin_s = max(words[0].start_s - _EDGE_S, 0.0)
    begin = round(begin_s * SAMPLE_RATE)
    end = round((words[-1].end_s + _EDGE_S) * SAMPLE_RATE)
    spoken = [
        SpokenWord(plain, word.start_s - begin_s, word.end_s - begin_s, 0)
        for word in words
        for plain in bare_words(word.text)
    ]
    return Recording(samples[begin:end], tuple(spoken))


def recite(sentences: Sequence[Recording], session: int, speech: Speech) -> Recording:
    """Sentences in an order, at pauses and at a loudness of this session's own.

    A duty of 1 leaves only the quarter second between sentences that a hurried
    speaker leaves.
    """
    chance = random.Random(f"{speech.seed} {session}")
    noise = np.random.default_rng([speech.seed, session])
    pieces: list[Samples] = []
    words: list[SpokenWord] = []
    at = 0
    order: list[Recording] = []

    def be_silent(seconds: float) -> None:
        nonlocal at
        pieces.append(np.zeros(round(seconds * SAMPLE_RATE), np.float32))
        at += len(pieces[-1])

    be_silent(chance.uniform(*_LEAD_S))
    utterance = 0
    while samples_to_s(at) < speech.duration_s:
        if not order:
            order = chance.sample(list(sentences), len(sentences))
        sentence = order.pop()
        at_s = samples_to_s(at)
        words += [
            SpokenWord(text, at_s + start_s, at_s + end_s, utterance)
            for text, start_s, end_s, _ in sentence.words
        ]
        pieces.append(sentence.samples * np.float32(chance.uniform(0.6, 1.0)))
        at += len(sentence.samples)
        utterance += 1
        spoken_s = samples_to_s(len(sentence.samples))
        paused = speech.duty < 1
        be_silent(_pause_s(spoken_s, speech.duty, chance) if paused else 0.05)
    be_silent(speech.tail_s)
    samples = np.concatenate(pieces)
    samples += noise.normal(0, 0.0005, len(samples)).astype(np.float32)  # no dead line
    if speech.duty >= 1:  # without a pause there is one utterance
        words = [word._replace(utterance=0) for word in words]
    return Recording(samples, tuple(words))
