"""Live decoding: bytes in any cut go in, 16 kHz mono float32 samples come out.

Recognises the format and holds the one interface that the rest of the server sees.
Containers are split here in pure Python (``webm``, ``ogg``, ``mp4``), packets decoded
by PyAV (``codec``), times kept true by ``timeline``; no thread, no process, no libav
demuxer.  Whole files are ``files``' business.  Must not know sockets, sessions, the
speech detector, or any clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from whisper_live.audio import PcmFormat, Samples
from whisper_live.errors import DecodeError
from whisper_live.media.mp4 import Mp4Splitter
from whisper_live.media.ogg import OggSplitter
from whisper_live.media.pcm import RAW_FORMATS, RawStream, raw_format
from whisper_live.media.splitter import Splitter
from whisper_live.media.stream import ContainerStream, keep
from whisper_live.media.webm import WebmSplitter

__all__ = ["StreamDecoder", "open_stream"]

_CONTAINERS: dict[str, Callable[[], Splitter]] = {
    "webm": WebmSplitter,
    "ogg": OggSplitter,
    "mp4": Mp4Splitter,
}
_SNIFF_BYTES = 8


class StreamDecoder(Protocol):
    """Push bytes in any cut, pull samples; the samples do not depend on the cuts.

    Contiguous: the position of a sample is the number of samples returned before it.
    Holes in the container's times are filled with silence, at most 30 s at a time and
    in proportion to the audio around them (``timeline``).  How fast media may come in
    is the caller's to bound: by pulling, and reading its socket, no faster.

    ``push`` and ``pull`` raise ``DecodeError`` when the stream cannot be used, after
    the audio before the error was handed out; the decoder is then of no further use.
    Not thread-safe: one call at a time, in any thread.
    """

    @property
    def codec(self) -> str:
        """For metrics: "pcm_f32", "webm_opus", "mp4_aac"...; "unknown" until known."""

    @property
    def notes(self) -> Counter[str]:
        """What happened, by reason: "gap_filled", "rebase", "joined", "restart"..."""

    def push(self, data: bytes) -> None:
        """Keep ``data``; at most about 1 MiB and one message wait to be decoded."""

    def pull(self) -> Samples | None:
        """The next piece, shape ``[n]`` with 0 < n <= 5 s; None: needs more bytes.

        Not to be written to.  Call until None after every ``push``.
        """

    def skip(self) -> None:
        """Audio was left out here; whatever the times ahead, they go on behind it."""

    def finish(self) -> None:
        """No more bytes will come; ``pull`` until None gives what is left."""


def open_stream(audio_format: str | PcmFormat | None) -> StreamDecoder:
    """A decoder for what a handshake names.

    A ``PcmFormat`` that no such stream has is the protocol's to refuse.
    Those of ``RAW_FORMATS`` are taken at their word.  The others are decided by the
    first bytes: a container that shows itself wins; if none does, ``"webm"``, ``"ogg"``
    and ``"mp4"`` are joined in mid-stream, ``None`` (a WhisperLive client that named
    nothing) is float32, and ``"auto"`` is refused.
    """
    if isinstance(audio_format, PcmFormat):
        return RawStream(raw_format(audio_format))
    if audio_format in RAW_FORMATS:
        return RawStream(RAW_FORMATS[audio_format])
    return _SniffedStream(audio_format)


class _SniffedStream:
    """Keeps the first bytes until they say which decoder they need."""

    def __init__(self, audio_format: str | None) -> None:
        self._named = audio_format
        self._first = bytearray()
        self._finished = False
        self._stream: StreamDecoder | None = None
        self._early_notes: Counter[str] = Counter()

    @property
    def codec(self) -> str:
        return "unknown" if self._stream is None else self._stream.codec

    @property
    def notes(self) -> Counter[str]:
        return self._early_notes if self._stream is None else self._stream.notes

    def push(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.push(data)
            return
        keep(self._first, data)

    def skip(self) -> None:
        if self._stream is not None:  # else there are no times yet
            self._stream.skip()

    def finish(self) -> None:
        self._finished = True
        if self._stream is not None:
            self._stream.finish()

    def pull(self) -> Samples | None:
        if self._stream is None:
            if len(self._first) < (1 if self._finished else _SNIFF_BYTES):
                return None
            self._stream = self._choose()
            self._stream.push(bytes(self._first))
            self._first.clear()
            if self._finished:
                self._stream.finish()
        return self._stream.pull()

    def _choose(self) -> StreamDecoder:
        container = _recognise(bytes(self._first[:_SNIFF_BYTES])) or self._named
        if container in _CONTAINERS:
            return ContainerStream(container, _CONTAINERS[container]())
        if self._named is None:
            return RawStream(RAW_FORMATS["float32"])
        raise DecodeError(
            "The audio is neither WebM, Ogg nor MP4; name its format in audio_format.",
            kind="unknown_format",
        )


def _recognise(first: bytes) -> str | None:
    """The container that begins with these bytes."""
    if first.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm"
    if first.startswith(b"OggS"):
        return "ogg"
    if first[4:8] in (b"ftyp", b"styp"):
        return "mp4"
    return None
