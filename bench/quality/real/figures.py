"""Counts and times of one reading: what tables and plots are made of, without text.

Pure: rows in, numbers out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.quality.real.reader import account
from bench.quality.real.results import Key, Row
from bench.quality.real.scoring import cuts_inside, lost_at_ends, sentences, units
from whisper_live.text.wer import plain_words, word_errors

__all__ = ["YARDSTICK", "Figures", "difference", "figures", "percentiles", "share"]

YARDSTICK = "plain-5"  # the reading that others are held against


@dataclass(frozen=True, slots=True)
class Figures:
    """One reading of one recording.  Seconds count from the first or the last voice."""

    model: str
    weights: str
    reader: str
    settings: str
    recording: str
    corpus: str
    language: str | None
    kind: str
    seconds: float
    units: int  # words of the reference, or characters
    errors: int
    sentences: int  # of the reference
    segments: int
    cuts: int  # segments that end inside a sentence
    words: int  # of the text, for recordings without a reference as well
    engine_s: float
    parts_units: int = 0  # of joined recordings: what the parts have by themselves...
    parts_errors: int = 0  # ...and the yardstick's errors in them
    # Of live text only:
    shown: int = 0
    taken_back: int = 0
    changed: int = 0
    suppressed: int = 0
    dropped: int = 0
    lost: int | None = None  # units at the ends of utterances that the yardstick has
    lost_in: int | None = None  # utterances
    first_s: float | None = None  # first word after the first voice
    stands_s: float | None = None  # last change after the last voice
    completed_s: float | None = None  # last completed segment after the last voice


def figures(row: Row, known: Mapping[Key, Row]) -> Figures:
    """The figures of one row; ``known`` has the rows that it is compared with."""
    language, weights = row.language, row.key.weights
    reference = sentences(row.texts, language)
    segments = row.reading.segments
    said, heard = _units_of(row)
    seen = account(row.reading.views)
    is_live = row.key.reader.startswith("live")
    yardstick = known.get(Key(weights, YARDSTICK, "", row.key.recording))
    parts = [known.get(Key(weights, YARDSTICK, "", name)) for name in row.parts]
    counted = [_units_of(part) for part in parts if part is not None]
    if len(counted) < len(parts):  # a sum of some of them would mislead
        counted = []
    lost = None
    if is_live and yardstick is not None and said:
        utterances = [units(text, language) for text in row.texts]
        lost = lost_at_ends(utterances, units(_text(yardstick), language), heard)
    first_s, last_s = row.speech or (None, None)
    return Figures(
        model=row.model,
        weights=weights,
        reader=row.key.reader,
        settings=row.key.settings,
        recording=row.key.recording,
        corpus=row.corpus,
        language=language,
        kind=row.kind,
        seconds=row.seconds,
        units=len(said),
        errors=word_errors(said, heard) if said else 0,
        sentences=len(reference),
        segments=len(segments),
        cuts=(
            cuts_inside(reference, [units(s.text, language) for s in segments])
            if said
            else 0
        ),
        words=len(plain_words(_text(row))),
        engine_s=row.reading.engine_s,
        parts_units=sum(len(ours) for ours, _ in counted),
        parts_errors=sum(word_errors(*pair) for pair in counted),
        shown=seen.shown,
        taken_back=seen.taken_back,
        changed=seen.changed,
        suppressed=row.reading.suppressed,
        dropped=row.reading.dropped,
        lost=None if lost is None else sum(lost),
        lost_in=None if lost is None else sum(map(bool, lost)),
        first_s=_after(first_s, seen.first_at_s),
        stands_s=_after(last_s, seen.stood_at_s),
        completed_s=_after(last_s, seen.completed_at_s),
    )


def _units_of(row: Row) -> tuple[list[str], list[str]]:
    """Those of the reference and those read."""
    said = units(" ".join(row.texts), row.language)
    return said, units(_text(row), row.language)


def _text(row: Row) -> str:
    return " ".join(segment.text.strip() for segment in row.reading.segments)


def _after(moment_s: float | None, at_s: float | None) -> float | None:
    if moment_s is None or at_s is None:
        return None
    return round(at_s - moment_s, 3)


# ------------------------------------------------------------------------- many of them


def share(part: float, whole: float) -> float:
    """``part`` of ``whole``; NaN where there is nothing."""
    return part / whole if whole else float("nan")


def percentiles(
    values: Iterable[float | None], shares: Sequence[float] = (0.5, 0.95)
) -> list[float]:
    """Quantiles of what is not None; NaN where there is nothing."""
    there = [value for value in values if value is not None]
    if not there:
        return [float("nan")] * len(shares)
    return [float(value) for value in np.quantile(there, shares)]


def difference(
    pairs: Sequence[tuple[Figures, Figures]], *, draws: int = 2000
) -> tuple[float, float, float]:
    """Error rate of the first of each pair less that of the second, and how sure.

    Both are readings of the same recording.  Returns the difference and the bounds
    that hold 90 % of it when recordings are drawn anew, with a fixed seed.
    """
    if not pairs:
        return (float("nan"),) * 3
    gaps = np.array([ours.errors - theirs.errors for ours, theirs in pairs])
    sizes = np.array([ours.units for ours, _ in pairs])
    chance = np.random.default_rng(0)
    drawn = chance.integers(0, len(pairs), (draws, len(pairs)))
    rates = gaps[drawn].sum(axis=1) / np.maximum(sizes[drawn].sum(axis=1), 1)
    low, high = np.quantile(rates, [0.05, 0.95])
    return float(gaps.sum() / max(sizes.sum(), 1)), float(low), float(high)
