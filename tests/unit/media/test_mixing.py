"""Channels to one, where they cancel out too."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from whisper_live.audio import Samples
from whisper_live.media.files import read_file
from whisper_live.media.mixing import mixed


def tone(hertz: float, level: float = 0.5) -> Samples:
    moments = np.arange(16_000) / 16_000
    return (level * np.sin(2 * np.pi * hertz * moments)).astype(np.float32)


def test_one_channel_is_itself() -> None:
    assert_array_equal(mixed([tone(440)]), tone(440))


@pytest.mark.parametrize(
    "other", [tone(440), tone(300), tone(440, 0.05), tone(440, -0.2), 0 * tone(1)]
)
def test_channels_are_averaged(other: Samples) -> None:
    assert_allclose(mixed([tone(440), other]), (tone(440) + other) / 2, atol=1e-7)


@pytest.mark.parametrize("level", [-0.49, -0.45, -0.35])
def test_of_opposite_channels_the_louder_is_taken(level: float) -> None:
    assert_array_equal(mixed([tone(440), tone(440, level)]), tone(440))
    assert_array_equal(mixed([tone(440, level), tone(440)]), tone(440))


def test_silence_and_more_channels() -> None:
    quiet = np.zeros(100, np.float32)
    assert not mixed([quiet, quiet]).any()
    surround = [tone(100), tone(200), tone(300), -tone(100), -tone(200), -tone(300)]
    assert np.abs(mixed(surround)).max() > 0.4


def test_no_number_is_too_large() -> None:
    wild = np.full(100, 3e38, np.float32)
    assert mixed([wild, -wild]).max() > 0


def test_a_file_whose_right_channel_is_turned_over_is_heard() -> None:
    left = (tone(440) * 32767).astype(np.int16)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(np.column_stack([left, -left]).tobytes())
    file.seek(0)
    samples = np.concatenate(list(read_file(file)))
    assert_allclose(samples, tone(440), atol=1e-4)
