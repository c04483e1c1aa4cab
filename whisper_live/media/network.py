"""Streams from the network: radio, cameras and playlists, to 16 kHz mono samples.

Owns what is dangerous about opening a foreign address with FFmpeg: only named
protocols (a playlist cannot name a local file), formats and decoders, and a bound on
every wait.  Must not know what becomes of the samples, or when to try again.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import av
from av.error import FFmpegError

from whisper_live.audio import Samples
from whisper_live.errors import ConfigError, DecodeError
from whisper_live.media.files import FORMATS, Select, check_stream, read_container

__all__ = ["SCHEMES", "Broadcast", "open_address", "protocols_for", "shown"]

# What libav may open for an address, its redirects and the entries of its playlist.
_WEB = "http,https,tcp,tls,crypto"
_CAMERA = "rtsp,rtsps,rtp,tcp,tls"
SCHEMES = {"http": _WEB, "https": _WEB, "rtsp": _CAMERA, "rtsps": _CAMERA}
_OPEN_TIMEOUT_S = 15.0
_READ_TIMEOUT_S = 20.0  # two to three of a playlist's usual segments
_BATCH_S = 0.1  # resampled at a time, which is how much later text gets


_OVERLAP_S = 60.0  # of a playlist with what was heard of it; more is another clock


@dataclass(frozen=True, slots=True)
class Broadcast:
    """An open address.

    ``heard_to_s`` says how far it was read by the stream's own clock; None where that
    begins anew at each opening.
    """

    pieces: Iterator[Samples]
    duration_s: float | None  # None: it goes on as long as somebody sends
    heard_to_s: Callable[[], float | None] = lambda: None


def protocols_for(url: str) -> str:
    """What libav may open for an address.

    Raises ``ConfigError`` for one of a kind that is never opened.
    """
    protocols = SCHEMES.get(urlsplit(url).scheme.lower())
    if protocols is None:
        known = ", ".join(SCHEMES)
        raise ConfigError(f"{shown(url)} begins with none of {known}")
    return protocols


@contextlib.contextmanager
def open_address(url: str, heard_to_s: float | None = None) -> Iterator[Broadcast]:
    """The audio at an address, of its first audio track, as it arrives.

    A live playlist begins some segments back; what was heard of it already, up to
    ``heard_to_s``, is left out.
    Blocking.  Raises ``ConfigError`` as ``protocols_for`` does, and ``DecodeError``
    where nothing can be had from it, also while pieces are read.
    """
    protocols = protocols_for(url)
    options = {
        "protocol_whitelist": protocols,
        "format_whitelist": ",".join([*FORMATS, "hls", "rtsp"]),
    }
    # Without this libav takes any certificate.  It does not hand this on to the entries
    # of a playlist.
    options["tls_verify"] = "1"
    if certificates := ssl.get_default_verify_paths().cafile:
        options["ca_file"] = certificates
    if protocols is _CAMERA:
        options["rtsp_transport"] = "tcp"  # no ports to be opened, and no lost packets
    try:
        container = av.open(
            url,
            "r",
            options=options,
            metadata_errors="replace",
            timeout=(_OPEN_TIMEOUT_S, _READ_TIMEOUT_S),
        )
    except (FFmpegError, ValueError) as error:
        raise DecodeError(
            f"cannot open {shown(url)}: {_reason(error)}", kind="unreachable"
        ) from error
    with container:
        if not container.streams.audio:
            raise DecodeError(f"{shown(url)} has no sound", kind="no_audio_track")
        stream = check_stream(container.streams.audio[0])
        duration = container.duration
        heard = _Heard(heard_to_s)
        has_clock = container.format.name == "hls" and duration is None
        yield Broadcast(
            _pieces(container, stream, heard.select if has_clock else iter),
            None if duration is None else duration / av.time_base,
            lambda: heard.to_s if has_clock else None,
        )


class _Heard:
    """How far a stream was heard by its own clock."""

    def __init__(self, to_s: float | None) -> None:
        self.to_s = to_s

    def select(self, frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
        """Leave out what was heard, from a beginning that lies before its end."""
        before_s = self.to_s
        for frame in frames:
            if frame.time is None:
                yield frame
            elif before_s is None or not (
                before_s - _OVERLAP_S < frame.time <= before_s
            ):
                before_s, self.to_s = None, frame.time
                yield frame


def _pieces(
    container: av.container.InputContainer, stream: av.AudioStream, select: Select
) -> Iterator[Samples]:
    try:
        yield from read_container(container, stream, batch_s=_BATCH_S, select=select)
    except DecodeError as error:
        if not isinstance(error.__cause__, FFmpegError):
            raise
        why = _reason(error.__cause__)
        raise DecodeError(f"it cannot be read on: {why}", kind=error.kind) from error


def shown(url: str) -> str:
    """An address without the name and password in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return "it does not answer"
    return getattr(error, "strerror", None) or str(error)
