"""One client's audio on its way in: messages are read, decoded and scored.

Owns the pace: no message is read while the session has no room, none faster than
``audio-rate`` allows, none after the time to read is over.  Gives the session its
frames and the end of the audio, in order; decides nothing about what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

from whisper_live.audio import samples_to_s
from whisper_live.config.model import LimitConfig
from whisper_live.errors import (
    ClientError,
    DecodeError,
    LimitExceeded,
    ProtocolError,
)
from whisper_live.media.ingest import Ingest
from whisper_live.observability.metrics import Metrics
from whisper_live.protocols.base import (
    Audio,
    ClientMessage,
    Position,
    Protocol,
    Silence,
)
from whisper_live.server.backlog import Backlog
from whisper_live.server.keepalive import Keepalive
from whisper_live.server.socket import Socket
from whisper_live.session.events import (
    Configure,
    Drain,
    EndOfAudio,
    Event,
    Flush,
    Frames,
)

__all__ = ["RECEIVE_QUEUE", "Receiver"]

# At shutdown, what the client sent before it heard of it is still read; a pause like
# this is the end of it.
_DRAIN_PAUSE_S = 1.0
_ONE_READ_BYTES = 1 << 18  # asyncio's; its messages may be in the queue at that moment
# Each KiB of a text message counts as so much audio: 64 cost the loop 4 ms to read.
_TEXT_S = 0.05
_AROUND_AUDIO = 256  # characters of an event that brings some
RECEIVE_QUEUE = (8, 2)  # messages of at most 1 MiB: bounds a client at 8 MiB


class Receiver:
    """Reads one socket.  ``take`` gets each event; the end of audio sets ``ended``."""

    def __init__(
        self,
        socket: Socket,
        protocol: Protocol,
        ingest: Ingest,
        *,
        limits: LimitConfig,
        pool: Executor,
        keepalive: Keepalive,
        metrics: Metrics,
        take: Callable[[Event], None],
        ended: asyncio.Event,
        first: str | bytes | None = None,
        is_away: Callable[[], bool] = lambda: False,
        received: Callable[[], int] = lambda: 0,
    ) -> None:
        """``first`` is a message that was received already.

        ``is_away`` tells whether a client is waited for whose socket broke: it is not
        idle.  ``received`` are the samples that the session has been given.
        """
        self._is_away = is_away
        self._received = received
        self._first = first
        self._socket = socket
        self._protocol = protocol
        self._ingest = ingest
        self._limits = limits
        self._pool = pool
        self._keepalive = keepalive
        self._metrics = metrics
        self._take = take
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        self._received_s = 0.0  # what counts for `audio-rate`
        self._backlog = Backlog()
        self._is_wanted = True  # a session that is over takes no more
        self._patience: asyncio.Timeout | None = None  # of the read under way
        self._end_by: float | None = None  # loop time; None: no end in sight
        self._ending = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # ------------------------------------------------------------------ for the owner

    @property
    def behind_s(self) -> float:
        """How much later than it was sent audio is taken in."""
        return self._backlog.behind_s

    def go_on(self, *, has_room: bool, is_wanted: bool) -> None:
        """What the session says after each event: read on, wait, or pass over."""
        self._is_wanted = is_wanted
        if has_room or not is_wanted or self._ending.is_set():
            self._room.set()
        else:
            self._room.clear()

    def end(self, when: float) -> None:
        """Read no longer than this, at full speed and whether there is room or not."""
        self._end_by = when
        self._ending.set()
        self._room.set()
        if self._patience is not None:
            self._patience.reschedule(self._read_until())

    async def run(self) -> None:
        """Read to the end of the audio.

        Raises ``ClientError`` for what cannot be used, after what came before it was
        taken, and ``SocketClosed`` when the peer is gone.
        """
        try:
            event = await self._read()
        except ClientError:
            with contextlib.suppress(DecodeError):  # of two errors, the first counts
                await self._finish()
            raise
        await self._finish()
        self._take(event)

    # ------------------------------------------------------------------------ reading

    async def _read(self) -> Event:
        """Take messages; what it was that ended them."""
        left, left_bytes = RECEIVE_QUEUE[0], _ONE_READ_BYTES  # once reading is to end
        while left > 0 or left_bytes > 0:
            if (message := await self._next()) is None:
                if self._end_by is None and self._is_away():
                    continue
                break
            # Of short messages thousands may be there already: each gives way.
            await asyncio.sleep(0)
            if self._end_by is not None and self._loop.time() >= self._end_by:
                left, left_bytes = left - 1, left_bytes - len(message)
            said = self._understand(message)
            match said:
                case EndOfAudio():
                    self._ended.set()
                    if self._is_wanted:
                        return said
                case Flush() | Configure() if self._is_wanted:
                    self._take(said)
                case Position(at) if self._is_wanted:
                    await self._begin_at(at)
                case Audio(data) if self._is_wanted:
                    await self._take_in(partial(self._ingest.push, data))
                case Silence(samples) if self._is_wanted:
                    await self._take_in(partial(self._ingest.skip, samples), "silence")
            if text_s := _text_s(message, said):
                self._received_s += text_s
                await self._keep_rate()
        if self._end_by is None:
            idle = self._limits.idle_timeout_s
            raise LimitExceeded(f"no data for {idle:g} s", kind="idle_timeout")
        return Drain()

    async def _begin_at(self, at: int) -> None:
        if not self._ingest.is_fresh:
            raise ProtocolError(
                "a position must come before the socket's first audio", kind="position"
            )
        self._ingest.begin_at(at - self._received())
        if self._ingest.has_more:  # the gap
            await self._take_in(lambda: None)

    def _understand(self, message: str | bytes) -> ClientMessage | None:
        """The message, read; None for nonsense that is not wanted any more."""
        try:
            return self._protocol.read(message)
        except ProtocolError:
            if self._is_wanted:
                raise
            return None

    async def _next(self) -> str | bytes | None:
        """The next message; None once the time for it is over."""
        if self._first is not None:
            message, self._first = self._first, None
            return message
        since = self._loop.time()
        try:
            async with asyncio.timeout_at(self._read_until()) as self._patience:
                with self._keepalive.listening():
                    return await self._socket.receive()
        except TimeoutError:
            pass
        finally:
            self._patience = None
            self._backlog.waited(self._loop.time() - since)
        try:
            async with asyncio.timeout(0):  # it may have come in that very moment
                return await self._socket.receive()
        except TimeoutError:
            return None

    def _read_until(self) -> float:
        """When to stop waiting for the next message (loop time)."""
        now = self._loop.time()
        if self._end_by is None:
            return now + self._limits.idle_timeout_s
        return min(now + _DRAIN_PAUSE_S, self._end_by)

    # ----------------------------------------------------------------------- decoding

    async def _take_in(self, step: Callable[[], None], carrier: str = "") -> None:
        """Decode and score one message in the pool and hand the frames on.

        ``carrier`` is counted where what comes is from no decoder.
        """
        ingest = self._ingest

        def step_and_pull() -> Frames | None:
            step()
            return ingest.pull()

        job: Callable[[], Frames | None] = step_and_pull
        while True:
            frames = await self._loop.run_in_executor(self._pool, job)
            if frames is None:
                return
            seconds = samples_to_s(len(frames.samples))
            self._received_s += seconds
            self._metrics.audio_decoded(carrier or ingest.codec, seconds)
            self._metrics.stage("decode", frames.decode_s)
            self._metrics.stage("vad", frames.vad_s)
            self._backlog.took(seconds, now=self._loop.time())
            self._take(replace(frames, behind_s=self._backlog.behind_s))
            await self._room.wait()
            await self._keep_rate()
            if not ingest.has_more:
                return
            job = ingest.pull

    async def _finish(self) -> None:
        """Take in what the decoder and the last part frame still hold."""
        if self._is_wanted:
            await self._take_in(self._ingest.finish)

    async def _keep_rate(self) -> None:
        """Read no faster than ``audio_rate``, once the burst is spent.

        Not reading is the gentlest limit: nothing is refused or lost, the sender's
        own socket tells it to wait.
        """
        limits = self._limits
        if not limits.audio_rate:
            return
        ahead = self._received_s - limits.audio_burst_s
        elapsed = self._loop.time() - self._began_at
        if (late := ahead / limits.audio_rate - elapsed) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(late):
                    await self._ending.wait()


def _text_s(message: str | bytes, said: ClientMessage | None) -> float:
    """For how much audio a message's text counts; audio itself counts elsewhere.

    Audio in a text (base64 has four characters for three bytes) is no text, and clients
    send 50 such messages a second; what else is in it is.
    """
    if not isinstance(message, str):
        return 0.0
    length = len(message)
    if isinstance(said, Audio):
        length -= 2 * len(said.data) + _AROUND_AUDIO
        if length <= 0:
            return 0.0
    return _TEXT_S * (1 + length // 1024)
