"""Live transcription as a program wants it: audio in, events out, whatever the network.

Owns what outlives a connection: audio that has no completed text yet, the times of the
whole stream, and when to connect again.  Knows nothing of files, microphones or
terminals.
"""

from __future__ import annotations

import asyncio
import enum
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from whisper_live.audio import Samples, s_to_samples, samples_to_s
from whisper_live.client.backlog import Backlog
from whisper_live.client.backoff import Backoff
from whisper_live.client.connection import Clock, Connection, ConnectionLost, Sleep
from whisper_live.client.cuts import Cut, cuts_of
from whisper_live.client.events import (
    Closed,
    Disconnected,
    Event,
    Heard,
    News,
    Reconnected,
    Warned,
    final,
    unrolled,
)
from whisper_live.client.reach import server_url
from whisper_live.client.resuming import (
    Resumption,
    come_back_s,
    position_message,
    resumed_at,
)
from whisper_live.errors import Overloaded, WhisperLiveError
from whisper_live.protocols.whisperlive import client as wire
from whisper_live.session.updates import Dropped, Segment, Update

__all__ = ["LiveClient"]

BUFFER_S = 60.0
_BYTES_PER_S = 64_000  # of float32, the widest; all others get a longer buffer
# A server takes 1 MiB in one message, unless it is told otherwise.
_PIECE_BYTES = 64_000
# With 5 s behind a slow server ``send`` waits, where it may.
_WAITS_ABOVE_S = 5.0
# A server that stops decides about all that it has, also about half a word at its end.
# Its other half is no word; so that much is sent again where no text came of it.
_HALF_A_WORD = s_to_samples(2.0)
_LASTS_S = 60.0  # a connection that did is not one that breaks again and again


class _State(enum.Enum):
    """Of the whole, not of one connection."""

    NEW = "new"
    OPEN = "open"
    BROKEN = "broken"  # between two connections
    CLOSED = "closed"


class LiveClient:
    """One stream of audio to a server, and the events that come back.

    Iterate over it all the time: reading is also what connects again.  The iteration
    ends with ``Closed`` after ``end``, and raises ``WhisperLiveError`` where it cannot
    go on.  ``send``, ``flush``, ``configure`` and ``end`` may be called by any task of
    the same loop, and also while there is no connection.

    ``audio_format`` is one of docs/wire.md; ``options`` are further keys of the
    handshake there (``turn_events=True``, ``hotwords="..."``).  ``key`` is shown to a
    server that wants one, ``ca`` is a file of certificates to trust.  With
    ``backoff=None`` a connection that breaks is the end.

    A server that can resume goes on with the same session; another one gets a new
    session, which is sent what has no completed text yet (``resume=False`` always does
    so).

    Up to ``buffer_s`` of audio is kept.  When more waits to be sent, a ``live`` stream
    loses the oldest, which a ``Gap`` tells; otherwise ``send`` waits.
    """

    def __init__(
        self,
        url: str,
        *,
        audio_format: str = "float32",
        language: str | None = None,
        task: str = "transcribe",
        key: str | None = None,
        ca: str | None = None,
        live: bool = True,
        backoff: Backoff | None = Backoff(),
        buffer_s: float = BUFFER_S,
        resume: bool = True,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        **options: Any,
    ) -> None:
        self.url = server_url(url, "ws")
        self.audio_format = audio_format
        if resume and backoff is not None:
            options["resume"] = True
        self._handshake = wire.handshake(
            language=language, task=task, audio_format=audio_format, **options
        )
        self._resumption = Resumption()
        self._key, self._ca = key, ca
        self._is_live = live
        self._cuts = cuts_of(audio_format)
        # What cannot be cut cannot be sent again.
        self._backoff = backoff if self._cuts is not None else None
        self._clock, self._sleep, self._chance = clock, sleep, chance
        unit = 1 if self._cuts is None else self._cuts.unit
        self._backlog = Backlog(int(buffer_s * _BYTES_PER_S), unit)
        self._state = _State.NEW
        self._connection: Connection | None = None  # that is received from
        self._outgoing: Connection | None = None  # and sent to; None where it broke
        self._is_ended = False
        self._follower = wire.Follower()
        self._offset = 0  # of this session's first sample in the whole stream
        self._settled = 0  # samples up to which all text has come
        self._tries = 0  # since text came, or a connection lasted
        self._retry_at = 0.0
        self._least_wait_s = 0.0  # that the server asked for
        self._opened_at = 0.0
        self._broken_at = 0.0  # before the first of the tries
        self._began: float | None = None  # when the first sample was spoken
        self._interim: Segment | None = None  # what stands open
        self._lost: tuple[int, int] | None = None  # bytes, of which nothing is told yet
        self._news: deque[News] = deque()
        self._events: deque[Event] = deque()
        self._work = asyncio.Event()  # there may be something to send
        self._room = asyncio.Event()  # there may be room for more
        self._sender: asyncio.Task[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ beginning

    async def connect(self) -> None:
        """Connect and wait until the server is ready.

        Raises ``Overloaded`` when it asks to come back later and ``WhisperLiveError``
        when it refuses or cannot be reached: only what has begun is tried again.
        """
        assert self._state is _State.NEW, "a client connects once"
        connection = await self._open(self._handshake)
        self._resumption.begin(connection.ready)
        self._use(connection)
        self._sender = asyncio.create_task(self._send_all())

    async def close(self) -> None:
        """Leave at once; what was not told by now is not told any more."""
        self._state = _State.CLOSED
        self._work.set()
        self._room.set()
        tasks = [task for task in (self._sender, self._reconnecting) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _open(self, handshake: Mapping[str, Any]) -> Connection:
        return await Connection.open(
            self.url, handshake, key=self._key, ca=self._ca, clock=self._clock
        )

    def _use(self, connection: Connection) -> None:
        self._connection = self._outgoing = connection
        self._state = _State.OPEN
        self._opened_at = self._clock()
        self._work.set()

    # -------------------------------------------------------------------- sending

    def begin(self) -> None:
        """Count ``at_s`` from now; otherwise from the beginning of the first audio."""
        self._began = self._clock()

    async def send(self, audio: bytes | Samples) -> None:
        """Send audio: bytes in ``audio_format``, or samples, 16 kHz mono in -1..1."""
        data = audio if isinstance(audio, bytes) else self._as_bytes(audio)
        while self.is_waiting:
            self._room.clear()
            await self._room.wait()
        if self._state is _State.CLOSED:
            return  # whoever iterates learns why
        if self._cuts is not None:
            self._cuts.take(data)
        if self._began is None:
            spoken_s = samples_to_s(self._position_of(len(data)))
            self._began = self._clock() - spoken_s
        for at in range(0, len(data), _PIECE_BYTES):
            lost = self._backlog.add(data[at : at + _PIECE_BYTES])
            if lost is None:
                self._tell_lost()
            else:
                self._lost = (self._lost or lost)[0], lost[1]
        self._work.set()

    @property
    def is_waiting(self) -> bool:
        """Whether ``send`` waits until the server has taken more; a live one never."""
        if self._is_live or self._state is _State.CLOSED:
            return False
        return self._backlog.unsent > _WAITS_ABOVE_S * _BYTES_PER_S

    async def flush(self) -> None:
        """Complete the open utterance's text now; the stream goes on."""
        self._say('{"type": "flush"}')

    async def configure(self, **changes: Any) -> None:
        """Change ``language``, ``hotwords`` and others for what is sent from now on.

        docs/wire.md says what can be changed.
        """
        self._say(json.dumps({**changes, "type": "configure"}))
        self._handshake |= changes  # for a new session

    async def end(self) -> None:
        """No more audio: every word is transcribed, then the iteration ends."""
        self._is_ended = True
        self._tell_lost()
        self._say(wire.END_OF_AUDIO)

    def _say(self, message: bytes | str) -> None:
        self._backlog.say(message)
        self._work.set()

    def _as_bytes(self, samples: Samples) -> bytes:
        match self.audio_format:
            case "float32":
                return samples.astype("<f4").tobytes()
            case "int16":
                clipped = np.clip(samples, -1, 1) * 32767
                return clipped.round().astype("<i2").tobytes()
        raise ValueError(f"samples cannot be sent as {self.audio_format}")

    async def _send_all(self) -> None:
        """Send what there is, as long as there is a connection."""
        while self._state is not _State.CLOSED:
            connection = self._outgoing
            message = None if connection is None else self._backlog.next()
            if connection is None or message is None:
                self._work.clear()
                await self._work.wait()
            elif not await connection.send(message) and self._outgoing is connection:
                self._outgoing = None
            self._room.set()

    # ------------------------------------------------------------------ receiving

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            news = await self.hear()
            if news is None:
                raise StopAsyncIteration
            self._events.extend(unrolled(news) if isinstance(news, Heard) else [news])
        return self._events.popleft()

    async def hear(self) -> News | None:
        """The next news, with the text of one message together; None at the end.

        For who renders whole updates; the iteration gives the same as single events.
        """
        while not self._news:
            if self._state is _State.CLOSED:
                return None
            await self._advance()
        return self._news.popleft()

    async def _advance(self) -> None:
        assert self._state is not _State.NEW, "connect first"
        try:
            if self._state is not _State.BROKEN:
                return await self._receive()
            if self._reconnecting is None:
                self._reconnecting = asyncio.create_task(self._reconnect())
            # Who waits for news with a timeout does not begin the try anew.
            await asyncio.shield(self._reconnecting)
            self._reconnecting = None
        except WhisperLiveError:
            self._state = _State.CLOSED
            self._room.set()
            raise

    async def _receive(self) -> None:
        assert self._connection is not None, "it is open"
        try:
            message = await self._connection.receive()
        except ConnectionLost as lost:
            return self._break(lost)
        if message is None:
            if not self._is_ended or self._backlog.is_waiting:
                return self._break(ConnectionLost("the server ended the stream early"))
            self._state = _State.CLOSED
            self._room.set()
            self._news.append(Closed())
        elif wire.is_over_time(message):
            self._resumption.forget()
            await self._connection.close()
            self._break(ConnectionLost("the session's time on the server is over"))
        else:
            self._take(message)

    def _take(self, message: Mapping[str, Any]) -> None:
        """Make news of a message; nothing of one that tells none."""
        try:
            self._resumption.take(message)
            update = self._follower.take(message)
            transcript = wire.read_final_transcript(message)
        except (KeyError, TypeError, ValueError) as error:
            raise WhisperLiveError(
                f"a message of the server makes no sense: {error!r}"
            ) from error
        if (wait_s := come_back_s(message)) is not None:
            self._least_wait_s = wait_s
        if update is not None:
            has_segments = "segments" in message
            if has_segments:
                self._tries = 0
            self._tell(_shifted(update, self._offset), has_segments)
        if transcript is not None:
            self._news.append(final(transcript, self._now()))
        if message.get("status") == "WARNING":
            self._news.append(Warned(str(message.get("message"))))
        decided = self._resumption.decided - _HALF_A_WORD
        self._settle(self._offset + max(decided, 0))

    def _settle(self, position: int) -> None:
        """All text of what is before has come."""
        if position > self._settled:
            self._settled = position
            if self._cuts is not None:
                self._backlog.settle(self._cuts.offset_of(position))

    def _tell(self, update: Update, has_segments: bool) -> None:
        self._news.append(Heard(update, self._now(), has_segments))
        self._interim = update.interim
        if update.completed:
            self._settle(update.completed[-1].end)

    def _tell_lost(self) -> None:
        """Tell of audio that was never sent and is not kept any longer, as one span."""
        if self._lost is None:
            return
        start, end = map(self._position_of, self._lost)
        self._lost = None
        update = Update(dropped=(Dropped(start, end, "unsent"),), interim=self._interim)
        self._news.append(Heard(update, self._now(), has_segments=False))

    def _now(self) -> float:
        return 0.0 if self._began is None else self._clock() - self._began

    def _position_of(self, offset: int) -> int:
        """Samples before a byte of the audio, as far as it is known."""
        known = None if self._cuts is None else self._cuts.position_of(offset)
        return known or 0

    # --------------------------------------------------------------- reconnecting

    def _break(self, lost: ConnectionLost) -> None:
        self._outgoing = None
        if self._backoff is None:
            raise lost
        self._state = _State.BROKEN
        if self._clock() - self._opened_at >= _LASTS_S:
            self._tries = 0
        if self._tries == 0:
            self._broken_at = self._clock()
        least_s, self._least_wait_s = self._least_wait_s, 0.0
        self._retry_after(lost, least_s, self._backoff)

    def _retry_after(
        self, error: WhisperLiveError, least_s: float, backoff: Backoff
    ) -> None:
        wait_s = max(backoff.wait_s(self._tries, self._chance()), least_s)
        gone_s = self._clock() - self._broken_at
        if gone_s + wait_s > backoff.give_up_s:
            raise error
        self._tries += 1
        self._retry_at = self._clock() + wait_s
        self._news.append(Disconnected(str(error), wait_s))

    async def _reconnect(self) -> None:
        assert self._backoff is not None, "nothing is tried again without it"
        await self._sleep(max(self._retry_at - self._clock(), 0.0))
        try:
            connection = await self._open_again()
        except Overloaded as full:
            return self._retry_after(full, full.wait_minutes * 60, self._backoff)
        except ConnectionLost as lost:
            return self._retry_after(lost, 0.0, self._backoff)
        self._use(connection)
        received = resumed_at(connection.ready)
        if received is None:
            self._resumption.begin(connection.ready)
            self._begin_again()
        else:
            self._resumption.take(connection.ready)
            self._go_on(received)
        self._news.append(Reconnected(resumed=received is not None))

    async def _open_again(self) -> Connection:
        """Go on with the session; with a new one where it is over."""
        if self._resumption.is_possible:
            try:
                return await self._open(self._resumption.handshake(self._handshake))
            except (Overloaded, ConnectionLost):
                raise
            except WhisperLiveError:  # the session is over, or it was another server
                self._resumption.forget()
        return await self._open(self._handshake)

    def _go_on(self, received: int) -> None:
        """The same session, from the first sample that it has not taken in."""
        assert self._cuts is not None, "only what can be cut is sent again"
        wanted = max(received - self._cuts.preroll, 0)
        cut = self._cut(self._offset + wanted)
        at = cut.position - self._offset
        prefix = [] if at == received else [position_message(at)]
        self._backlog.rewind(cut.offset, *prefix, *filter(None, [cut.prefix]))

    def _begin_again(self) -> None:
        """A new session, from the first sample whose text has not come."""
        self._follower = wire.Follower()
        cut = self._cut(self._settled)
        self._backlog.rewind(cut.offset, *filter(None, [cut.prefix]))
        self._offset = cut.position

    def _cut(self, wanted: int) -> Cut:
        assert self._cuts is not None, "only what can be cut is sent again"
        cut = self._cuts.at(wanted, oldest=self._backlog.start)
        if cut is None:
            raise WhisperLiveError("the audio cannot be cut where it has to go on")
        return cut

    # ------------------------------------------------------------------ a source

    @asynccontextmanager
    async def feeding(
        self, source: AsyncIterable[bytes | Samples]
    ) -> AsyncIterator[None]:
        """Send what ``source`` gives, then the end of audio, beside the body.

        What reading the source raises ends the body and is raised here.
        """
        try:
            async with asyncio.TaskGroup() as group:
                feeder = group.create_task(self._feed(source))
                yield
                feeder.cancel()
        except BaseExceptionGroup as both:
            error = both.exceptions[0]
            raise error from error.__cause__

    async def _feed(self, source: AsyncIterable[bytes | Samples]) -> None:
        async for audio in source:
            await self.send(audio)
        await self.end()


def _shifted(update: Update, by: int) -> Update:
    """The same with all positions later by so many samples."""
    if not by:
        return update
    speech = update.speech
    interim = update.interim
    return replace(
        update,
        completed=tuple(_segment_shifted(segment, by) for segment in update.completed),
        interim=None if interim is None else _segment_shifted(interim, by),
        dropped=tuple(
            replace(span, start=span.start + by, end=span.end + by)
            for span in update.dropped
        ),
        speech=None if speech is None else replace(speech, at=speech.at + by),
    )


def _segment_shifted(segment: Segment, by: int) -> Segment:
    return replace(
        segment,
        start=segment.start + by,
        end=segment.end + by,
        words=tuple(
            replace(word, start=word.start + by, end=word.end + by)
            for word in segment.words
        ),
    )
