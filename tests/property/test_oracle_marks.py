"""Any words, any raw format, any cut: exactly the whole words are read."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_live.audio import Samples
from whisper_live.testing.marks import (
    MAX_NUMBER,
    NumberedWord,
    read_words,
    write_words,
)

numbers = st.lists(st.integers(0, MAX_NUMBER), min_size=1, max_size=6)


def _as_int16(samples: Samples) -> Samples:
    wire = (samples * 32767).astype("<i2").tobytes()
    return np.frombuffer(wire, "<i2").astype(np.float32) / np.float32(32768)


def _as_uint8(samples: Samples) -> Samples:
    wire = np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    return (np.frombuffer(wire, np.uint8).astype(np.float32) - 128) / np.float32(128)


def _as_float32(samples: Samples) -> Samples:
    return np.frombuffer(samples.astype("<f4").tobytes(), "<f4")


def _inside(words: list[NumberedWord], start: int, end: int) -> list[NumberedWord]:
    return [
        NumberedWord(word.number, word.start - start, word.end - start)
        for word in words
        if start <= word.start and word.end <= end
    ]


@given(
    numbers,
    st.sampled_from([_as_float32, _as_int16, _as_uint8]),
    st.floats(0.02, 1.0),
    st.floats(0.064, 0.4),
    st.data(),
)
@settings(deadline=None)
def test_plain_words_are_exact_in_any_format_and_window(
    said: list[int], wire: object, word_s: float, gap_s: float, data: st.DataObject
) -> None:
    assert callable(wire)
    samples, words = write_words(said, word_s=word_s, gap_s=gap_s)
    received = wire(samples)
    assert read_words(received) == words
    # Cuts anywhere, and often within two samples of where a word begins or ends.
    edges = [edge + d for word in words for edge in word[1:] for d in (-2, -1, 0, 1, 2)]
    near = st.sampled_from([edge for edge in edges if 0 <= edge <= len(samples)])
    cut = st.one_of(st.integers(0, len(samples)), near)
    start, end = sorted((data.draw(cut), data.draw(cut)))
    assert read_words(received[start:end]) == _inside(words, start, end)


@given(numbers, st.floats(0.6, 1.0), st.data())
@settings(deadline=None, max_examples=60)
def test_robust_words_are_read_whole_or_not_at_all(
    said: list[int], volume: float, data: st.DataObject
) -> None:
    samples, words = write_words(said, variant="robust")
    samples = samples * np.float32(volume)
    assert [word.number for word in read_words(samples)] == said
    cut = st.integers(0, len(samples))
    start, end = sorted((data.draw(cut), data.draw(cut)))
    heard = [word.number for word in read_words(samples[start:end])]
    # What is cut by less than a bracket may be read, what is cut more must not.
    whole = _inside(words, start, end)
    nearly = _inside(words, start - 640, end + 640)
    assert len(whole) <= len(heard) <= len(nearly)
    assert heard in (
        [word.number for word in nearly[first : len(nearly) - last]]
        for first in (0, 1)
        for last in (0, 1)
    )
