"""Word times out of cross-attention alignments.

Pure: token-level alignments in, words with sample positions inside the window out.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import merge_punctuations

from whisper_live.audio import SAMPLE_RATE
from whisper_live.inference.ctranslate2.tokens import Span

__all__ = ["Aligned", "aligned_words"]

SAMPLES_PER_POSITION = SAMPLE_RATE // 50
OPENING = "\"'“¿([{-"
CLOSING = "\"'.。,，!！?？:：”)]}、"
# Attention of a span's outer words leaks into the silence around it; they are held to
# twice the median word, or to 1.4 s in slow speech.
MOST_MEDIAN = int(0.7 * SAMPLE_RATE)


@dataclass(frozen=True, slots=True)
class Aligned:
    """A word; ``start <= end`` in samples of the window."""

    text: str
    start: int
    end: int
    probability: float


def aligned_words(
    tokenizer: Tokenizer, spans: Sequence[Span], alignment: Any, *, samples: int
) -> list[list[Aligned]]:
    """Words of each span, in order, inside ``0..samples``, never overlapping.

    ``alignment``: CTranslate2's result for the text tokens of all spans in sequence.
    """
    tokens = [token for span in spans for token in span.tokens]
    words, word_tokens = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    if len(word_tokens) <= 1 or not alignment.alignments:
        return [[] for _ in spans]
    pairs = np.asarray(alignment.alignments)  # [steps, 2]: token, position
    begins = np.diff(pairs[:, 0], prepend=-1) > 0
    positions = pairs[begins, 1] * SAMPLES_PER_POSITION  # one for each token, and eot
    probabilities = np.asarray(alignment.text_token_probs)
    entries = [
        {"word": word, "tokens": part}
        for word, part in zip(words[:-1], word_tokens[:-1])  # the last is eot
    ]
    merge_punctuations(entries, OPENING, CLOSING)  # leaves empty entries behind

    span_ends = np.cumsum([len(span.tokens) for span in spans])
    found: list[list[Aligned]] = [[] for _ in spans]
    end = last = 0
    for entry in entries:
        first, last = last, last + len(entry["tokens"])
        if first == last:
            continue
        start = int(min(max(positions[first], end), samples))
        end = int(min(max(positions[last], start), samples))
        probability = float(probabilities[first:last].mean())
        span = int(np.searchsorted(span_ends, first, side="right"))
        found[span].append(Aligned(entry["word"], start, end, probability))
    return [_without_silence(span_words) for span_words in found]


def _without_silence(words: list[Aligned]) -> list[Aligned]:
    lengths = [word.end - word.start for word in words if word.end > word.start]
    if not lengths:
        return words
    most = 2 * min(int(statistics.median(lengths)), MOST_MEDIAN)
    first = words[0]
    words[0] = replace(first, start=max(first.start, first.end - most))
    last = words[-1]
    words[-1] = replace(last, end=min(last.end, last.start + most))
    return words
