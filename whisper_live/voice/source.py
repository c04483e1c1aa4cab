"""Where the speaker's audio comes from: a microphone, or a recording in real time.

Owns the length of the pieces, which is also how soon a server can hear that somebody
speaks.  Knows nothing of servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any

import numpy as np

from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples, samples_to_s
from whisper_live.errors import WhisperLiveError
from whisper_live.voice.extras import portaudio

__all__ = ["microphone", "muted_while", "recording", "until"]

_QUEUED = 256  # 8 s, for a loop that is late


async def recording(pieces: Iterable[Samples]) -> AsyncGenerator[Samples]:
    """Samples (each piece ``[n]``, 16 kHz mono) as a microphone would give them."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    given = 0
    for piece in pieces:
        for at in range(0, len(piece), FRAME_SAMPLES):
            part = piece[at : at + FRAME_SAMPLES]
            given += len(part)
            await asyncio.sleep(max(start + samples_to_s(given) - loop.time(), 0))
            yield part


async def microphone(
    device: str | int | None = None, *, sounddevice: Any = None
) -> AsyncGenerator[Samples]:
    """Pieces of 32 ms, as they are heard.

    ``sounddevice`` is the package of this name, or a stand-in for it.  Raises
    ``ConfigError`` where it is missing, ``WhisperLiveError`` where there is no
    microphone or the loop is too late for it.
    """
    card = sounddevice or portaudio()
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[Samples] = asyncio.Queue()

    def take(data: Any, frames: int, time: Any, status: Any) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, np.array(data[:, 0]))

    try:
        stream = card.InputStream(
            samplerate=SAMPLE_RATE,
            channels=1,
            dtype="float32",
            blocksize=FRAME_SAMPLES,
            device=device,
            callback=take,
        )
        stream.start()
    except card.PortAudioError as error:
        raise WhisperLiveError(
            f"no microphone: {error}; --input FILE plays a recording"
        ) from error
    try:
        while True:
            if pieces.qsize() > _QUEUED:
                raise WhisperLiveError("this machine is too slow for its microphone")
            yield await pieces.get()
    finally:
        stream.close()


async def until(
    stop: asyncio.Event, source: AsyncIterator[Samples]
) -> AsyncGenerator[Samples]:
    """The source, up to the first piece after ``stop``."""
    async for piece in source:
        if stop.is_set():
            return
        yield piece


async def muted_while(
    is_muted: Callable[[], bool], source: AsyncIterator[Samples]
) -> AsyncGenerator[Samples]:
    """The source, with silence in place of what is heard while it is muted."""
    async for piece in source:
        yield np.zeros_like(piece) if is_muted() else piece
