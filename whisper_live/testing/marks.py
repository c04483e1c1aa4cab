"""Words as numbers written into samples: how the oracle's audio is made and read.

A test instrument.  Owns the two ways a number becomes sound, the reader for both, the
streams that tests and benches send, and the account of what came back.  Knows nothing
of engines or sessions.

``plain`` marks are signs: every sample is +0.5 or -0.5, and the signs repeat a header
of number, length and checksum up to the end.  float32, int16 and uint8 carry them
exactly, and one sample lost or added anywhere spoils the word.  ``robust`` marks are
ten tones: a number with its checksum between two brackets.  They survive resampling
and Opus (no loss in 8,000 words at 16 to 64 kbit/s).  Neither is read in part: a word
that a window cuts is not there, so that a bad cut shows as a lost word.
"""

from __future__ import annotations

import functools
import itertools
import random
from binascii import crc_hqx
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples, s_to_samples

__all__ = [
    "Account",
    "LOUD",
    "MAX_NUMBER",
    "NumberedWord",
    "Variant",
    "account_for",
    "read_numbers",
    "read_words",
    "word_text",
    "write_monologue",
    "write_speech",
    "write_words",
]

Variant = Literal["plain", "robust"]
Bits = NDArray[np.bool_]

MAX_NUMBER = (1 << 24) - 1
LOUD = 0.2  # above this a sample belongs to a mark; what codecs add stays below

_LEVEL = np.float32(0.5)  # exact in all three raw formats, and no clipping after codecs

# A gap this long holds at least one whole frame of silence however it falls.
_LEAST_GAP = 2 * FRAME_SAMPLES

# Marks are found by blocks; quiet blocks inside a mark (a codec may dip where tones
# change) do not end it, and no gap is as short as this.
_BLOCK = 64
_MOST_QUIET_BLOCKS = 5

# plain: sync 8 bits, number 24, length in samples 16, checksum 16
_SYNC = 0b10110101
_HEADER_BITS = 64
_PLAIN_LENGTHS = range(2 * _HEADER_BITS, 1 << 16)

# robust: tones 100 Hz apart carry 5 bits each, number 24 bits and checksum 16.  The
# brackets are the lowest: after a high last tone Opus rings on for up to 60 ms below
# 32 kbit/s, which moved the end of the word and lost 6 % of them.
_TONES_HZ = np.array([700 + 100 * tone for tone in range(32)] + [500, 400])
_OPEN, _CLOSE = 32, 33
_SYMBOLS = 10
_DOUBT = 0.05  # a second tone this loud beside the first may be the right one
_RAMP = 48  # samples of fade at both ends: a hard start splatters over all tones
_ROBUST_LENGTHS = range(_SYMBOLS * 320, 1 << 16)  # 20 ms of a tone to tell it by


class NumberedWord(NamedTuple):
    """A word and where it is, in samples from the start of its audio."""

    number: int
    start: int
    end: int


# ------------------------------------------------------------------------- writing


def write_words(
    numbers: Iterable[int],
    *,
    word_s: float | None = None,
    gap_s: float = 0.1,
    variant: Variant = "plain",
) -> tuple[Samples, list[NumberedWord]]:
    """One utterance: the words with silence between, none before or after.

    A word lasts 0.3 s, a robust one 0.4 s, where ``word_s`` does not say otherwise.

    Raises ``ValueError`` for a number above ``MAX_NUMBER``, a word too short or long
    to carry one, and a gap in which no whole silent frame fits (below 0.064 s).
    """
    return write_speech(
        [list(numbers)],
        lead_s=0.0,
        pause_s=0.0,
        word_s=word_s,
        gap_s=gap_s,
        variant=variant,
    )


def write_speech(
    utterances: Sequence[Sequence[int]],
    *,
    lead_s: float = 0.5,
    pause_s: float | Sequence[float] = 1.0,
    word_s: float | None = None,
    gap_s: float = 0.1,
    variant: Variant = "plain",
) -> tuple[Samples, list[NumberedWord]]:
    """Utterances with ``lead_s`` of silence before the first and pauses after each.

    ``pause_s`` is one pause for all or one for each utterance.
    """
    pauses = (
        [pause_s] * len(utterances) if isinstance(pause_s, float | int) else pause_s
    )
    writer = _Writer(_word_samples(word_s, variant), variant)
    writer.be_silent(s_to_samples(lead_s))
    gap = _checked_gap(gap_s)
    for numbers, pause in zip(utterances, pauses, strict=True):
        for index, number in enumerate(numbers):
            writer.be_silent(gap if index else 0)
            writer.say(number)
        writer.be_silent(s_to_samples(pause))
    return writer.take()


def write_monologue(
    duration_s: float = 40 * 60.0,
    *,
    first: int = 0,
    longest_gap_s: float = 0.3,
    word_s: float | None = None,
    variant: Variant = "plain",
    seed: int = 0,
) -> Iterator[tuple[Samples, list[NumberedWord]]]:
    """Speech without a pause as long as a hangover, in pieces of about 10 s.

    Numbers count up from ``first``; gaps vary from 0.064 s to ``longest_gap_s``.  Word
    times are those in the whole monologue, which is never in memory at once.
    """
    chance = random.Random(seed)
    writer = _Writer(_word_samples(word_s, variant), variant)
    end, longest = s_to_samples(duration_s), _checked_gap(longest_gap_s)
    number = first
    while writer.at < end:
        writer.say(number)
        writer.be_silent(chance.randint(_LEAST_GAP, longest))
        number += 1
        if writer.pending >= 10 * SAMPLE_RATE:
            yield writer.take()
    if writer.pending:
        yield writer.take()


class _Writer:
    """Collects samples and where the words in them are."""

    def __init__(self, word_samples: int, variant: Variant) -> None:
        self.at = 0  # position after the last sample written
        self.pending = 0  # samples written but not taken
        self._mark = {"plain": _plain_mark, "robust": _robust_mark}[variant]
        self._word_samples = word_samples
        self._parts: list[Samples] = []
        self._words: list[NumberedWord] = []

    def say(self, number: int) -> None:
        if not 0 <= number <= MAX_NUMBER:
            raise ValueError(f"word numbers go from 0 to {MAX_NUMBER}, not {number}")
        word = NumberedWord(number, self.at, self.at + self._word_samples)
        self._words.append(word)
        self._append(self._mark(number, self._word_samples))

    def be_silent(self, samples: int) -> None:
        self._append(np.zeros(samples, dtype=np.float32))

    def take(self) -> tuple[Samples, list[NumberedWord]]:
        samples = np.concatenate([np.empty(0, dtype=np.float32), *self._parts])
        words = self._words
        self._parts, self._words, self.pending = [], [], 0
        return samples, words

    def _append(self, samples: Samples) -> None:
        self._parts.append(samples)
        self.at += len(samples)
        self.pending += len(samples)


def _word_samples(word_s: float | None, variant: Variant) -> int:
    default_s = {"plain": 0.3, "robust": 0.4}[variant]
    return s_to_samples(default_s if word_s is None else word_s)


def _checked_gap(gap_s: float) -> int:
    gap = s_to_samples(gap_s)
    if gap < _LEAST_GAP:
        raise ValueError(f"a gap of {gap_s} s holds no whole silent frame")
    return gap


def _plain_mark(number: int, length: int) -> Samples:
    if length not in _PLAIN_LENGTHS:
        raise ValueError(f"a plain word cannot have {length} samples")
    return np.where(_plain_bits(number, length), _LEVEL, -_LEVEL)


def _plain_bits(number: int, length: int) -> Bits:
    """The signs of a whole mark, shape ``[length]``."""
    content = number << 16 | length
    value = _SYNC << 56 | content << 16 | _checksum(content, 5)
    header = np.unpackbits(np.frombuffer(value.to_bytes(8, "big"), np.uint8))
    return np.resize(header, length).astype(np.bool_)


def _robust_mark(number: int, length: int) -> Samples:
    if length not in _ROBUST_LENGTHS:
        raise ValueError(f"a robust word cannot have {length} samples")
    edges = np.linspace(0, length, _SYMBOLS + 1).round().astype(int)
    tones = np.repeat(_TONES_HZ[_symbols(number)], np.diff(edges))
    # One running phase: a jump between two tones would sound like a third.
    samples = _LEVEL * np.sin(2 * np.pi / SAMPLE_RATE * np.cumsum(tones))
    fade = np.sin(np.linspace(0, np.pi / 2, _RAMP)) ** 2
    samples[:_RAMP] *= fade
    samples[-_RAMP:] *= fade[::-1]
    return samples.astype(np.float32)


def _symbols(number: int) -> list[int]:
    value = number << 16 | _checksum(number, 3)
    return [_OPEN, *(value >> shift & 31 for shift in range(35, -1, -5)), _CLOSE]


def _checksum(value: int, size: int) -> int:
    return crc_hqx(value.to_bytes(size, "big"), 0xFFFF)


# ------------------------------------------------------------------------- reading


def read_words(samples: Samples) -> list[NumberedWord]:
    """All words that stand wholly in ``samples`` (shape ``[n]``), in order of time.

    28 s of plain words take 2 ms, of robust ones 4 ms.  ``plain`` words have exact
    times.  ``robust`` ones are found where they are louder than ``LOUD``, some 2 ms
    inside their true span, and may be read while a part of both brackets is left (40
    ms each).
    """
    words = []
    for start, end in _loud_spans(samples):
        mark = samples[start:end]
        number = _read_plain(mark)
        if number is None:
            number = _read_robust(mark)
        if number is not None:
            words.append(NumberedWord(number, start, end))
    return words


def _loud_spans(samples: Samples) -> list[tuple[int, int]]:
    """Where marks may be, from their first loud sample to after their last."""
    padded = np.zeros(-(-len(samples) // _BLOCK) * _BLOCK, dtype=np.float32)
    np.abs(samples, out=padded[: len(samples)])
    blocks = padded.reshape(-1, _BLOCK)
    loud = np.flatnonzero(blocks.max(axis=1) > LOUD)
    if not len(loud):
        return []
    ends = np.flatnonzero(np.diff(loud) > _MOST_QUIET_BLOCKS + 1)
    firsts = loud[[0, *(ends + 1)]].tolist()
    lasts = loud[[*ends, -1]].tolist()
    return [
        (
            first * _BLOCK + int(np.argmax(blocks[first] > LOUD)),
            (last + 1) * _BLOCK - int(np.argmax(blocks[last][::-1] > LOUD)),
        )
        for first, last in zip(firsts, lasts, strict=True)
    ]


def _read_plain(mark: Samples) -> int | None:
    if len(mark) not in _PLAIN_LENGTHS:
        return None
    bits = mark > 0
    header = int.from_bytes(np.packbits(bits[:_HEADER_BITS]).tobytes(), "big")
    number = header >> 32 & MAX_NUMBER
    if header >> 56 != _SYNC or (header >> 16 & 0xFFFF) != len(mark):
        return None
    whole = np.array_equal(bits, _plain_bits(number, len(mark)))
    return number if whole else None


def _read_robust(mark: Samples) -> int | None:
    if len(mark) < 0.9 * _ROBUST_LENGTHS.start or len(mark) > _ROBUST_LENGTHS.stop:
        return None
    # The middle of each symbol: where tones meet, resamplers and codecs mix them.
    symbol = len(mark) / _SYMBOLS
    middle = int(0.6 * symbol)
    starts = (symbol * np.arange(_SYMBOLS) + 0.2 * symbol).astype(int)
    pieces = mark[starts[:, None] + np.arange(middle)]
    cosine, sine = np.hsplit(pieces @ _tone_basis(middle), 2)
    power = cosine**2 + sine**2
    order = np.argsort(power, axis=1)
    best, second = order[:, -1], order[:, -2]
    # At 16 to 48 kbit/s Opus blurs one tone in some thousands until another is louder,
    # and then the right one is nearly always the second: the checksum tells.
    each = np.arange(_SYMBOLS)
    doubted = np.flatnonzero(power[each, second] > _DOUBT * power[each, best])
    for changes in range(3):
        for places in itertools.combinations(doubted.tolist(), changes):
            symbols = best.copy()
            symbols[list(places)] = second[list(places)]
            number = _number_of(symbols.tolist())
            if number is not None:
                return number
    return None


def _number_of(symbols: list[int]) -> int | None:
    opened, *data, closed = symbols
    if opened != _OPEN or closed != _CLOSE or max(data) >= _OPEN:
        return None
    value = functools.reduce(lambda total, tone: total << 5 | tone, data, 0)
    number = value >> 16
    return number if _checksum(number, 3) == value & 0xFFFF else None


@functools.lru_cache(maxsize=64)
def _tone_basis(length: int) -> Samples:
    """What a piece of ``length`` samples is compared with: ``[length, 34 + 34]``."""
    phase = 2 * np.pi / SAMPLE_RATE * np.outer(np.arange(length), _TONES_HZ)
    waves = np.hstack([np.cos(phase), np.sin(phase)])
    basis: Samples = (np.hanning(length)[:, None] * waves).astype(np.float32)
    return basis


# ------------------------------------------------------------------------ accounting


def word_text(number: int) -> str:
    """How the oracle spells a word, with Whisper's leading space: ``" w123"``."""
    return f" w{number}"


def read_numbers(text: str) -> list[int]:
    """The numbers of the words in ``text``; ``ValueError`` for anything else in it."""
    words = text.split()
    for word in words:
        if not (word.startswith("w") and word[1:].isdecimal()):
            raise ValueError(f"{word!r} is not a word that the oracle was told")
    return [int(word[1:]) for word in words]


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the words of one stream; all empty when all is well."""

    lost: tuple[int, ...]  # sent, never received
    doubled: tuple[int, ...]  # received again, once for each time too many
    out_of_order: tuple[int, ...]  # received first after a word that was sent later
    invented: tuple[int, ...]  # received, never sent: another stream's, or nobody's

    @property
    def clean(self) -> bool:
        """Every word exactly once and in order, and no other."""
        return not (self.lost or self.doubled or self.out_of_order or self.invented)


def account_for(sent: Sequence[int], received: Sequence[int]) -> Account:
    """Compare what was sent (no number twice) with what came back."""
    places = {number: place for place, number in enumerate(sent)}
    assert len(places) == len(sent), "numbers of one stream must differ"
    counts = Counter(received)
    out_of_order, furthest = [], -1
    for number in dict.fromkeys(received):
        place = places.get(number, furthest)
        if place < furthest:
            out_of_order.append(number)
        furthest = max(furthest, place)
    return Account(
        lost=tuple(number for number in sent if number not in counts),
        doubled=tuple(
            number
            for number, count in counts.items()
            if number in places
            for _ in range(count - 1)
        ),
        out_of_order=tuple(out_of_order),
        invented=tuple(number for number in received if number not in places),
    )
