"""Rooms: what a session publishes under a name, for any number of readers.

Owns which rooms there are, who may speak in one, and who is sent what.  A reader who
does not keep up is waited for: it is told what it missed as long as that is kept.  How
a reader's connection looks is ``http``'s affair, what it is told ``room``'s.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import secrets
from collections.abc import Callable
from typing import Protocol

from whisper_live.audio import s_to_samples
from whisper_live.config.model import Config
from whisper_live.errors import HandshakeError, Overloaded
from whisper_live.observability.metrics import Metrics
from whisper_live.protocols.room_events import State
from whisper_live.server.access import Caller
from whisper_live.server.process_limits import session_files
from whisper_live.server.room import Mark, NotKept, RoomText, View
from whisper_live.session.updates import Update

__all__ = ["Fate", "Publication", "Reader", "Room", "Rooms", "Sink"]

logger = logging.getLogger("whisper_live.server")

# Readers that are written to before others have their turn: 64 take 0.8 ms.
_SLICE = 64
_MOST_PIECES = 8  # that are remembered for readers who have the same mark
_IDLE_S = 15.0
_FULL_MINUTES = 0.5  # after which a reader without a place may try again
_LAST_STATES = (State.OVER, State.RESTARTING)


class Sink(Protocol):
    """Where a reader's bytes go."""

    @property
    def is_full(self) -> bool:
        """Whether what was written waits for the peer to read."""

    @property
    def is_gone(self) -> bool:
        """Whether nothing can be written any more."""

    def write(self, framed: bytes) -> None:
        """Send it, whether there is room or not."""


class Fate(enum.Enum):
    """Why a reader is sent nothing more for the moment, or at all."""

    FULL = "full"  # it is to be waited for
    TOLD = "told"  # it was told everything, and there will be no more
    STALLED = "stalled"  # it was waited for, and took nothing
    NOT_KEPT = "not_kept"  # what it would be told next is gone
    FAILED = "failed"  # a bug


class Reader:
    """One who is sent what a room tells, from its mark on."""

    def __init__(
        self, view: View, mark: Mark, sink: Sink, frame: Callable[[bytes], bytes]
    ) -> None:
        """``frame`` makes of a piece what is written; one function for many readers."""
        self.view = view
        self.mark = mark
        self.sink = sink
        self.frame = frame
        self.fate: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()

    def stop(self, fate: Fate) -> None:
        """Whoever awaits ``fate`` decides how it goes on."""
        if not self.fate.done():
            self.fate.set_result(fate)


class Room:
    """One name, its text and its readers."""

    def __init__(self, name: str, metrics: Metrics) -> None:
        self.name = name
        self.text = RoomText(secrets.token_hex(4))
        self.speaker: Publication | None = None
        self.owner: str | None = None  # the name of the key that it was opened with
        self.began_at: float | None = None  # loop time; None: nobody has spoken yet
        self.closing: asyncio.TimerHandle | None = None  # while it waits for a speaker
        self.places = 0  # of readers, whatever is the case with each
        self._ready: set[Reader] = set()  # those who keep up
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._to_tell: list[Reader] = []  # who is still to be looked at
        self._is_sending = False
        self._is_stale = False  # then all who are ready are to be looked at
        self._says_idle = False  # and told that the room is there
        self._is_idle = False  # those who are looked at now are told so
        self._sent_at = self._loop.time()
        self._pieces: dict[object, tuple[bytes, Mark]] = {}

    # ---------------------------------------------------------------------- its text

    def take(self, update: Update, offset: int) -> None:
        """What its speaker's session tells."""
        self.text.take(update, offset=offset)
        self._publish()

    def set_state(self, state: State, language: str | None = None) -> None:
        """See ``RoomText``."""
        self.text.set_state(state, language)
        self._publish()

    def _publish(self) -> None:
        self._pieces.clear()
        self._is_stale = True
        self._send_soon()

    # ------------------------------------------------------------------- its readers

    def join(self, reader: Reader) -> None:
        """Send it what there is and will be, until its fate says otherwise."""
        self._ready.add(reader)
        self._to_tell.append(reader)
        self._send_soon()

    def go_on(self, reader: Reader) -> None:
        """It has room again."""
        reader.fate = self._loop.create_future()
        self.join(reader)

    def leave(self, reader: Reader) -> None:
        """It is gone."""
        self._ready.discard(reader)

    def say_idle(self) -> None:
        """Tell who has been told nothing for a while that the room is there."""
        if self._loop.time() - self._sent_at >= _IDLE_S / 2:
            self._says_idle = self._is_stale = True
            self._send_soon()

    def _send_soon(self) -> None:
        if not self._is_sending and self._ready:
            self._is_sending = True
            self._loop.call_soon(self._send_some)

    def _send_some(self) -> None:
        """Tell some readers what they have not been told; then others have a turn."""
        if not self._to_tell:
            self._is_stale = False
            self._is_idle, self._says_idle = self._says_idle, False
            self._to_tell = list(self._ready)
            self._sent_at = self._loop.time()
        for _ in range(min(_SLICE, len(self._to_tell))):
            reader = self._to_tell.pop()
            if reader not in self._ready:
                continue
            try:
                fate = self._send(reader)
            except Exception as error:  # the others are told all the same
                logger.error("a room's reader failed", exc_info=error)
                self._metrics.error("internal")
                fate = Fate.FAILED
            if fate is not None:
                self._ready.discard(reader)
                reader.stop(fate)
        if not self._to_tell:
            self._is_idle = False
        if self._to_tell or self._is_stale and self._ready:
            self._loop.call_soon(self._send_some)
        else:
            self._is_sending = False

    def _send(self, reader: Reader) -> Fate | None:
        """One piece for one reader; None where it waits for the next one."""
        if reader.sink.is_gone:
            return None
        try:
            framed, mark = self._piece(reader)
        except NotKept:
            return Fate.NOT_KEPT
        reader.mark = mark
        if framed:
            reader.sink.write(framed)
        elif self._is_idle:
            reader.sink.write(reader.frame(reader.view.idle))
        if reader.sink.is_full:
            return Fate.FULL
        if reader.mark != self.text.newest:
            self._to_tell.append(reader)  # there is more for it
            return None
        return Fate.TOLD if self._has_ended(reader.view) else None

    def _piece(self, reader: Reader) -> tuple[bytes, Mark]:
        """What follows its mark, written once for all who have the same."""
        key = (reader.view, reader.frame, reader.mark)
        if (found := self._pieces.get(key)) is None:
            piece, mark = reader.view.since(self.text, reader.mark)
            found = (reader.frame(piece) if piece else b"", mark)
            if len(self._pieces) >= _MOST_PIECES:
                self._pieces.clear()
            self._pieces[key] = found
        return found

    def _has_ended(self, view: View) -> bool:
        state = self.text.state
        if view.ends_with_speaker and state is not State.LIVE:
            return True
        return state in _LAST_STATES


class Publication:
    """One session's right to speak in a room, from its handshake to its end."""

    def __init__(self, rooms: Rooms, room: Room) -> None:
        self._rooms = rooms
        self._room = room
        self._offset = 0  # samples, of the session's first one
        self._has_begun = self._is_over = False

    def begin(self, language: str | None) -> None:
        """The session has begun; ``language`` None is still to be detected."""
        self._has_begun = True
        self._offset = self._rooms.began(self._room)
        self._room.set_state(State.LIVE, language)

    def tell(self, update: Update) -> None:
        """Pass an update on to the room's readers."""
        if self._has_begun and not self._is_over:
            self._room.take(update, self._offset)

    def end(self) -> None:
        """The session has told everything, or never began; may come twice."""
        if not self._is_over:
            self._is_over = True
            self._rooms.left(self._room, has_begun=self._has_begun)


class Rooms:
    """The rooms of one server."""

    def __init__(self, config: Config, metrics: Metrics, *, most_files: int) -> None:
        """``most_files`` may be open; of them readers get none that sessions need."""
        limits = config.limits
        left = max(most_files - session_files(limits.max_sessions), 0)
        self._places = min(limits.max_room_readers, left)
        self._config = config
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._rooms: dict[str, Room] = {}  # those that are left the longest ago first
        self._readers = 0
        self._is_closed = False
        self._saying_idle: asyncio.TimerHandle | None = None

    @property
    def are_on(self) -> bool:
        """Whether there can be any: readers come over HTTP."""
        return self._config.access.rooms != "off" and self._config.listen.http_port != 0

    # ------------------------------------------------------------------- for speakers

    def claim(self, name: str, caller: Caller) -> Publication:
        """The right to speak in the room of this name.

        To be followed by ``end``.  Raises ``HandshakeError`` where it cannot be given.
        """
        if not self.are_on:
            raise HandshakeError("This server has no rooms.", kind="room_off")
        speakers = self._config.access.room_speaker_names
        if speakers and caller.key_name not in speakers:
            raise HandshakeError(
                "The holder of this key may not publish in rooms.", kind="room_speaker"
            )
        room = self._rooms.get(name) or Room(name, self._metrics)
        if room.speaker is not None or (
            room.began_at is not None and room.owner != caller.key_name
        ):
            raise HandshakeError(
                "Somebody else speaks in this room: choose another name.",
                kind="room_taken",
            )
        self._rooms[name] = room
        self._stop_closing(room)
        room.owner = caller.key_name
        room.speaker = Publication(self, room)
        return room.speaker

    def began(self, room: Room) -> int:
        """A session begins; how many samples after the room did."""
        now = self._loop.time()
        if room.began_at is None:
            room.began_at = now
            self._metrics.room_opened()
            return 0
        return max(s_to_samples(now - room.began_at), room.text.end)

    def left(self, room: Room, *, has_begun: bool) -> None:
        """A session is over; its room waits for the speaker to come back."""
        room.speaker = None
        if self._is_closed:
            return
        if room.began_at is None:
            self._forget_if_empty(room)
            return
        if has_begun:
            room.set_state(State.LEFT)
        grace_s = self._config.limits.room_grace_s
        room.closing = self._loop.call_later(grace_s, self._end, room)
        # The newest of those that wait stands last.
        self._rooms[room.name] = self._rooms.pop(room.name)
        waiting = [each for each in self._rooms.values() if each.closing is not None]
        for oldest in waiting[: -self._config.limits.max_sessions]:
            self._end(oldest)

    def _end(self, room: Room) -> None:
        """Nobody came back: tell its readers, and make the name free."""
        self._stop_closing(room)
        del self._rooms[room.name]
        self._metrics.room_closed()
        room.set_state(State.OVER)

    def _stop_closing(self, room: Room) -> None:
        if room.closing is not None:
            room.closing.cancel()
            room.closing = None

    # -------------------------------------------------------------------- for readers

    def find(self, name: str) -> Room | None:
        """The room in which somebody speaks, or did a moment ago."""
        room = self._rooms.get(name)
        return room if room is not None and room.began_at is not None else None

    def check_place(self) -> None:
        """Raises ``Overloaded`` where there is no place for one more reader."""
        if self._is_closed:
            raise Overloaded("restarting", wait_minutes=0.1, kind="draining")
        if self._readers >= self._places:
            self._metrics.session_rejected("room_readers")
            raise Overloaded(
                "all places of readers are taken",
                wait_minutes=_FULL_MINUTES,
                kind="room_readers",
            )

    def enter(self, name: str) -> Room:
        """The room of this name, for one more reader, who may come before the speaker.

        To be followed by ``leave``.  Raises as ``check_place``.
        """
        self.check_place()
        if (room := self._rooms.get(name)) is None:
            room = self._rooms[name] = Room(name, self._metrics)
        room.places += 1
        self._readers += 1
        self._metrics.room_reader_came()
        if self._saying_idle is None:
            self._saying_idle = self._loop.call_later(_IDLE_S, self._say_idle)
        return room

    def leave(self, room: Room) -> None:
        """A reader has given up its place."""
        room.places -= 1
        self._readers -= 1
        self._metrics.room_reader_left()
        self._forget_if_empty(room)

    def _forget_if_empty(self, room: Room) -> None:
        """A room that only its readers made goes with the last of them."""
        if room.began_at is None and room.speaker is None and not room.places:
            if self._rooms.get(room.name) is room:
                del self._rooms[room.name]

    def _say_idle(self) -> None:
        self._saying_idle = None
        for room in self._rooms.values():
            room.say_idle()
        if self._readers:
            self._saying_idle = self._loop.call_later(_IDLE_S, self._say_idle)

    # ------------------------------------------------------------------------ the end

    def close(self) -> None:
        """The server stops: tell all readers."""
        self._is_closed = True
        if self._saying_idle is not None:
            self._saying_idle.cancel()
        for room in self._rooms.values():
            self._stop_closing(room)
            room.set_state(State.RESTARTING)
