"""Samples at 24 and 8 kHz: the tables of G.711, the rate, and any cut of the bytes."""

from __future__ import annotations

import av
import numpy as np
import pytest

from whisper_live.audio import Samples
from whisper_live.media.formats import StreamDecoder, open_stream
from whisper_live.media.g711 import A_LAW, MU_LAW

TABLES = {"pcmu": MU_LAW, "pcma": A_LAW}


def pulled(stream: StreamDecoder) -> list[Samples]:
    pieces = []
    while (piece := stream.pull()) is not None:
        pieces.append(piece)
    return pieces


def decoded(audio_format: str, data: bytes, *, cut: int) -> Samples:
    stream = open_stream(audio_format)
    pieces = []
    for at in range(0, len(data), cut):
        stream.push(data[at : at + cut])
        pieces += pulled(stream)
    stream.finish()
    return np.concatenate([*pieces, *pulled(stream)])


@pytest.mark.parametrize(
    ("audio_format", "codec"), [("pcmu", "pcm_mulaw"), ("pcma", "pcm_alaw")]
)
def test_the_tables_are_libavs(audio_format: str, codec: str) -> None:
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate, context.layout = 8000, "mono"
    [frame] = context.decode(av.Packet(bytes(range(256))))
    table = TABLES[audio_format]
    assert (table * 32768).tolist() == frame.to_ndarray().ravel().tolist()


@pytest.mark.parametrize(
    ("audio_format", "rate"), [("pcm16_24k", 24_000), ("pcmu", 8_000), ("pcma", 8_000)]
)
def test_a_second_is_16000_samples_in_any_cut(audio_format: str, rate: int) -> None:
    tone = np.sin(np.arange(rate) * 2 * np.pi * 440 / rate) / 2
    if audio_format == "pcm16_24k":
        data = (tone * 32767).astype("<i2").tobytes()
    else:
        table = TABLES[audio_format]
        nearest = np.abs(table[None] - tone[:, None]).argmin(axis=1)
        data = nearest.astype(np.uint8).tobytes()
    whole = decoded(audio_format, data, cut=len(data))
    assert len(whole) == 16_000
    assert np.array_equal(whole, decoded(audio_format, data, cut=777))
    wanted = np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000) / 2
    assert np.abs(whole - wanted)[200:-200].max() < 0.02
