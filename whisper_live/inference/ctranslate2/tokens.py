"""From the tokens of an answer to segments with times, and whether to believe it.

Owns the meaning of timestamp tokens, Whisper's two quality filters and the guard
against loops.  Pure: no model, no session; times are samples within the window.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from whisper_live.audio import SAMPLE_RATE
from whisper_live.inference.types import LEAST_LOGPROB, MOST_COMPRESSION

__all__ = [
    "Answer",
    "Span",
    "compression_ratio",
    "cut_loop",
    "is_echo",
    "read_spans",
    "read_to",
    "says_twice",
    "without_open_end",
]

SAMPLES_PER_TIMESTAMP = SAMPLE_RATE // 50  # 20 ms
LIKELY_SILENCE = 0.6  # over which improbable text is not worth a retry
LONGEST_LOOP = 32  # tokens of one round
LEAST_ROUNDS = 4
# Text tokens of a phrase that nobody says twice running, or seldom enough: what it
# costs is one more reading.
LEAST_SAID_TWICE = 4
LEAST_ECHO = 4  # text tokens at the start that the prompt has as well


@dataclass(frozen=True, slots=True)
class Span:
    """Text tokens between two timestamps, ``start < end`` in samples of the window."""

    start: int
    end: int
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one decode of one row gave."""

    spans: list[Span]
    texts: list[str]  # of the spans, none blank
    read_to: int  # samples of the window that the answer accounts for
    average_logprob: float
    no_speech_probability: float
    compression_ratio: float
    is_repeated: bool = False  # a phrase stands there twice running, or more often
    is_echo: bool = False  # it begins with words of its prompt
    is_open: bool = False  # it ends in text, without the time that closes it
    ran_out: bool = False  # of tokens, with no time behind what was written

    @property
    def is_loop(self) -> bool:
        """Whether it says the same again and again, as stock Whisper does in contexts
        that are too short for it.

        Twice is not enough to raise the compression ratio above Whisper's threshold.
        """
        return self.is_repeated or self.compression_ratio > MOST_COMPRESSION

    @property
    def believable(self) -> bool:
        """False if a higher temperature should be tried."""
        if self.average_logprob < LEAST_LOGPROB:
            return self.no_speech_probability > LIKELY_SILENCE
        return self.compression_ratio <= MOST_COMPRESSION

    @property
    def rank(self) -> tuple[bool, float]:
        """Orders answers none of which is believable: looping ones last."""
        return self.compression_ratio <= MOST_COMPRESSION, self.average_logprob


def compression_ratio(text: str) -> float:
    """How many times smaller zlib makes the text."""
    data = text.encode()
    # As long as ``zlib.compress`` makes it, for an answer's length, in 24 KB of working
    # memory: clearing the usual 256 KB takes 50 us after a call, ten times the rest.
    packer = zlib.compressobj(wbits=12, memLevel=4)
    return len(data) / len(packer.compress(data) + packer.flush())


def cut_loop(tokens: Sequence[int]) -> list[int]:
    """``tokens`` with one round left of a loop at their end.

    For answers that ran into their length limit: four equal rounds there are a decoder
    that found no way out.  Answers that ended by themselves keep every "no no no no".
    """
    for size in range(1, min(LONGEST_LOOP, len(tokens) // LEAST_ROUNDS) + 1):
        rounds = 1
        end = len(tokens) - size
        last = tokens[end:]
        while end >= size and tokens[end - size : end] == last:
            rounds += 1
            end -= size
        if rounds >= LEAST_ROUNDS:
            return list(tokens[: end + size])
    return list(tokens)


def says_twice(tokens: Sequence[int], *, eot: int) -> bool:
    """Whether a phrase of some tokens is followed by itself, whatever the times."""
    text = [token for token in tokens if token < eot]
    for size in range(LEAST_SAID_TWICE, len(text) // 2 + 1):
        equal = 0  # tokens in a row that stand again `size` further on
        for left, right in zip(text, text[size:]):
            equal = equal + 1 if left == right else 0
            if equal == size:
                return True
    return False


def is_echo(prompt: Sequence[int], tokens: Sequence[int], *, eot: int) -> bool:
    """Whether an answer begins with what the prompt says somewhere.

    Whisper sometimes writes previous text again in place of what it hears.
    """
    start = [token for token in tokens if token < eot][:LEAST_ECHO]
    places = range(len(prompt) - LEAST_ECHO + 1)
    return len(start) == LEAST_ECHO and any(
        list(prompt[at : at + LEAST_ECHO]) == start for at in places
    )


def read_spans(
    tokens: Sequence[int], *, eot: int, timestamp_begin: int, samples: int
) -> list[Span]:
    """Cut an answer at its timestamp tokens.

    The spans are in order, disjoint and inside ``0..samples``.  No text is lost: text
    without an end reaches to the end of the window, and text whose times leave it no
    room joins its neighbour.
    """
    spans: list[Span] = []
    text: list[int] = []
    start = 0
    for token in tokens:
        if token < eot:
            text.append(token)
        elif token >= timestamp_begin:
            moment = (token - timestamp_begin) * SAMPLES_PER_TIMESTAMP
            if text:
                _add(spans, start, moment, text, samples)
                text = []
            start = moment
    if text:
        _add(spans, start, samples, text, samples)
    return spans


def read_to(
    tokens: Sequence[int], *, eot: int, timestamp_begin: int, samples: int
) -> int:
    """How many samples of the window an answer accounts for.

    Whisper often reads only the first part of a window and closes it with a timestamp:
    what follows that is still to be read.  Text without an end, and no text at all,
    account for the whole window.
    """
    texts = [index for index, token in enumerate(tokens) if token < eot]
    if not texts:
        return samples
    ends = [t for t in tokens[texts[-1] :] if t >= timestamp_begin]
    if not ends:
        return samples
    return min((ends[-1] - timestamp_begin) * SAMPLES_PER_TIMESTAMP, samples)


def without_open_end(
    tokens: Sequence[int], *, eot: int, timestamp_begin: int
) -> list[int]:
    """An answer that ran into its length limit, less the text that it did not close.

    Where nothing was closed it stays as it is.
    """
    times = [i for i, token in enumerate(tokens) if token >= timestamp_begin]
    closing = [i for i in times if i and tokens[i - 1] < eot]
    return list(tokens[: closing[-1] + 1]) if closing else list(tokens)


def _add(
    spans: list[Span], start: int, end: int, text: list[int], samples: int
) -> None:
    floor = spans[-1].end if spans else 0
    start = min(max(start, floor), samples)
    end = min(end, samples)
    if start < end:
        spans.append(Span(start, end, text))
    elif spans:
        last = spans.pop()
        spans.append(Span(last.start, max(last.end, end), [*last.tokens, *text]))
    else:
        spans.append(Span(0, samples, text))
