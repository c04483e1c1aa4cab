"""Units and the sample buffer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_live.audio import (
    SampleBuffer,
    Samples,
    ms_to_samples,
    s_to_samples,
    samples_to_s,
)


def ramp(start: int, end: int) -> Samples:
    return np.arange(start, end, dtype=np.float32)


def test_units_convert_to_whole_samples() -> None:
    assert (s_to_samples(1.5), ms_to_samples(32)) == (24_000, 512)
    assert s_to_samples(0.00004) == 1
    assert samples_to_s(8_000) == 0.5


def test_a_span_is_read_by_its_position_after_trims() -> None:
    buffer = SampleBuffer()
    buffer.append(ramp(0, 1000))
    buffer.trim(300)
    buffer.append(ramp(1000, 1500))
    assert (buffer.start, buffer.end, len(buffer)) == (300, 1500, 1200)
    assert buffer.read(900, 1100).tolist() == list(range(900, 1100))


def test_what_was_read_does_not_change_with_the_buffer() -> None:
    buffer = SampleBuffer()
    buffer.append(ramp(0, 100))
    kept = buffer.read(0, 100)
    buffer.trim(100)
    for _ in range(1000):
        buffer.append(ramp(5000, 5100))
    assert kept.tolist() == list(range(100))


@pytest.mark.parametrize("span", [(0, 50), (100, 300), (120, 110)])
def test_a_span_outside_the_buffer_is_refused(span: tuple[int, int]) -> None:
    buffer = SampleBuffer()
    buffer.append(ramp(0, 200))
    buffer.trim(100)
    with pytest.raises(AssertionError):
        buffer.read(*span)


def test_trimming_what_is_gone_or_not_yet_there() -> None:
    buffer = SampleBuffer()
    buffer.append(ramp(0, 100))
    buffer.trim(50)
    buffer.trim(20)
    assert buffer.start == 50
    buffer.trim(1000)
    assert (buffer.start, buffer.end) == (100, 100)


@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 40_000)), max_size=30))
def test_any_order_of_appends_and_trims(steps: list[tuple[int, int]]) -> None:
    buffer, start, end = SampleBuffer(), 0, 0
    for added, trimmed in steps:
        buffer.append(ramp(end, end + added))
        end += added
        start = min(start + trimmed, end)
        buffer.trim(start)
        assert (buffer.start, buffer.end) == (start, end)
        assert np.array_equal(buffer.read(start, end), ramp(start, end))


def test_memory_follows_what_is_kept() -> None:
    buffer = SampleBuffer()
    small = 4 * SampleBuffer._SMALLEST
    for at in range(0, 30 * 16_000, 4000):
        buffer.append(ramp(at, at + 4000))
    assert buffer._store.nbytes <= 4 * 30 * 16_000 * 1.6
    buffer.trim(buffer.end - 4800)
    assert buffer._store.nbytes == small
    for at in range(0, 600 * 16_000, 4000):  # ten minutes of silence
        buffer.append(ramp(at, at + 4000))
        buffer.trim(buffer.end - 4800)
    assert buffer._store.nbytes == small


def test_a_full_buffer_is_not_moved_for_each_frame() -> None:
    buffer, moves = SampleBuffer(), 0
    buffer.append(ramp(0, 31_000))
    for _ in range(1000):
        head, store = buffer._head, buffer._store
        buffer.append(ramp(0, 512))
        moves += buffer._store is not store or buffer._head < head
        buffer.trim(buffer.start + 512)
    assert moves <= 1000 * 512 // 15_000 + 2
