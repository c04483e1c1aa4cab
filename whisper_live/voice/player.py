"""Where an answer is heard: a loudspeaker, a WAV file, or a stream of samples.

Owns the pace of playing and its end: a player whose ``play`` is cancelled is silent at
once.  Knows nothing of turns or sentences.
"""

from __future__ import annotations

import asyncio
import threading
import wave
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO, Protocol

import numpy as np

from whisper_live.audio import Samples
from whisper_live.errors import WhisperLiveError
from whisper_live.voice.extras import portaudio
from whisper_live.voice.speech import Sound

__all__ = [
    "BLOCK_S",
    "Loudspeaker",
    "PacedPlayer",
    "Player",
    "PlayerError",
    "Sink",
    "raw_sink",
    "wav_sink",
]

BLOCK_S = 0.02  # what a cancelled play may still be heard of, at most


class PlayerError(WhisperLiveError):
    """Nothing can be heard: no device, or it failed."""

    default_kind = "player_failed"


class Player(Protocol):
    """Whatever plays."""

    async def play(self, sound: Sound, began: Callable[[], None]) -> None:
        """Play one sound to its end; ``began`` is called with its first sample.

        Silent at once when cancelled.  Raises ``PlayerError``.
        """
        ...


# ------------------------------------------------------------------------- to a file

Sink = Callable[[bytes, int], None]  # 16-bit mono samples, and their rate


class PacedPlayer:
    """Gives samples to ``sink`` at the pace of a loudspeaker."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def play(self, sound: Sound, began: Callable[[], None]) -> None:
        """Blocks of 20 ms, each when the one before it has been heard."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        pcm = (np.clip(sound.samples, -1, 1) * 32767).round().astype("<i2")
        block = int(sound.rate * BLOCK_S)
        for at in range(0, len(pcm), block):
            self._sink(pcm[at : at + block].tobytes(), sound.rate)
            if not at:
                began()
            heard = min(at + block, len(pcm)) / sound.rate
            await asyncio.sleep(max(start + heard - loop.time(), 0))


def wav_sink(file: BinaryIO) -> tuple[Sink, Callable[[], None]]:
    """A WAV file of all that is heard, and what closes it.

    Its rate is that of the first sound.
    """
    out: wave.Wave_write = wave.open(file, "wb")
    out.setnchannels(1)
    out.setsampwidth(2)
    rates: list[int] = []

    def write(pcm: bytes, rate: int) -> None:
        if not rates:
            rates.append(rate)
            out.setframerate(rate)
        if rate != rates[0]:
            raise PlayerError(f"the voice changed from {rates[0]} to {rate} Hz")
        out.writeframes(pcm)

    def close() -> None:
        if not rates:
            out.setframerate(16000)  # nothing was said
        out.close()

    return write, close


def raw_sink(out: BinaryIO) -> Sink:
    """Bare samples to a pipe."""

    def write(pcm: bytes, rate: int) -> None:
        out.write(pcm)
        out.flush()

    return write


# ------------------------------------------------------------------ to a loudspeaker


def _nothing() -> None:
    """What is called where nobody waits."""


class Feed:
    """What a sound card's thread takes from; silence when there is nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rest: Samples = np.empty(0, np.float32)
        self._began: Callable[[], object] = _nothing
        self._ended: Callable[[], object] = _nothing

    def put(
        self, samples: Samples, began: Callable[[], object], ended: Callable[[], object]
    ) -> None:
        """Play these next; both are called once, by the card's thread."""
        with self._lock:
            self._rest, self._began, self._ended = samples, began, ended

    def clear(self) -> None:
        """Play nothing any more, and call nothing."""
        self.put(np.empty(0, np.float32), _nothing, _nothing)

    def take(self, count: int) -> Samples:
        """The next samples, with silence behind their end."""
        with self._lock:
            taken, self._rest = self._rest[:count], self._rest[count:]
            calls = []
            if len(taken):
                calls.append(self._began)
                self._began = _nothing
            if not len(self._rest):
                calls.append(self._ended)
                self._ended = _nothing
        for call in calls:
            call()
        return np.pad(taken, (0, count - len(taken)))


# With PortAudio's "low" a PulseAudio sink ran dry again and again on a busy machine.
_LATENCY_S = 0.1


class Loudspeaker:
    """A sound card, through PortAudio; its stream stays open between sounds."""

    def __init__(
        self, device: str | int | None = None, *, sounddevice: Any = None
    ) -> None:
        """``sounddevice`` is the package of this name, or a stand-in for it.

        Raises ``ConfigError`` where it is missing, or PortAudio is.
        """
        self._sounddevice = sounddevice or portaudio()
        self._device = device
        self._feed = Feed()
        self._stream: Any = None
        self._rate = 0
        self._stopped: asyncio.Future[None] | None = None

    async def play(self, sound: Sound, began: Callable[[], None]) -> None:
        """Give the samples to the card's thread and wait until it has taken all."""
        if self._stopped is not None:
            await self._stopped
        await asyncio.to_thread(self._open, sound.rate)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._feed.put(
            sound.samples,
            partial(loop.call_soon_threadsafe, began),
            partial(loop.call_soon_threadsafe, ended.set),
        )
        try:
            async with asyncio.timeout(sound.duration_s + 5):
                await ended.wait()
        except TimeoutError as error:
            raise PlayerError("the loudspeaker takes no samples") from error
        except asyncio.CancelledError:
            self._stopped = loop.run_in_executor(None, self._stop)
            raise
        finally:
            self._feed.clear()

    def _open(self, rate: int) -> None:
        try:
            if self._stream is not None and self._rate == rate:
                if not self._stream.active:  # a sound was cancelled
                    self._stream.start()
                return
            self.close()
            self._stream = self._sounddevice.OutputStream(
                samplerate=rate,
                channels=1,
                dtype="float32",
                device=self._device,
                latency=_LATENCY_S,
                callback=self._fill,
            )
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            self._stream = None
            raise PlayerError(f"no loudspeaker: {error}") from error
        self._rate = rate

    def _stop(self) -> None:
        """Stop with what the card has already: a tenth of a second and more."""
        with suppress(self._sounddevice.PortAudioError):
            self._stream.abort()

    def _fill(self, out: Any, frames: int, time: Any, status: Any) -> None:
        out[:, 0] = self._feed.take(frames)

    def close(self) -> None:
        """Let go of the sound card."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
