"""Sound and containers for the decoder's tests, made here and now.

Two kinds: what FFmpeg's muxers write (through PyAV), an independent judge, and what
our own small muxers write, shaped like a browser's live recording and open to damage.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from functools import cache

import av
import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import SAMPLE_RATE, PcmFormat, Samples
from whisper_live.media.codec import Resampler
from whisper_live.media.formats import StreamDecoder, open_stream
from whisper_live.media.ogg import page_checksum

OPUS_HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 312, 48_000, 0, 0)

# --------------------------------------------------------------------------- sound


@cache
def sound(seconds: float, rate: int = 48_000, channels: int = 1) -> NDArray[np.float32]:
    """Swelling tones and some noise, shape ``[channels, n]``; no two moments alike."""
    count = round(seconds * rate)
    t = np.arange(count) / rate
    noise = np.random.default_rng(7)
    rows = []
    for channel in range(channels):
        sweep = np.sin(2 * np.pi * (200 + 150 * channel + 90 * t) * t)
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * (1.3 + channel) * t)
        rows.append(0.3 * sweep * swell + 0.02 * noise.standard_normal(count))
    return np.asarray(rows, dtype=np.float32)


@cache
def opus_packets(seconds: float = 2.0, frame_ms: int = 20) -> tuple[bytes, ...]:
    """``sound`` as mono Opus packets."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = 48_000
    encoder.layout = "mono"
    encoder.format = "flt"
    encoder.options = {"frame_duration": str(frame_ms)}
    step = 48 * frame_ms
    samples = sound(seconds)
    packets: list[bytes] = []
    for start in range(0, samples.shape[1] - step + 1, step):
        block = np.ascontiguousarray(samples[:, start : start + step])
        frame = av.AudioFrame.from_ndarray(block, "flt", "mono")
        frame.sample_rate = 48_000
        frame.pts = start
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return tuple(packets)


# ------------------------------------------------------------------ FFmpeg's muxers


@cache
def muxed(
    container: str,
    codec: str,
    *,
    seconds: float = 2.0,
    rate: int = 48_000,
    channels: int = 1,
    options: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """``sound`` as a file that FFmpeg writes."""
    samples = sound(seconds, rate, channels)
    return mux(container, codec, samples, rate=rate, options=options)


def mux(
    container: str,
    codec: str,
    samples: NDArray[np.float32],
    *,
    rate: int,
    encoder_rate: int | None = None,
    options: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """Samples ``[channels, n]`` as a file that FFmpeg writes.

    ``encoder_rate`` is for codecs that do not know ``rate``.
    """
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=dict(options)) as output:
        stream = output.add_stream(codec, rate=encoder_rate or rate)
        assert isinstance(stream, av.AudioStream)
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
        stream.codec_context.layout = layout
        if codec.startswith("wma"):  # which has no default
            stream.codec_context.bit_rate = 128_000
        for start in range(0, samples.shape[1], 1000):
            piece = np.ascontiguousarray(samples[:, start : start + 1000])
            frame = av.AudioFrame.from_ndarray(piece, "fltp", layout)
            frame.sample_rate = rate
            frame.pts = start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return target.getvalue()


FRAGMENTED = (
    ("movflags", "frag_keyframe+empty_moov+default_base_moof"),
    ("frag_duration", "200000"),
)


def reference(data: bytes) -> Samples:
    """What PyAV makes of the whole file: planes summed, the same resampler."""
    mono: list[Samples] = []
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(audio=0):
            assert isinstance(frame, av.AudioFrame)
            rate = frame.sample_rate
            planes = frame.to_ndarray()
            if not frame.format.is_planar:
                planes = planes.reshape(-1, frame.layout.nb_channels).T
            if planes.dtype == np.int16:
                planes = planes / np.float32(32768)
            mono.append(planes.sum(axis=0, dtype=np.float32) / len(planes))
    resampler = Resampler(rate)
    return np.concatenate(resampler.push(mono) + resampler.flush())


# ----------------------------------------------------------- WebM as browsers send it


def element(kind: int, content: bytes, size: int | None = -1) -> bytes:
    """An EBML element; ``size`` None is "unknown", else it may lie."""
    name = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    if size is None:
        return name + b"\x01" + b"\xff" * 7 + content
    length = len(content) if size < 0 else size
    return name + (1 << 56 | length).to_bytes(8, "big") + content


def track_entry(
    codec: bytes = b"A_OPUS",
    *,
    number: int = 1,
    kind: int = 2,
    private: bytes = OPUS_HEAD,
    rate: float = 48_000.0,
    channels: int = 1,
    depth: int = 32,
    extra: bytes = b"",
) -> bytes:
    audio = (
        element(0xB5, struct.pack(">d", rate))
        + element(0x9F, bytes([channels]))
        + element(0x6264, bytes([depth]))
    )
    return element(
        0xAE,
        element(0xD7, bytes([number]))
        + element(0x83, bytes([kind]))
        + element(0x86, codec)
        + (element(0x63A2, private) if private else b"")
        + element(0xE1, audio)
        + extra,
    )


def webm_header(*entries: bytes) -> bytes:
    """EBML header, Segment of unknown size, Info and Tracks."""
    return (
        element(0x1A45DFA3, element(0x4282, b"webm"))
        + element(0x18538067, b"", None)
        + element(0x1549A966, element(0x2AD7B1, (1_000_000).to_bytes(3, "big")))
        + element(0x1654AE6B, b"".join(entries or [track_entry()]))
    )


def cluster(time_ms: int, blocks: bytes = b"") -> bytes:
    return element(0x1F43B675, element(0xE7, time_ms.to_bytes(6, "big")) + blocks, None)


def block(data: bytes, offset_ms: int = 0, number: int = 1, flags: int = 0x80) -> bytes:
    head = bytes([0x80 | number]) + struct.pack(">hB", offset_ms, flags)
    return element(0xA3, head + data)


def webm(
    packets: Sequence[bytes],
    times_ms: Iterable[int] | None = None,
    *,
    header: bytes | None = None,
    per_cluster: int = 5,
) -> bytes:
    """A live recording: 20 ms packets unless ``times_ms`` says otherwise."""
    times = list(times_ms) if times_ms is not None else range(0, 20 * len(packets), 20)
    out = [webm_header() if header is None else header]
    for index in range(0, len(packets), per_cluster):
        start = times[index]
        out.append(cluster(start))
        for data, time in zip(
            packets[index : index + per_cluster], times[index:], strict=False
        ):
            if abs(time - start) > 30_000:
                out.append(cluster(time))
                start = time
            out.append(block(data, time - start))
    return b"".join(out)


# --------------------------------------------------------------------------- Ogg pages


def ogg_page(
    body: bytes,
    lacing: Iterable[int],
    *,
    granule: int,
    sequence: int,
    flags: int = 0,
    serial: int = 77,
) -> bytes:
    values = bytes(lacing)
    fields = (b"OggS", 0, flags, granule, serial, sequence)
    tail = bytes([len(values)]) + values + body
    page = struct.pack("<4sBBqII", *fields) + bytes(4) + tail
    return page[:22] + struct.pack("<I", page_checksum(page)) + page[26:]


def lace(packet: bytes) -> list[int]:
    return [255] * (len(packet) // 255) + [len(packet) % 255]


def ogg(
    packets: Sequence[bytes], *, serial: int = 77, per_page: int = 5
) -> list[bytes]:
    """Pages of a live recording with 20 ms packets, the two headers first."""
    tags = b"OpusTags" + bytes(8)
    pages = [
        ogg_page(
            OPUS_HEAD, lace(OPUS_HEAD), granule=0, sequence=0, flags=2, serial=serial
        ),
        ogg_page(tags, lace(tags), granule=0, sequence=1, serial=serial),
    ]
    for index in range(0, len(packets), per_page):
        some = packets[index : index + per_page]
        pages.append(
            ogg_page(
                b"".join(some),
                [value for packet in some for value in lace(packet)],
                granule=960 * (index + len(some)),
                sequence=len(pages),
                serial=serial,
            )
        )
    return pages


# ---------------------------------------------------------------------------- decoding


def drain(decoder: StreamDecoder) -> list[Samples]:
    """Pull until None; every piece keeps to its bound."""
    pieces: list[Samples] = []
    while (piece := decoder.pull()) is not None:
        assert piece.dtype == np.float32 and 0 < len(piece) <= 5 * SAMPLE_RATE
        pieces.append(piece)
    return pieces


def decode(
    data: bytes, audio_format: str | PcmFormat | None = None, sizes: Iterable[int] = ()
) -> tuple[Samples, StreamDecoder]:
    """Everything in ``data``, cut into ``sizes`` and a rest; raises what is raised."""
    decoder = open_stream(audio_format)
    pieces: list[Samples] = []
    at = 0
    for size in [*sizes, len(data)]:
        decoder.push(data[at : at + size])
        pieces += drain(decoder)
        at += size
    decoder.finish()
    pieces += drain(decoder)
    return np.concatenate([np.empty(0, np.float32), *pieces]), decoder
