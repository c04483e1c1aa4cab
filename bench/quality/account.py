"""One client's account of what it was told, against what was said.

Pure: messages in the protocol's form and the words spoken in, counts out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.quality.simulation import Told
from training.demo_model.metrics import matches
from whisper_live.text.wer import plain_words, word_errors

__all__ = ["Heard", "account"]

Words = Sequence[tuple[str, float, float]]  # word, start and end in s


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of one stream."""

    text: str  # of the completed segments
    errors: int
    changed: int  # completed segments that did not stay as they were
    doubled: int  # words said again at the seam of two segments
    taken_back: int  # words shown and then removed or changed
    shown: int  # words of the final text
    word_errors_s: list[float]  # of starts and ends
    first_s: float  # first text after the first word's start
    final_s: float  # last completed word after the last word's end


def account(spoken: Words, messages: Sequence[Told]) -> Heard:
    """Go through a stream's messages as its client would."""
    said = [part for word, _, _ in spoken for part in plain_words(word)]
    completed: list[dict[str, Any]] = []
    shown: list[str] = []
    changed = taken_back = 0
    first_at = settled_at = float("nan")
    for told in messages:
        segments = told.message.get("segments")
        if not segments:
            continue
        if not shown:
            first_at = told.at
        done = [segment for segment in segments if segment["completed"]]
        changed += done[: len(completed)] != completed
        if len(done) > len(completed):
            settled_at = told.at
        completed = done
        words = [w for segment in segments for w in plain_words(segment["text"])]
        kept = _common(shown, words)
        taken_back += len(shown) - kept
        shown = words
    text = "".join(segment["text"] for segment in completed)
    return Heard(
        text,
        word_errors(said, plain_words(text)),
        changed,
        _doubled(said, completed),
        taken_back,
        len(shown),
        _time_errors(spoken, completed),
        first_at - spoken[0][1],
        settled_at - spoken[-1][2],
    )


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    pairs = zip(left, right)
    return next(
        (i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right))
    )


def _doubled(said: Sequence[str], completed: Sequence[dict[str, Any]]) -> int:
    """Seams over which words are said twice that were spoken once."""
    count = 0
    twice = set(zip(said, said[1:]))
    for before, after in zip(completed, completed[1:]):
        left, right = plain_words(before["text"]), plain_words(after["text"])
        for size in range(1, 4):
            tail, head = left[-size:], right[:size]
            if len(tail) == size and tail == head and (tail[-1], head[0]) not in twice:
                count += 1
    return count


def _time_errors(spoken: Words, completed: Sequence[dict[str, Any]]) -> list[float]:
    found = [word for segment in completed for word in segment.get("words", ())]
    said = ["".join(plain_words(word)) for word, _, _ in spoken]
    heard = ["".join(plain_words(word["word"])) for word in found]
    errors = []
    for expected, got in matches(said, heard):
        _, start, end = spoken[expected]
        errors += [
            abs(float(found[got]["start"]) - start),
            abs(float(found[got]["end"]) - end),
        ]
    return errors
