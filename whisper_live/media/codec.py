"""Packets to samples: the codecs, the mix to mono, and the resampler.

Owns everything that touches PyAV on live audio.  FFmpeg's demuxers never see live
bytes; only the decoders of Opus and AAC do, one packet at a time and on one thread.
Must not know containers or the timeline.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import av
import numpy as np
from av.error import BlockingIOError as AvAgainError
from av.error import EOFError as AvEofError
from av.error import FFmpegError

from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.errors import DecodeError
from whisper_live.media.mixing import mixed
from whisper_live.media.packets import OPUS_RATE, Track

__all__ = ["BadPacket", "PacketDecoder", "Resampler", "finite", "open_codec"]

_PCM_TYPES = {
    "pcm_f32": ("<f4", 1.0),
    "pcm_f64": ("<f8", 1.0),
    "pcm_s16": ("<i2", 2.0**-15),
    "pcm_s32": ("<i4", 2.0**-31),
}


class BadPacket(Exception):
    """This packet cannot be decoded; the next one may."""


class PacketDecoder(Protocol):
    """Turns one track's packets into mono samples."""

    rate: int  # of the samples returned last; AAC may correct its header

    def decode(self, packet: bytes) -> Samples:
        """Mono samples at ``rate``.

        Raises ``BadPacket``, or ``DecodeError`` where no packet will do.
        """


def open_codec(track: Track) -> PacketDecoder:
    """A decoder for ``track``; ``DecodeError`` if its description is unusable."""
    if track.codec in ("opus", "aac"):
        return _LibavDecoder(track)
    return _PcmDecoder(track)


def finite(samples: Samples) -> Samples:
    """``samples`` with NaN and infinities made silent.

    The peer's floats come as they are, and the resampler would smear a NaN over its
    neighbours.
    """
    # A sum is finite unless a term is not (or the terms are near 1e38): one pass
    # that allocates nothing, against three for isfinite.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(samples.sum()):
            return samples
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)


class _LibavDecoder:
    """Opus and AAC.

    Opus gets a header of our own making, without pre-skip: what the decoder returns
    is then exactly what the packets say, and a hostile header never reaches it.
    FFmpeg's own "opus" decodes to planar float, has no delay, and is faster than
    libopus (2.1-3.0 against 2.4-4.2 ms per second of audio).
    """

    def __init__(self, track: Track) -> None:
        self.rate = track.rate
        context = av.CodecContext.create(track.codec, "r")
        assert isinstance(context, av.AudioCodecContext), "both are audio codecs"
        if track.codec == "opus":
            context.extradata = b"OpusHead" + struct.pack(
                "<BBHIhB", 1, track.channels, 0, OPUS_RATE, track.gain, 0
            )
        else:
            context.extradata = track.config
        context.sample_rate = track.rate
        context.layout = "mono" if track.channels == 1 else "stereo"
        context.thread_count = 1  # otherwise one per core and stream
        try:
            context.open(strict=False)
        except (FFmpegError, ValueError) as error:
            raise DecodeError(
                f"The {track.codec} track's description cannot be used.",
                kind="damaged",
            ) from error
        self._context = context

    def decode(self, packet: bytes) -> Samples:
        try:
            frames = self._context.decode(av.Packet(packet))
        except (FFmpegError, ValueError) as error:
            raise BadPacket(str(error)) from error
        if len(frames) == 1:
            return self._mono(frames[0])
        if not frames:
            return np.zeros(0, np.float32)
        return np.concatenate([self._mono(frame) for frame in frames])

    def _mono(self, frame: av.AudioFrame) -> Samples:
        if frame.format.name != "fltp" or len(frame.planes) > 2:
            raise DecodeError(
                "The audio has more than two channels; send one or two.",
                kind="channels",
            )
        self.rate = frame.sample_rate
        # Views: the planes keep their frame alive until the message is resampled.
        # swr would mix stereo to 0.707 (L + R).
        return mixed(
            [
                np.frombuffer(memoryview(plane), "f4", frame.samples)
                for plane in frame.planes
            ]
        )


class _PcmDecoder:
    """Samples as they are: what Chrome puts into WebM for ``codecs=pcm``."""

    def __init__(self, track: Track) -> None:
        self.rate = track.rate
        self._channels = track.channels
        self._is_u8 = track.codec == "pcm_u8"
        self._type, self._scale = _PCM_TYPES.get(track.codec, ("u1", 2.0**-7))

    def decode(self, packet: bytes) -> Samples:
        if not packet or len(packet) % (np.dtype(self._type).itemsize * self._channels):
            raise BadPacket("not a whole number of samples")
        raw = np.frombuffer(packet, self._type).reshape(-1, self._channels)
        with np.errstate(over="ignore", invalid="ignore"):  # of a peer's wild floats
            planes = [raw[:, i].astype(np.float32) for i in range(self._channels)]
            for plane in planes:
                if self._is_u8:
                    plane -= np.float32(128)
                plane *= np.float32(self._scale)
            return finite(mixed([finite(plane) for plane in planes]))


class Resampler:
    """Mono float32 at any rate to 16 kHz; exact in its count once flushed.

    The output depends on the samples alone, not on how they were cut (measured: bit
    for bit).  Batch a message's frames before ``push``: 60 ms cost 0.4 ms per second
    of audio, 250 ms cost 0.27.

    ``filter_size=64:cutoff=0.95`` is flat to 7 kHz (-0.01 dB) and 113 dB down at
    8.5 kHz, where swr's default (-0.4 and -26 dB) folds the top of the speech band
    back into it; it costs 0.12 ms more per second of audio and holds 2 ms back.
    PyAV's AudioResampler is the same filter on a graph with a thread per core.
    """

    _LARGEST_PUSH = 24_000  # the graph keeps room for its largest frame ever

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._graph: av.filter.Graph | None = None
        if rate == SAMPLE_RATE:
            return
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        self._source = self._graph.add_abuffer(
            sample_rate=rate,
            format="fltp",
            layout="mono",
            time_base=Fraction(1, rate),
        )
        filter_ = self._graph.add(
            "aresample", f"{SAMPLE_RATE}:filter_size=64:cutoff=0.95"
        )
        self._sink = self._graph.add("abuffersink")
        self._source.link_to(filter_)
        filter_.link_to(self._sink)
        self._graph.configure()

    def push(self, pieces: Sequence[Samples]) -> list[Samples]:
        """Consecutive pieces in, what is ready out."""
        samples = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        if self._graph is None:
            return [samples]
        ready: list[Samples] = []
        for start in range(0, len(samples), self._LARGEST_PUSH):
            block = samples[start : start + self._LARGEST_PUSH]
            frame = av.AudioFrame.from_ndarray(block[None], "fltp", "mono")
            frame.sample_rate = self.rate
            self._source.push(frame)
            ready += self._drain()
        return ready

    def flush(self) -> list[Samples]:
        """What the filter still holds; nothing can be pushed after this."""
        if self._graph is None:
            return []
        self._source.push(None)
        return self._drain()

    def _drain(self) -> list[Samples]:
        ready: list[Samples] = []
        while True:
            try:
                frame = self._sink.pull()
            except (AvAgainError, AvEofError):
                return ready
            assert isinstance(frame, av.AudioFrame), "the graph is made of audio"
            ready.append(
                np.frombuffer(memoryview(frame.planes[0]), "f4", frame.samples)
            )
