"""Raw PCM: formats, ragged messages, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.decode_media import decode
from whisper_live.errors import DecodeError
from whisper_live.media.formats import open_stream

VALUES = np.array([0.0, 0.5, -1.0, 0.25], np.float32)


@pytest.mark.parametrize(
    ("audio_format", "data", "codec"),
    [
        ("float32", VALUES.tobytes(), "pcm_f32"),
        ("int16", (VALUES * 32768).astype("<i2").tobytes(), "pcm_s16"),
        ("uint8", (VALUES * 128 + 128).astype("u1").tobytes(), "pcm_u8"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_formats_in_any_cut(
    audio_format: str, data: bytes, codec: str, size: int
) -> None:
    samples, decoder = decode(data, audio_format, [size] * (len(data) // size))
    np.testing.assert_array_equal(samples, VALUES)
    assert decoder.codec == codec
    assert not decoder.notes


def test_a_client_that_names_nothing_sends_float32() -> None:
    samples, decoder = decode(VALUES.tobytes(), None, [3, 3])
    np.testing.assert_array_equal(samples, VALUES)
    assert decoder.codec == "pcm_f32"


@pytest.mark.parametrize("audio_format", [None, "float32"])
def test_a_ragged_tail_is_dropped_and_noted(audio_format: str | None) -> None:
    samples, decoder = decode(VALUES.tobytes() + b"abc", audio_format)
    np.testing.assert_array_equal(samples, VALUES)
    assert decoder.notes == {"ragged_tail": 1}


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (3, 0), (4, 1), (7, 1)])
def test_a_stream_shorter_than_a_header(size: int, expected: int) -> None:
    samples, _ = decode(VALUES.tobytes()[4 : 4 + size], None)
    np.testing.assert_array_equal(samples, VALUES[1 : 1 + expected])


def test_floats_pass_as_they_are() -> None:
    """What cannot be sound is the ingest's to repair and count."""
    wild = np.array([np.nan, np.inf, -7.5], np.float32)
    samples, _ = decode(wild.tobytes(), "float32")
    np.testing.assert_array_equal(samples, wild)


def test_a_long_message_comes_in_pieces_of_5_s() -> None:
    decoder = open_stream("uint8")
    decoder.push(bytes([200]) * 200_000)
    lengths = []
    while (piece := decoder.pull()) is not None:
        lengths.append(len(piece))
    assert lengths == [80_000, 80_000, 40_000]


@pytest.mark.parametrize("audio_format", ["float32", None, "webm"])
def test_bytes_that_are_never_pulled_are_refused(audio_format: str | None) -> None:
    decoder = open_stream(audio_format)
    decoder.push(bytes(1 << 20))
    decoder.push(bytes(1 << 20))  # over the bound, but known only now
    with pytest.raises(DecodeError) as refused:
        decoder.push(b"x")
    assert refused.value.kind == "backlog"
