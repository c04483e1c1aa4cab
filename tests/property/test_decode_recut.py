"""Live decoding does not depend on cuts, and survives anything.

Any cut of a stream gives the same samples, bit for bit, and the same error; damaged
streams raise ``DecodeError`` or nothing, and keep to their bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decode_media import (
    FRAGMENTED,
    drain,
    muxed,
    ogg,
    opus_packets,
    sound,
    webm,
)
from whisper_live.audio import Samples
from whisper_live.errors import DecodeError
from whisper_live.media.formats import open_stream

MEDIA = {
    "webm_browser": lambda: webm(opus_packets(1.0)),
    "webm_restart": lambda: webm(opus_packets(0.5)) + webm(opus_packets(0.5)),
    "webm_joined": lambda: webm(opus_packets(1.0), per_cluster=3)[900:],
    "webm_gaps": lambda: webm(
        opus_packets(0.5), [n * 20 + n // 9 * 700 for n in range(25)]
    ),
    "webm_ffmpeg": lambda: muxed("webm", "libopus", seconds=1.0, channels=2),
    "webm_pcm": lambda: muxed("matroska", "pcm_f32le", seconds=0.3, rate=44_100),
    "ogg_browser": lambda: b"".join(ogg(opus_packets(1.0))),
    "ogg_ffmpeg": lambda: muxed("ogg", "libopus", seconds=1.0, channels=2),
    "mp4_opus": lambda: muxed("mp4", "libopus", seconds=1.0, options=FRAGMENTED),
    "mp4_aac": lambda: muxed("mp4", "aac", seconds=1.0, options=FRAGMENTED),
    "float32": lambda: sound(0.4, 16_000).tobytes() + b"xy",
    "int16": lambda: (sound(0.4, 16_000) * 32767).astype("<i2").tobytes() + b"x",
    "uint8": lambda: (sound(0.4, 16_000) * 127 + 128).astype("u1").tobytes(),
}
_LARGEST_RESIDUE = (1 << 20) + (64 << 10)  # one moov and one slice


@cache
def media(name: str) -> bytes:
    return MEDIA[name]()


def audio_format(name: str) -> str:
    return name.partition("_")[0]


def outcome(data: bytes, form: str, cuts: Iterable[int]) -> tuple[Samples, str | None]:
    """All samples and the kind of the error that ended them."""
    decoder = open_stream(form)
    pieces: list[Samples] = [np.empty(0, np.float32)]
    error = None
    try:
        start = 0
        for end in [*sorted(set(cuts)), len(data)]:
            decoder.push(data[start:end])
            start = end
            while (piece := decoder.pull()) is not None:
                assert 0 < len(piece) <= 80_000
                pieces.append(piece)
            assert residue(decoder) <= _LARGEST_RESIDUE
        decoder.finish()
        while (piece := decoder.pull()) is not None:
            pieces.append(piece)
    except DecodeError as raised:
        error = raised.kind
    return np.concatenate(pieces), error


def residue(decoder: object) -> int:
    """Bytes kept after everything was pulled."""
    stream = getattr(decoder, "_stream", None) or decoder
    splitter = getattr(stream, "_splitter", None)
    kept = [getattr(stream, "_waiting", b""), getattr(splitter, "_data", b"")]
    return sum(map(len, kept))


@pytest.mark.parametrize("name", MEDIA)
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_cut_gives_the_same_samples(name: str, data: st.DataObject) -> None:
    whole = media(name)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=30))
    expected, expected_error = outcome(whole, audio_format(name), [])
    samples, error = outcome(whole, audio_format(name), cuts)
    assert len(expected) > 0 and expected_error is None
    np.testing.assert_array_equal(samples, expected)
    assert error is None


@pytest.mark.parametrize("name", ["webm_browser", "ogg_browser", "mp4_aac", "float32"])
@pytest.mark.parametrize("size", [1, 7])
def test_the_smallest_cuts_give_the_same_samples(name: str, size: int) -> None:
    whole = media(name)
    expected, _ = outcome(whole, audio_format(name), [])
    samples, _ = outcome(whole, audio_format(name), range(0, len(whole), size))
    np.testing.assert_array_equal(samples, expected)


CONTAINERS = [name for name in MEDIA if "_" in name]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["change", "lose", "double", "insert", "end"]),
        # Headers are where it hurts most.
        st.one_of(st.integers(0, 600), st.integers(0, 20_000)),
        st.sampled_from([1, 2, 8, 60, 900]),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def damage(whole: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    """``whole`` with bytes changed, lost, doubled, put in, or its end cut off."""
    data = bytearray(whole)
    for edit, at, length, content in edits:
        at = min(at, len(data))
        if edit == "change":
            data[at : at + len(content)] = content
        elif edit == "lose":
            del data[at : at + length]
        elif edit == "double":
            data[at:at] = data[at : at + length]
        elif edit == "insert":
            data[at:at] = content
        else:
            del data[max(at, len(data) // 4) :]
    return bytes(data)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(CONTAINERS),
    EDITS,
    st.lists(st.integers(0, 20_000), max_size=12),
)
def test_damage_is_survived_in_any_cut(
    name: str, edits: list[tuple[str, int, int, bytes]], cuts: list[int]
) -> None:
    data = damage(media(name), edits)
    form = audio_format(name)
    expected, expected_error = outcome(data, form, [])
    samples, error = outcome(data, form, [cut for cut in cuts if cut < len(data)])
    assert error == expected_error
    # FFmpeg's Opus decoder is not deterministic behind packets that it refused: the
    # same packets, uncut too, now and then give other samples.  Never another number.
    assert len(samples) == len(expected)
    if name == "webm_pcm":
        np.testing.assert_array_equal(samples, expected)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["auto", "webm", "ogg", "mp4"]),
    st.sampled_from([b"", b"\x1a\x45\xdf\xa3", b"OggS", b"\0\0\0\x10ftyp"]),
    st.binary(max_size=3000),
)
def test_random_bytes_are_refused_or_ignored(
    form: str, head: bytes, body: bytes
) -> None:
    samples, _ = outcome(head + body, form, [10, 100])
    assert np.isfinite(samples).all()


def test_what_is_kept_does_not_grow_with_the_stream() -> None:
    """Ten times the same recorder: nothing stays behind."""
    decoder = open_stream("webm")
    for _ in range(10):
        decoder.push(media("webm_browser"))
        drain(decoder)
        assert residue(decoder) == 0
