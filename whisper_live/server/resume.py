"""What outlives a socket: sessions that wait for their client, and their way back.

A ``ResumableSocket`` stands between a connection and whichever real socket carries it
at the time.  Until ``keep`` it passes everything through.  From then on a socket that
breaks leaves the session detached: it goes on, its messages are numbered and kept, and
another socket may carry it on.  ``Resumption`` knows all sessions that can be resumed
by their tokens.  Knows nothing of the wire, which a ``ResumableProtocol`` has, and
nothing of audio.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from whisper_live.errors import HandshakeError
from whisper_live.protocols.base import ResumableProtocol, Resume
from whisper_live.rate_limit import RateLimit
from whisper_live.server.access import Caller
from whisper_live.server.keepalive import NO_ANSWER
from whisper_live.server.socket import Socket, SocketClosed

__all__ = [
    "RESUME_UNKNOWN",
    "Change",
    "NoSocket",
    "ResumableSocket",
    "Resumption",
    "Terms",
    "new_token",
]

# Behind each "detached" follows one of the others.
Change = Literal["detached", "resumed", "expired", "ended"]
RESUME_UNKNOWN = "resume_unknown"  # the kind of error of a token that is of no use

RESUMED_ELSEWHERE = 4000
# The client has left on purpose: 1005 is a close that names no code.
_LEFT = (1000, 1005)
# It broke the rules of websockets, and would again.
_BROKEN_RULES = (1002, 1007, 1008, 1009)
# The server goes, or the client reads nothing: these closes wait for nobody.
_AT_ONCE = (1001, 1012, 1013)
_RESTART = (1012, "service restart")
# Of messages kept for a client that may not have got them.  A minute of them has some
# 200 KB if each repeats ten segments; what is more is told as a snapshot.
_MOST_KEPT_CHARACTERS = 1 << 18
_ACKNOWLEDGED_EVERY_S = 1.0
# Wrong tokens that are answered; more are closed without a word.
_ANSWERED_BURST, _ANSWERED_PER_S = 20, 2.0


def new_token() -> str:
    """A session's secret, of 256 bits."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms one session is kept for its client."""

    protocol: ResumableProtocol
    wait_s: float  # how long a detached session waits
    reached: Callable[[], tuple[int, int]]  # samples received, and decided, by now
    restart: Callable[[], None]  # forget what the old socket left unfinished
    note: Callable[[Change], None]


@dataclass(eq=False, slots=True)
class _Arrival:
    """A socket that came with the token and is not read yet."""

    socket: Socket
    last_seq: int
    received: asyncio.Future[int]  # samples, once it is


class ResumableSocket:
    """A ``Socket`` that can be carried by one real socket after another.

    ``receive`` must be called again and again to its end: between two messages is where
    the next socket is taken.
    """

    def __init__(self, carrier: Socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._carrier: Socket | None = carrier  # None: detached
        self._newest = carrier
        self._terms: Terms | None = None
        self._arrival: _Arrival | None = None
        self._is_catching_up = False  # the carrier is told first what it has missed
        self._is_over = False
        self._is_muted = False
        self._changed: asyncio.Future[None] = self._loop.create_future()
        self._reading: asyncio.Task[str | bytes] | None = None  # of the carrier
        self._expiry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept = _KeptMessages()
        self._said_at = self._loop.time()

    # ------------------------------------------------------------------ for the owner

    @property
    def newest(self) -> Socket:
        """The real socket that carries it, or did last."""
        return self._newest

    @property
    def is_kept(self) -> bool:
        """Whether it outlives the socket that carries it."""
        return self._terms is not None

    @property
    def is_detached(self) -> bool:
        """Whether no socket carries it, though it is not over."""
        return self._carrier is None and not self._is_over

    def keep(self, terms: Terms, *, seq: int = 0) -> None:
        """From now on what breaks may be resumed; nothing was sent or read before.

        ``seq`` is the number of the newest message before, of another daemon.
        """
        assert self._carrier is not None, "a session begins on a socket"
        self._terms = terms
        self._kept.newest = seq
        self._watch(self._carrier)

    @property
    def acknowledgement_is_due(self) -> bool:
        """Nothing that tells how far audio was received went out for a while."""
        return (
            self._terms is not None
            and self._carrier is not None
            and self._loop.time() - self._said_at >= _ACKNOWLEDGED_EVERY_S
        )

    @property
    def seq(self) -> int:
        """The number of the newest message."""
        return self._kept.newest

    def mute(self) -> None:
        """Say no more, whatever is sent: the session goes on elsewhere."""
        self._is_muted = True

    async def carry_on(self, socket: Socket, last_seq: int) -> None:
        """Go on by ``socket``; returns when it carries this no longer.

        Raises ``HandshakeError`` where the session ends before it is taken.
        """
        if self._is_over:
            raise _unknown()
        arrival = _Arrival(socket, last_seq, self._loop.create_future())
        older, self._arrival = self._arrival, arrival
        if older is not None:
            self._retire(older.socket)
            older.received.cancel()
        if self._carrier is not None:
            self._retire(self._carrier)
            self._detach()
        self._stop_waiting()
        self._watch(socket)
        self._tell_change()
        gone = self._loop.create_task(socket.wait_closed())
        try:
            waiting: set[asyncio.Future[Any]] = {arrival.received, gone}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if arrival.received.cancelled() and self._is_over:
                raise _unknown()
            if arrival.received.done() and not arrival.received.cancelled():
                await self._catch_up(socket, last_seq, arrival.received.result())
            await gone
        finally:
            gone.cancel()

    def release(self) -> None:
        """The connection is over; nothing of it is kept.

        What still closes an older socket goes on, for some seconds at most.
        """
        self._end()
        self._terms = None  # it refers back to the connection

    # --------------------------------------------------------------------- as a socket

    @property
    def peer(self) -> str:
        """See ``Socket``."""
        return self._newest.peer

    @property
    def own_close_code(self) -> int:
        """See ``Socket``."""
        return self._newest.own_close_code

    @property
    def peer_close_code(self) -> int:
        """See ``Socket``."""
        return self._newest.peer_close_code

    async def receive(self) -> str | bytes:
        """See ``Socket``; waits for a client that is away."""
        if self._terms is None:
            return await self._newest.receive()
        while not self._is_over:
            if self._arrival is not None:
                self._welcome(self._arrival)
            carrier = self._carrier
            if carrier is None:
                await self._change()
                continue
            if self._reading is None:
                self._reading = self._loop.create_task(_receive(carrier))
                self._reading.add_done_callback(_retrieve)
            # It is not cancelled with this call: a message could be lost.
            reading = self._reading
            waiting: set[asyncio.Future[Any]] = {reading, self._changed}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._reading is reading and reading.done():
                self._reading = None
                try:
                    return reading.result()
                except SocketClosed:
                    self._lose(carrier)
        raise SocketClosed

    async def send(self, text: str) -> None:
        """See ``Socket``; what nobody is there to get is kept."""
        if self._terms is None:
            await self._newest.send(text)
            return
        if self._is_over:
            raise SocketClosed
        if self._is_muted:
            return
        self._said_at = self._loop.time()
        text = self._kept.add(self._terms, text)
        carrier = self._carrier
        if carrier is not None and not self._is_catching_up:
            try:
                await carrier.send(text)
            except SocketClosed:
                self._lose(carrier)

    async def ping(self) -> Awaitable[object]:
        """See ``Socket``; who is away answers at once."""
        if self._terms is None:
            return await self._newest.ping()
        if self._is_over:
            raise SocketClosed
        return _quietly(self._carrier)

    async def close(self, code: int, reason: str = "") -> None:
        """See ``Socket``; but for a restart, waits for a client that is away."""
        if self._terms is None:
            await self._newest.close(code, reason)
            return
        if self._is_muted and code not in _AT_ONCE:
            # It came to its end here with words that were not told: who heard that it
            # was over would not come to the next daemon, which tells them.
            code, reason = _RESTART
        if reason == NO_ANSWER:  # only this socket is dead
            if self._carrier is not None:
                await self._carrier.close(code, reason)
            return
        while not self._is_over:
            carrier = self._carrier
            if carrier is not None and not self._is_catching_up:
                await carrier.close(code, reason)
                if code in _AT_ONCE or carrier.peer_close_code in (code, *_LEFT):
                    break
                self._lose(carrier)
            elif code in _AT_ONCE:
                break
            else:
                await self._change()
        self._end()

    async def wait_closed(self) -> None:
        """See ``Socket``."""
        if self._terms is None:
            await self._newest.wait_closed()
            return
        while not self._is_over:
            await self._change()

    # ----------------------------------------------------------------- come and gone

    def _welcome(self, arrival: _Arrival) -> None:
        """Between two messages: from here on the new socket is read."""
        assert self._terms is not None, "who arrives had a token"
        self._arrival = None
        self._terms.restart()
        self._carrier = self._newest = arrival.socket
        self._is_catching_up = True
        arrival.received.set_result(self._terms.reached()[0])
        self._terms.note("resumed")
        self._tell_change()

    async def _catch_up(self, socket: Socket, seq: int, received: int) -> None:
        """Tell the new socket where the session is and what its client has not seen."""
        assert self._terms is not None, "who arrives had a token"
        protocol, kept = self._terms.protocol, self._kept
        is_whole = kept.has_all_after(seq)
        ready = protocol.resumed(received, is_snapshot=not is_whole)
        try:
            await socket.send(ready.text)
            if not is_whole:
                seq = kept.newest
                if (shown := protocol.snapshot()) is not None:
                    await socket.send(kept.numbered(self._terms, shown.text))
            while self._carrier is socket and seq < kept.newest:
                if not kept.has_all_after(seq):  # it reads more slowly than we speak
                    self._retire(socket)
                    break
                seq += 1
                await socket.send(kept.get(seq))
        except SocketClosed:
            self._lose(socket)
        if self._carrier is socket:
            self._is_catching_up = False
            self._tell_change()

    def _lose(self, socket: Socket) -> None:
        """A real socket is closed, by whomever."""
        if self._is_over:
            return
        assert self._terms is not None, "else nobody asks"
        if self._arrival is not None and self._arrival.socket is socket:
            self._arrival.received.cancel()
            self._arrival = None
        elif self._carrier is socket:
            if socket.peer_close_code in _LEFT or (
                socket.own_close_code in _BROKEN_RULES
            ):
                self._end()
                return
            self._detach()
        else:
            return
        if self._carrier is None and not self._is_over:
            self._stop_waiting()
            self._expiry = self._loop.call_later(self._terms.wait_s, self._expire)
        self._tell_change()

    def _detach(self) -> None:
        assert self._terms is not None, "only a kept session has no socket"
        self._carrier = None
        self._stop_reading()
        self._terms.note("detached")

    def _stop_reading(self) -> None:
        self._is_catching_up = False
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stop_waiting(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _expire(self) -> None:
        self._end("expired")

    def _end(self, change: Change = "ended") -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._carrier is None and self._terms is not None:
            self._terms.note(change)
        self._stop_waiting()
        self._stop_reading()
        if self._arrival is not None:
            self._arrival.received.cancel()
            self._arrival = None
        self._tell_change()

    def _retire(self, socket: Socket) -> None:
        """Close a socket that another one replaces, and let go of what it had read."""

        async def retire() -> None:
            await socket.close(RESUMED_ELSEWHERE, "resumed elsewhere")

        self._start(retire())

    def _watch(self, socket: Socket) -> None:
        async def watch() -> None:
            await socket.wait_closed()
            self._lose(socket)

        self._start(watch())

    def _start(self, job: Awaitable[None]) -> None:
        task = asyncio.ensure_future(job)
        assert isinstance(task, asyncio.Task), "jobs are coroutines"
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------------------ changes

    def _tell_change(self) -> None:
        changed, self._changed = self._changed, self._loop.create_future()
        changed.set_result(None)

    async def _change(self) -> None:
        """Wait until something is different; ``_changed`` survives a cancelled wait."""
        await asyncio.wait({self._changed})


class NoSocket:
    """A ``Socket`` that broke before this daemon began; ``gone`` says that it may."""

    peer = "local"
    own_close_code = peer_close_code = 0

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> str | bytes:
        """See ``Socket``."""
        await self.gone.wait()
        raise SocketClosed

    async def send(self, text: str) -> None:
        """See ``Socket``."""
        raise SocketClosed

    async def ping(self) -> Awaitable[object]:
        """See ``Socket``."""
        raise SocketClosed

    async def close(self, code: int, reason: str = "") -> None:
        """See ``Socket``."""
        self.gone.set()

    async def wait_closed(self) -> None:
        """See ``Socket``."""
        await self.gone.wait()


class _KeptMessages:
    """The newest messages, numbered from 1, up to a bound of characters."""

    def __init__(self) -> None:
        self.newest = 0
        self._texts: deque[str] = deque()
        self._characters = 0

    def add(self, terms: Terms, text: str) -> str:
        """Number a message and keep it."""
        self.newest += 1
        text = self.numbered(terms, text)
        self._texts.append(text)
        self._characters += len(text)
        while self._characters > _MOST_KEPT_CHARACTERS:
            self._characters -= len(self._texts.popleft())
        return text

    def numbered(self, terms: Terms, text: str) -> str:
        """The message with the newest number and what was reached."""
        received, decided = terms.reached()
        return terms.protocol.numbered(text, self.newest, received, decided)

    def has_all_after(self, seq: int) -> bool:
        """Whether every message behind that one is still here."""
        return self.newest - len(self._texts) <= seq <= self.newest

    def get(self, seq: int) -> str:
        """A message that is kept."""
        return self._texts[seq - self.newest - 1]


class Resumption:
    """The sessions of one server that can be resumed, by their tokens' digests."""

    def __init__(self, *, wait_s: float, clock: Callable[[], float]) -> None:
        self.wait_s = wait_s  # 0: no session can
        self._clock = clock
        self._sessions: dict[bytes, tuple[ResumableSocket, str | None]] = {}
        self._answers = RateLimit(_ANSWERED_BURST, _ANSWERED_PER_S)

    def begin(
        self, token: str, socket: ResumableSocket, *, key_name: str | None
    ) -> None:
        """A session may be resumed with ``token`` by the holder of this key."""
        self._sessions[_digest(token)] = (socket, key_name)

    def end(self, token: str) -> None:
        """It may not any more."""
        self._sessions.pop(_digest(token), None)

    async def resume(self, asked: Resume, socket: Socket, caller: Caller) -> None:
        """Let ``socket`` carry a session on; returns when it does so no longer.

        Raises ``HandshakeError`` for a token that is not, or not any more, of use to
        this caller.
        """
        found = self._sessions.get(_digest(asked.token))
        if found is None or found[1] != caller.key_name:
            raise _unknown()
        await found[0].carry_on(socket, asked.last_seq)

    def may_answer(self) -> bool:
        """Whether a wrong token gets a sentence; a flood of them is only closed."""
        return self._answers.allows(self._clock())


def _unknown() -> HandshakeError:
    return HandshakeError(
        "This session cannot be resumed: it is over, or the token is wrong. "
        "Begin a new one.",
        kind=RESUME_UNKNOWN,
    )


def _digest(token: str) -> bytes:
    # Not the token itself: neither its comparison nor a dump of memory gives it away.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def _receive(socket: Socket) -> str | bytes:
    return await socket.receive()


async def _quietly(socket: Socket | None) -> None:
    """Ask a peer and wait for its answer; one that is gone is found out elsewhere."""
    if socket is not None:
        with contextlib.suppress(SocketClosed):
            await (await socket.ping())


def _retrieve(reading: asyncio.Task[str | bytes]) -> None:
    """What a read came to that nobody waits for any more is nothing to be logged."""
    if not reading.cancelled():
        reading.exception()
