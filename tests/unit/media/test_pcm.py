"""Raw PCM: formats, ragged messages, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.decode_media import decode
from whisper_live.audio import SAMPLE_RATE, PcmFormat
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


# ----------------------------------------------------------------- any rate, width, ...


def pcm_bytes(samples: np.ndarray, pcm: PcmFormat) -> bytes:
    """``samples`` ``[n]`` as a client has them, the same in each channel."""
    columns = np.repeat(samples[:, None], pcm.channels, axis=1).reshape(-1)
    if pcm.width == 1:
        return (columns * 127 + 128).astype("u1").tobytes()
    whole = (columns * (2.0 ** (8 * pcm.width - 1) - 1)).astype("<i8")
    raw = whole.view("u1").reshape(-1, 8)[:, : pcm.width]
    return raw.tobytes()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_each_width_and_count_of_channels_in_any_cut(
    width: int, channels: int, size: int
) -> None:
    pcm = PcmFormat(SAMPLE_RATE, width, channels)
    data = pcm_bytes(np.tile(VALUES, 20), pcm)
    samples, decoder = decode(data, pcm, [size] * (len(data) // size))
    np.testing.assert_allclose(samples, np.tile(VALUES, 20), atol=1.1 / 128)
    assert decoder.codec == ("pcm_u8" if width == 1 else f"pcm_s{8 * width}")
    assert not decoder.notes


def test_channels_are_mixed_to_their_mean() -> None:
    data = np.array([[0.5, 0.0], [-0.5, 0.5]], np.float32) * 32768
    samples, _ = decode(data.astype("<i2").tobytes(), PcmFormat(SAMPLE_RATE, 2, 2))
    np.testing.assert_allclose(samples, [0.25, 0.0], atol=1e-4)


def test_channels_that_cancel_out_are_heard() -> None:
    tone = np.sin(np.arange(1600) / 5).astype(np.float32) / 2
    data = (np.stack([tone, -tone], axis=1) * 32768).astype("<i2").tobytes()
    samples, _ = decode(data, PcmFormat(SAMPLE_RATE, 2, 2))
    np.testing.assert_allclose(samples, tone, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 192000])
def test_a_second_at_any_rate_is_a_second_at_16_khz(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32) * 0.5
    pcm = PcmFormat(rate, 2, 1)
    data = pcm_bytes(tone, pcm)
    samples, _ = decode(data, pcm, [997] * (len(data) // 997))
    assert len(samples) == SAMPLE_RATE
    expected = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE) * 0.5
    middle = slice(1000, -1000)  # the filter begins and ends in silence
    np.testing.assert_allclose(samples[middle], expected[middle], atol=0.01)


def test_a_frame_without_its_last_channel_is_dropped_and_noted() -> None:
    pcm = PcmFormat(SAMPLE_RATE, 2, 2)
    samples, decoder = decode(bytes(4 * 10 + 2), pcm)
    assert len(samples) == 10
    assert decoder.notes == {"ragged_tail": 1}


def test_what_is_not_pulled_has_a_bound() -> None:
    decoder = open_stream(PcmFormat(48_000, 2, 1))
    decoder.push(bytes(2 << 20))
    with pytest.raises(DecodeError, match="More was sent"):
        decoder.push(b"x")


def test_long_blocks_come_in_pieces_of_5_s() -> None:
    decoder = open_stream(PcmFormat(8000, 1, 1))
    decoder.push(bytes(8000 * 12))
    decoder.finish()
    sizes = []
    while (piece := decoder.pull()) is not None:
        sizes.append(len(piece))
    assert max(sizes) <= 5 * SAMPLE_RATE
    assert sum(sizes) == 12 * SAMPLE_RATE
