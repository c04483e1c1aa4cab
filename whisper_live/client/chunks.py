"""Recordings as a live sender would deliver them: chunks with the time each is due.

Owns raw PCM and WebM/Opus in quarter seconds.  Knows no socket and no clock: ``due_s``
counts from the start of the recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from whisper_live.audio import SAMPLE_RATE, Samples, samples_to_s
from whisper_live.errors import DecodeError

__all__ = ["CHUNK_S", "Chunk", "pcm_chunks", "webm_chunks", "webm_file_chunks"]

CHUNK_S = 0.25  # what browsers are usually asked for (MediaRecorder's timeslice)
_CHUNK_SAMPLES = int(CHUNK_S * SAMPLE_RATE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The bytes of one message, and when a microphone would have them ready."""

    due_s: float  # the end of the audio in it, from the start of the recording
    data: bytes


def pcm_chunks(
    pieces: Iterable[Samples], audio_format: str = "float32"
) -> Iterator[Chunk]:
    """Samples (each piece ``[n]``, 16 kHz mono) as raw ``float32`` or ``int16``."""
    for end, part in _quarters(pieces):
        if audio_format == "int16":
            data = (np.clip(part, -1, 1) * 32767).round().astype("<i2").tobytes()
        else:
            data = part.astype("<f4").tobytes()
        yield Chunk(samples_to_s(end), data)


def _quarters(pieces: Iterable[Samples]) -> Iterator[tuple[int, Samples]]:
    """The same samples in quarter seconds, each with the position after it."""
    end = 0
    kept = np.empty(0, np.float32)
    for piece in pieces:
        kept = np.concatenate([kept, piece])
        while len(kept) >= _CHUNK_SAMPLES:
            end += _CHUNK_SAMPLES
            yield end, kept[:_CHUNK_SAMPLES]
            kept = kept[_CHUNK_SAMPLES:]
    if len(kept):
        yield end + len(kept), kept


class _Sink:
    """A file that can only be written to, as a socket: nothing is patched later."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        self._bytes += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


def webm_chunks(pieces: Iterable[Samples]) -> Iterator[Chunk]:
    """Samples (each piece ``[n]``, 16 kHz mono) as one live WebM/Opus stream.

    Encoded while it is read, 9 ms of CPU per second; sizes are unknown and clusters
    short, as in what browsers send.  The last chunk is what the encoder still held,
    due with the one before it.
    """
    sink = _Sink()
    end = 0
    # A cluster is written out when the next one starts.
    options = {"live": "1", "cluster_time_limit": str(int(CHUNK_S * 1000))}
    with av.open(sink, "w", format="webm", options=options) as container:
        opus = container.add_stream("libopus", rate=48000, layout="mono")
        opus.bit_rate = 32000
        for end, part in _quarters(pieces):
            frame = av.AudioFrame.from_ndarray(part[None], format="flt", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.time_base = Fraction(1, SAMPLE_RATE)
            frame.pts = end - len(part)
            container.mux(opus.encode(frame))
            yield Chunk(samples_to_s(end), sink.take())
        container.mux(opus.encode(None))
    yield Chunk(samples_to_s(end), sink.take())


def webm_file_chunks(path: Path) -> Iterator[Chunk]:
    """A WebM file's own bytes, cut at the blocks that end each quarter second.

    Raises ``DecodeError`` for what is not WebM with audio.
    """
    data = path.read_bytes()
    cut, due = 0, 1
    end_s = 0.0
    for offset, end_s in _block_ends(path):
        if end_s > due * CHUNK_S:
            yield Chunk(due * CHUNK_S, data[cut:offset])
            cut, due = offset, int(end_s / CHUNK_S) + 1
    yield Chunk(end_s, data[cut:])


def _block_ends(path: Path) -> Iterator[tuple[int, float]]:
    """Where each audio block stands in the file, and when its sound has ended."""
    try:
        with av.open(path, format="webm") as container:
            if not container.streams.audio:
                raise DecodeError(f"{path} has no sound", kind="no_audio")
            for packet in container.demux(audio=0):
                if packet.pts is not None and packet.pos is not None:
                    time_base = packet.time_base or Fraction(1, 1000)
                    ends = packet.pts + (packet.duration or 0)
                    yield packet.pos, float(ends * time_base)
    except av.error.FFmpegError as error:
        raise DecodeError(f"{path} is not WebM: {error}", kind="not_webm") from error
