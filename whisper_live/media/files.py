"""Whole files: anything people have, to 16 kHz mono samples, a few seconds at a time.

Owns what is dangerous about opening a file with FFmpeg: only named formats and
decoders, no protocol but the open file itself, bounded rates and sizes.  (Plain
``av.open`` follows an ffconcat text to a local file and an SDP text to the network.)
Must not know live streams.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.error import EOFError as AvEofError
from av.error import FFmpegError

from whisper_live.audio import Samples
from whisper_live.errors import DecodeError
from whisper_live.media.codec import Resampler, finite
from whisper_live.media.mixing import mixed
from whisper_live.media.stream import Output

__all__ = ["FORMATS", "check_stream", "probe_file", "read_container", "read_file"]

# libav's names of what people record to or keep recordings in, and what their files end
# with.  Not here: playlists and scripts, which name other files; devices; games' own
# formats; raw streams that libav knows by their name alone.
FORMATS = {
    "aac": "aac",
    "ac3": "ac3",
    "aiff": "aif aiff aifc",
    "amr": "amr",
    "ape": "ape",
    "asf": "asf wma wmv",
    "au": "au snd",
    "avi": "avi",
    "caf": "caf",
    "dhav": "dav",
    "dsf": "dsf",
    "dss": "dss ds2",
    "dts": "dts",
    "dv": "dv",
    "eac3": "eac3",
    "flac": "flac",
    "flv": "flv",
    "gxf": "gxf",
    "iff": "8svx",
    "ircam": "ircam",
    "loas": "latm loas",
    "matroska": "mka mkv",
    "mlp": "mlp",
    "mov": "3g2 3gp f4v m4a m4b m4v mov mp4",
    "mp3": "mp2 mp3",
    "mpc": "mpc",
    "mpc8": "mpc",
    "mpeg": "mpeg mpg vob",
    "mpegts": "m2ts mts ts",
    "mxf": "mxf",
    "nistsphere": "sph",
    "nut": "nut",
    "ogg": "oga ogg ogv opus spx",
    "oma": "aa3 oma",
    "qcp": "qcp",
    "rm": "ra rm rmvb",
    "shn": "shn",
    "sox": "sox",
    "swf": "swf",
    "tak": "tak",
    "truehd": "thd",
    "tta": "tta",
    "voc": "voc",
    "w64": "w64",
    "wav": "wav",
    "webm": "webm",
    "wtv": "wtv",
    "wv": "wv",
    "xwma": "xwma",
}
_OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "pipe",  # PyAV reads the file object; libav opens nothing
}
# Beside adpcm_ and pcm_.  libav's own codec_whitelist does not reach the decoders that
# PyAV opens.
_CODECS = frozenset(
    "8svx_exp 8svx_fib aac aac_latm ac3 alac als amrnb amrwb ape atrac1 atrac3 "
    "atrac3al atrac3plus atrac3plusal cook dca dsd_lsbf dsd_lsbf_planar dsd_msbf "
    "dsd_msbf_planar dss_sp dst dvaudio eac3 evrc flac g722 g723_1 g726 g726le "
    "g729 gsm gsm_ms iac ilbc imc libopencore_amrnb libopencore_amrwb libopus "
    "mace3 mace6 metasound mlp mp1 mp1float mp2 mp2float mp3 mp3float mp3on4 "
    "mp3on4float mpc7 mpc8 msnsiren nellymoser on2avc opus qcelp qdm2 qdmc ralf "
    "real_144 real_288 s302m shorten sipr speex tak truehd truespeech tta twinvq "
    "vorbis wavpack wmalossless wmapro wmav1 wmav2 wmavoice".split()
)
_CODEC_FAMILIES = ("adpcm_", "pcm_")
# libav takes 24 bits in 32 for an old editor's floats and gives samples of 1e31.
_MISREAD = frozenset({"pcm_f16le", "pcm_f24le"})
_MAX_CHANNELS = 8
_LOWEST_RATE, _HIGHEST_RATE = 8_000, 384_000
_BATCH_S = 1.0  # resampled at a time
_MAX_DAMAGED = 200  # packets in a row

# Sample formats without the "p" of the planar ones: dtype, offset, scale
_FORMATS = {
    "u8": ("u1", 128, 2.0**-7),
    "s16": ("<i2", 0, 2.0**-15),
    "s32": ("<i4", 0, 2.0**-31),
    "s64": ("<i8", 0, 2.0**-63),
    "flt": ("<f4", 0, 1.0),
    "dbl": ("<f8", 0, 1.0),
}

Select = Callable[[Iterator[av.AudioFrame]], Iterator[av.AudioFrame]]


def read_file(source: str | Path | BinaryIO) -> Iterator[Samples]:
    """The audio of a file in one of ``FORMATS``, in pieces: of its first audio track.

    A piece has shape ``[n]`` with 0 < n <= 5 s; nothing is read ahead of the caller.
    ``source`` may be an open binary file, which stays open.  Raises ``DecodeError``
    with a sentence for people, before the first piece where that can be known.
    """
    with _opened(source) as (container, stream):
        yield from read_container(container, stream)


def read_container(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    *,
    batch_s: float = _BATCH_S,
    select: Select = iter,
) -> Iterator[Samples]:
    """The audio of an open container's stream, which ``check_stream`` has seen.

    A piece has shape ``[n]`` with 0 < n <= 5 s; ``batch_s`` of it are read before the
    first.  ``select`` may leave frames out.  Raises ``DecodeError`` for what cannot be
    decoded.
    """
    output = Output()
    resampler: Resampler | None = None
    batch: list[Samples] = []
    batched = 0
    for frame in select(_frames(container, stream)):
        if resampler is None or resampler.rate != frame.sample_rate:
            if resampler is not None:
                output.add(resampler.push(batch) if batch else [])
                output.add(resampler.flush())
                batch, batched = [], 0
            resampler = Resampler(_check_rate(frame.sample_rate))
        batch.append(_mono(frame))
        batched += frame.samples
        if batched >= batch_s * resampler.rate:
            output.add(resampler.push(batch))
            batch, batched = [], 0
            while output:
                yield output.take()
    if resampler is None:
        raise _nothing()
    output.add(resampler.push(batch) if batch else [])
    output.add(resampler.flush())
    while output:
        yield output.take()


def probe_file(source: str | Path | BinaryIO) -> float | None:
    """Seconds that the file says it lasts; None if it does not.

    Decodes its beginning.  Raises ``DecodeError`` as ``read_file`` does before its
    first piece.
    """
    with _opened(source) as (container, stream):
        if next(_frames(container, stream), None) is None:
            raise _nothing()
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        if container.duration is not None:
            return float(container.duration / av.time_base)
        return None


def _nothing() -> DecodeError:
    return DecodeError("No audio could be decoded from the file.", kind="damaged")


@contextlib.contextmanager
def _opened(
    source: str | Path | BinaryIO,
) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    """The container and its first audio stream, checked."""
    with contextlib.ExitStack() as stack:
        if isinstance(source, str | Path):
            try:
                source = stack.enter_context(open(source, "rb"))
            except OSError as error:
                raise DecodeError(
                    f"Cannot open {source}: {error.strerror}.", kind="unreadable"
                ) from error
        if source.seekable():  # a pipe is read from where it stands
            if not source.seek(0, os.SEEK_END):
                raise DecodeError("The file is empty.", kind="empty")
            source.seek(0)
        try:
            container = av.open(
                source, "r", options=_OPTIONS, metadata_errors="replace"
            )
            stack.callback(container.close)
        except (FFmpegError, ValueError) as error:
            raise DecodeError(
                "The file is not audio or video in a known format (wav, flac, mp3, "
                "m4a, ogg, opus, webm, wma, amr, aiff, mp4, mov, mkv, avi and others).",
                kind="unknown_format",
            ) from error
        if not container.streams.audio:
            raise DecodeError("The file has no audio track.", kind="no_audio_track")
        yield container, check_stream(container.streams.audio[0])


def check_stream(stream: av.AudioStream) -> av.AudioStream:
    """The stream, if its decoder is one that may be let near foreign bytes.

    Raises ``DecodeError`` if not.
    """
    context = stream.codec_context
    # libav has no decoder for it, or one that we do not let near foreign bytes
    if (
        context is None
        or context.name in _MISREAD
        or not (context.name in _CODECS or context.name.startswith(_CODEC_FAMILIES))
    ):
        name = "an unknown codec" if context is None else context.name
        raise DecodeError(
            f"The file's audio is in {name}, which is not supported.",
            kind="unsupported_codec",
        )
    _check_rate(context.sample_rate)
    if context.channels > _MAX_CHANNELS:
        raise DecodeError(
            f"The file has {context.channels} channels, more than {_MAX_CHANNELS}.",
            kind="channels",
        )
    context.thread_count = 1  # otherwise one per core
    return stream


def _check_rate(rate: int) -> int:
    if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        # At 1 Hz, 40 kB become 20,000 s of samples.
        raise DecodeError(
            f"The file has a sample rate of {rate} Hz; "
            f"{_LOWEST_RATE} to {_HIGHEST_RATE} Hz can be decoded.",
            kind="sample_rate",
        )
    return rate


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream
) -> Iterator[av.AudioFrame]:
    """Decoded frames; damaged packets are passed over, up to a limit."""
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, AvEofError):
            return
        except FFmpegError as error:
            # Where a chained Ogg changes its channels, libav gives up as well.
            raise DecodeError(
                f"The file cannot be read to its end ({error.strerror}).",
                kind="damaged",
            ) from error
        try:
            frames = packet.decode()
        except AvEofError:
            return
        except FFmpegError as error:
            damaged += 1
            if damaged > _MAX_DAMAGED:
                raise DecodeError("The file is damaged.", kind="damaged") from error
            continue
        for frame in frames:
            damaged = 0
            assert isinstance(frame, av.AudioFrame), "it is an audio stream"
            yield frame


def _mono(frame: av.AudioFrame) -> Samples:
    """All channels as one."""
    channels = frame.layout.nb_channels
    name = frame.format.name.removesuffix("p")
    assert name in _FORMATS, "libav has no other sample formats"
    dtype, offset, scale = _FORMATS[name]
    if frame.format.is_planar:
        planes = [
            np.frombuffer(memoryview(plane), dtype, frame.samples)
            for plane in frame.planes
        ]
    else:
        packed = np.frombuffer(
            memoryview(frame.planes[0]), dtype, frame.samples * channels
        )
        planes = [packed[channel::channels] for channel in range(channels)]
    with np.errstate(over="ignore", invalid="ignore"):
        floats = [plane.astype(np.float32) for plane in planes]
        for plane in floats:
            if offset:
                plane -= np.float32(offset)
            plane *= np.float32(scale)
        return finite(mixed([finite(plane) for plane in floats]))
