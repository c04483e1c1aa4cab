"""One client's connection: events are read, answered or given to an utterance.

Each utterance is a connection of the server like any other, on a ``Socket`` that ends
with it while the link goes on.  ``describe`` and ``ping`` are answered by who reads
them, whatever else is going on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wyoming.error import Error
from wyoming.ping import Pong

from whisper_live.config.model import Config
from whisper_live.errors import (
    ClientError,
    HandshakeError,
    LimitExceeded,
    ProtocolError,
)
from whisper_live.observability.session_log import log_refusal
from whisper_live.protocols.wyoming.events import read_event, read_header, write_event
from whisper_live.protocols.wyoming.server import AUDIO_STOP, Wyoming
from whisper_live.rate_limit import RateLimit
from whisper_live.server.socket import CLOSE_TIMEOUT_S, SocketClosed
from whisper_live.server.wyoming.pace import Pace

__all__ = ["Host", "Link", "Utterance"]

logger = logging.getLogger("whisper_live.server")

_MOST_EVENTS = 8  # read and not taken, of a MiB each: as the receiver of a websocket
_MOST_UNSENT_BYTES = 1 << 20
# Questions that are answered whatever else is going on, as pings of a websocket are.
_QUESTIONS_BURST = 100
_QUESTIONS_PER_S = 10.0
_LOOK_AGAIN_S = 0.5  # whether a command that is over came from a microphone after all
_UTTERANCE = ("transcribe", "audio-start", "audio-chunk", "audio-stop")


@dataclass(frozen=True, slots=True)
class Host:
    """What links need of their server."""

    config: Config
    info: str  # the answer to ``describe``
    refused: Callable[[str], None]  # counts those that get no session, by kind
    # Serves one utterance to its end; None while there is no model to do it with.
    converse: Callable[[Utterance, Wyoming], Awaitable[None]] | None


@dataclass(frozen=True, slots=True)
class _Incoming:
    """An event, as its type and its bytes."""

    type: str
    message: bytes


class _Inbox:
    """Events that were read and not taken; what ended it all comes behind them.

    One task puts and one takes.
    """

    def __init__(self) -> None:
        self._events: deque[_Incoming] = deque()
        self._error: ClientError | None = None
        self._has_ended = False
        self._is_discarding = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    async def put(self, event: _Incoming) -> None:
        """Add an event once there is room."""
        while len(self._events) >= _MOST_EVENTS and not self._is_discarding:
            self._room.clear()
            await self._room.wait()
        if not self._is_discarding:
            self._events.append(event)
            self._news.set()

    def put_back(self, event: _Incoming) -> None:
        """It is another's to take."""
        self._events.appendleft(event)

    def end(self, error: ClientError | None = None) -> None:
        """Nothing comes any more, because of what cannot be used or of the close.

        Of both, what comes first.
        """
        if not (self._has_ended or self._is_discarding):
            self._error = error
        self._has_ended = True
        self._news.set()

    def discard(self) -> None:
        """Nobody takes anything any more."""
        self._is_discarding, self._error = True, None
        self._room.set()

    def look(self) -> None:
        """Have who takes look at ``until`` again."""
        self._news.set()

    async def take(self, until: Callable[[], bool] = lambda: False) -> _Incoming | None:
        """The next event; None once ``until`` holds.  Raises what ended it all.

        May be cancelled without losing an event.
        """
        while not until():
            if self._events:
                self._room.set()
                return self._events.popleft()
            if self._has_ended:
                # Not kept: an error that was raised holds all who it went through.
                error, self._error = self._error, None
                raise error or SocketClosed
            self._news.clear()
            await self._news.wait()
        return None


class Link:
    """One connection, from the first event to the close."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: Host,
        *,
        address: str,
    ) -> None:
        self.address = address
        self.inbox = _Inbox()
        self.asked: bytes | None = None  # `transcribe` for the next utterance
        self.is_finished = False  # no utterance follows
        self._reader = reader
        self._writer = writer
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._questions = RateLimit(_QUESTIONS_BURST, _QUESTIONS_PER_S)
        self._utterance: Utterance | None = None
        self._has_audio = False  # an audio-start without its audio-stop

    async def run(self) -> None:
        """Serve the client; returns when its socket is closed."""
        reading = asyncio.create_task(self._read())
        try:
            await self._serve()
        except ClientError as error:
            self._host.refused(error.kind)
            log_refusal(logger, error.kind, peer=self.address)
            self.write(write_event(Error(str(error), error.kind).event()))
        except SocketClosed:
            pass
        finally:
            self.inbox.discard()
            await self._hang_up(reading)

    def abort(self) -> None:
        """Be gone, whatever has not been said yet."""
        self._writer.transport.abort()

    # ------------------------------------------------------------------------- writing

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be told any more."""
        return self._writer.transport.is_closing()

    def write(self, text: str) -> None:
        """Queue an event; a peer that reads none of many is given up."""
        transport = self._writer.transport
        if not transport.is_closing():
            self._writer.write(text.encode())
            if transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
                transport.abort()

    async def flush(self) -> None:
        """Return when what was written is on its way; may raise ``SocketClosed``."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise SocketClosed from error

    async def _hang_up(self, reading: asyncio.Task[None]) -> None:
        """Close; what the peer still sends is read, or a reset overtakes the error."""
        try:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._writer.drain()
                    self._writer.write_eof()
                    await reading
        finally:
            reading.cancel()
            self.abort()

    # ------------------------------------------------------------------------- reading

    async def _read(self) -> None:
        """Read to the end, whether somebody takes it or not."""
        try:
            while True:
                await asyncio.sleep(0)  # of short events thousands may be there already
                event = await self._next()
                self._heard_at = self._loop.time()
                if event.type in _UTTERANCE:
                    await self.inbox.put(event)
                else:
                    self._answer(event)
        except ClientError as error:
            self.inbox.end(error)
            with contextlib.suppress(OSError):
                while await self._reader.read(1 << 16):
                    await asyncio.sleep(0)
        except (OSError, EOFError):
            pass
        self.inbox.end()
        if self._utterance is not None:
            self._utterance.lose()

    async def _next(self) -> _Incoming:
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            raise ProtocolError(
                "The event's line is too long.", kind="event_too_long"
            ) from error
        header = read_header(line)
        if header.payload_bytes > self._host.config.limits.max_message_bytes:
            raise LimitExceeded("The payload is too long.", kind="message_too_big")
        rest = await self._reader.readexactly(header.rest_bytes)
        return _Incoming(header.type, line + rest)

    def _answer(self, event: _Incoming) -> None:
        """Answer a question; what is none is for other servers and passed over."""
        if event.type in ("describe", "ping"):
            if not self._questions.allows(self._loop.time()):
                raise LimitExceeded("too many questions", kind="control_frames")
        if event.type == "describe":
            self.write(self._host.info)
        elif event.type == "ping":
            text = read_event(event.message).data.get("text")
            self.write(write_event(Pong(text if isinstance(text, str) else "").event()))

    # ---------------------------------------------------------------------- utterances

    async def _serve(self) -> None:
        """One utterance after the other."""
        while not self.is_finished:
            event = await self._take()
            match event.type:
                case "transcribe":
                    self.asked = event.message
                case "audio-start":
                    self._has_audio = True
                    await self._converse(event)
                case "audio-stop":
                    self._has_audio = False
                case "audio-chunk" if not self._has_audio:
                    raise ProtocolError(
                        "An audio-chunk without audio-start.", kind="event_order"
                    )
                case _:
                    pass  # the rest of a command that was answered

    async def _take(self) -> _Incoming:
        """The next event; a client that says nothing for long is let go."""
        idle_s = self._host.config.limits.idle_timeout_s
        while True:
            until = self._heard_at + idle_s
            try:
                async with asyncio.timeout_at(until):
                    event = await self.inbox.take()
                    assert event is not None, "nothing else was waited for"
                    return event
            except TimeoutError:
                if until >= self._heard_at + idle_s:
                    raise SocketClosed from None

    async def _converse(self, start: _Incoming) -> None:
        if self._host.converse is None:
            raise HandshakeError(
                "The model is being loaded; try again soon.", kind="loading"
            )
        config = self._host.config
        asked, self.asked = self.asked, None
        utterance = Utterance(self, start, longest_s=config.wyoming.wyoming_max_s)
        utterance.protocol = Wyoming(
            config.speech,
            silence_s=config.wyoming.wyoming_silence_ms / 1000,
            asked=asked,
            over=self.inbox.look,
        )
        self._utterance = utterance
        try:
            await self._host.converse(utterance, utterance.protocol)
        finally:
            self._utterance = None
            self._heard_at = self._loop.time()
            self._has_audio = not utterance.has_ended
            # They refer to each other: at once, not at the collector's next round.
            del utterance.protocol


class Utterance:
    """The ``Socket`` of one voice command.

    Its end is the client's ``audio-stop``, or what stands for it where the server has
    heard the end; what comes after that is not its own.
    """

    protocol: Wyoming

    def __init__(self, link: Link, start: _Incoming, *, longest_s: float) -> None:
        self.has_ended = False  # the client said so
        self._link = link
        self._start: _Incoming | None = start
        self._longest_s = longest_s
        self._is_answered = False  # the server has heard the end
        self._is_spent = False  # there is nothing more to receive
        self._loop = asyncio.get_running_loop()
        self._pace = Pace(self._loop.time())
        self._closed = asyncio.Event()
        self._code = 0

    @property
    def peer(self) -> str:
        """See ``Socket``."""
        return self._link.address

    async def receive(self) -> str | bytes:
        """See ``Socket``."""
        if self._start is not None:
            start, self._start = self._start, None
            return start.message
        self._pace.took(self.protocol.audio_s, self._loop.time())
        while not self._is_spent:
            event = await self._next()
            if event is None:
                self._is_answered = True
                return AUDIO_STOP
            if event.type == "transcribe":
                self._link.asked = event.message
                continue
            if event.type == "audio-start" and self._is_answered:
                self._link.inbox.put_back(event)
                self._is_spent = self.has_ended = True
                continue
            if event.type == "audio-stop":
                self._is_spent = self.has_ended = True
            return event.message
        await self._closed.wait()
        raise SocketClosed

    async def _next(self) -> _Incoming | None:
        """The next event; None once it is time to answer."""
        while True:
            is_over = self.protocol.is_over and not self._is_answered
            try:
                async with asyncio.timeout(_LOOK_AGAIN_S if is_over else None):
                    return await self._link.inbox.take(self._is_time_to_answer)
            except TimeoutError:
                continue
            except ClientError:
                self._is_spent = True
                raise

    def _is_time_to_answer(self) -> bool:
        """Whether the command has ended, and all that was sent of it was taken in."""
        if self._is_answered or self._link.inbox:
            return False
        is_long = 0 < self._longest_s <= self.protocol.audio_s
        if not (is_long or self.protocol.is_over):
            return False
        return not self._pace.is_recorded(self._loop.time())

    async def send(self, text: str) -> None:
        """See ``Socket``."""
        if self._closed.is_set() or self._link.is_closing:
            raise SocketClosed
        self._link.write(text)
        await self._link.flush()

    async def ping(self) -> Awaitable[object]:
        """See ``Socket``; no client answers a ping, and TCP looks after dead ones."""
        answered: asyncio.Future[None] = self._loop.create_future()
        answered.set_result(None)
        return answered

    async def close(self, code: int, reason: str = "") -> None:
        """See ``Socket``; the link goes on after 1000 alone."""
        if not self._closed.is_set():
            self._code = code
            self._link.is_finished |= code != 1000
            self._closed.set()

    def lose(self) -> None:
        """The peer is gone."""
        self._closed.set()

    async def wait_closed(self) -> None:
        """See ``Socket``."""
        await self._closed.wait()

    @property
    def own_close_code(self) -> int:
        """See ``Socket``."""
        return self._code

    @property
    def peer_close_code(self) -> int:
        """See ``Socket``: this wire has no codes."""
        return 0
