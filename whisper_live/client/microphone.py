"""A microphone as audio for a live client.

Owns PortAudio (the package sounddevice, extra ``[mic]``), imported only when it is
used, and what is said where it or a device is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.errors import ConfigError, WhisperLiveError
from whisper_live.media.codec import Resampler

__all__ = ["devices", "microphone"]

_BLOCK_S = 0.05  # of which text gets later
_MOST_BLOCKS = 20 * 60  # a minute; a live client takes each at once
_NO_PACKAGE = (
    "the package sounddevice is missing: pip install 'whisper-live-daemon[mic]'"
)
_NO_PORTAUDIO = (
    "the library PortAudio is missing: apt-get install libportaudio2, or what your "
    "system calls it"
)


def _library() -> Any:
    """The package; raises ``ConfigError`` with what to do where it cannot be used."""
    try:
        import sounddevice
    except ImportError as error:
        raise ConfigError(_NO_PACKAGE) from error
    except OSError as error:  # it is there, and its library is not
        raise ConfigError(_NO_PORTAUDIO) from error
    return sounddevice


@contextmanager
def _explained(library: Any) -> Iterator[None]:
    """PortAudio's errors in words."""
    try:
        yield
    except (library.PortAudioError, ValueError) as error:
        # ValueError: no device of that name, or several
        raise ConfigError(
            f"cannot open the sound device: {_words(error)}; "
            "whisper-live mic --list-devices shows what there is"
        ) from error


def _words(error: Exception) -> str:
    return str(error.args[0] if error.args else error).strip().rstrip(".")


def devices(library: Any = None) -> list[str]:
    """A line for each device that can be recorded from: number, name, what marks it."""
    library = library or _library()
    default = library.default.device[0]
    lines = []
    for number, device in enumerate(library.query_devices()):
        if device["max_input_channels"] > 0:
            mark = "  (default)" if number == default else ""
            lines.append(f"{number:3}  {device['name']}{mark}")
    return lines


class _Blocks:
    """What a device gives, from PortAudio's thread to the loop's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[Samples | None] = asyncio.Queue(_MOST_BLOCKS)

    def arrived(self, block: Any, count: int, time: Any, flags: Any) -> None:
        """Take mono samples ``[n, 1]``, whose array is used again after the call."""
        self._call(np.array(block[:, 0], np.float32))

    def finished(self) -> None:
        """The device gives no more."""
        self._call(None)

    def _call(self, block: Samples | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._put, block)
        except RuntimeError:
            pass  # the loop is closed: nobody listens any more

    def _put(self, block: Samples | None) -> None:
        if self._blocks.full():  # the oldest go
            self._blocks.get_nowait()
        self._blocks.put_nowait(block)

    async def take(self) -> Samples:
        """The next block."""
        block = await self._blocks.get()
        if block is None:
            raise WhisperLiveError("the microphone is gone", kind="device")
        return block


def microphone(
    device: str | int | None = None, *, library: Any = None
) -> AsyncGenerator[Samples]:
    """What a microphone hears, 16 kHz mono, in pieces of 50 ms, without an end.

    ``device`` is a number or a part of a name; the system's default without one.
    ``library`` is the package sounddevice, unless a test gives another.  Raises
    ``ConfigError``: at once where there is no library, at the first piece where there
    is no such device.  Later ``WhisperLiveError``, when the device goes away.
    """
    return _heard(library or _library(), device)


async def _heard(library: Any, device: str | int | None) -> AsyncGenerator[Samples]:
    blocks = _Blocks()
    with _explained(library):
        rate = _rate(library, device)
        stream = library.InputStream(
            samplerate=rate,
            blocksize=int(rate * _BLOCK_S),
            device=device,
            channels=1,
            dtype="float32",
            callback=blocks.arrived,
            finished_callback=blocks.finished,
        )
    resampler = Resampler(rate)
    try:
        with _explained(library):
            stream.start()
        while True:
            for samples in resampler.push([await blocks.take()]):
                yield samples
    finally:
        stream.close()


def _rate(library: Any, device: str | int | None) -> int:
    """16 kHz, or what a device without it gives."""
    try:
        library.check_input_settings(
            device=device, channels=1, dtype="float32", samplerate=SAMPLE_RATE
        )
    except library.PortAudioError:
        found = library.query_devices(device, "input")
        return int(found["default_samplerate"])
    return SAMPLE_RATE
