"""How a room is read over HTTP: Server-Sent Events and live subtitles.

Owns one reader's connection, from whether there is a place for it to its end.  A reader
that takes nothing for ``patience_s``, or for whom the next line is not kept any more,
is told so and closed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import HttpVersion11, web

from whisper_live.observability.metrics import Metrics
from whisper_live.protocols.openai_rest import RequestError
from whisper_live.protocols.room_events import ROOM_NAME
from whisper_live.server.room import EVENTS, SUBTITLES, View
from whisper_live.server.rooms import Fate, Reader, Room, Rooms

__all__ = ["ROOM_PATH", "RoomPages"]

ROOM_PATH = f"/room/{{name:{ROOM_NAME}}}"

# What the system does not take is kept by the room, once for all readers: as soon as a
# byte waits, its reader is written to no more.  (With 0 TLS would pause at once.)
_WAITING_BYTES = 1
_SYSTEM_BYTES = 1 << 14  # Linux doubles it, and by itself would take up to 4 MB
_FAREWELL_S = 10.0  # for a peer to read the last of what it is told
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class RoomPages:
    """Answers what readers ask for below ``/room/NAME``."""

    def __init__(
        self,
        rooms: Rooms,
        metrics: Metrics,
        *,
        check: Callable[[web.Request], None],
        patience_s: float,
    ) -> None:
        """``check`` raises for who may not read.

        ``patience_s`` is how long a reader may take no byte of what waits for it.
        """
        self._rooms = rooms
        self._metrics = metrics
        self._check = check
        self._patience_s = patience_s

    async def events(self, request: web.Request) -> web.StreamResponse:
        """All that a room tells, as Server-Sent Events."""
        self._check(request)
        return await self._answer(request, EVENTS)

    async def subtitles(self, request: web.Request) -> web.StreamResponse:
        """Its lines as WebVTT, which goes on until the speaker leaves.

        With ``live=0`` it ends with what has been said so far.
        """
        self._check(request)
        room = self._rooms.find(request.match_info["name"])
        if room is None:
            message = "Nobody speaks in this room."
            raise RequestError(message, status=HTTPStatus.NOT_FOUND, code="no_room")
        if request.query.get("live") == "0":
            return web.Response(
                body=room.text.subtitles(),
                headers=_HEADERS,
                content_type=SUBTITLES.content_type,
                charset="utf-8",
            )
        return await self._answer(request, SUBTITLES)

    async def _answer(self, request: web.Request, view: View) -> web.StreamResponse:
        if request.method == "HEAD":  # a page asks what keeps it from reading
            self._rooms.check_place()
            return web.Response(headers=_HEADERS, content_type=view.content_type)
        room = self._rooms.enter(request.match_info["name"])
        try:
            reading = _Reading(
                request,
                room,
                view,
                patience_s=self._patience_s,
                dropped=self._metrics.room_reader_dropped,
            )
            await reading.run()
            return reading.response
        finally:
            self._rooms.leave(room)


class _Reading:
    """One reader, from the head of the answer to its end."""

    def __init__(
        self,
        request: web.Request,
        room: Room,
        view: View,
        *,
        patience_s: float,
        dropped: Callable[[str], None],
    ) -> None:
        """``dropped`` is told why, where the reader does not keep up."""
        self._request = request
        self._room = room
        self._view = view
        self._patience_s = patience_s
        self._dropped = dropped
        is_chunked = request.version >= HttpVersion11
        self._frame = _chunk if is_chunked else _as_it_is
        self.response = web.StreamResponse(headers=_HEADERS)
        self.response.content_type = view.content_type
        self.response.charset = "utf-8"
        self.response.force_close()
        if is_chunked:
            self.response.enable_chunked_encoding()

    async def run(self) -> None:
        """Tell it everything until the end."""
        await self.response.prepare(self._request)
        wire = _Wire(self._request)
        last_id = self._request.headers.get("Last-Event-ID", "")
        greeting, mark = self._view.greet(self._room.text, last_id)
        wire.write(self._frame(greeting))
        reader = Reader(self._view, mark, wire, self._frame)
        try:
            fate = await self._tell(reader, wire)
            if fate is not Fate.TOLD:
                wire.write(self._frame(self._view.too_slow))
                self._dropped(fate.value)
            await self._finish(wire)
        except BaseException:
            wire.abort()  # what it has not read by now helps nobody
            raise

    async def _tell(self, reader: Reader, wire: _Wire) -> Fate:
        """All that the room tells; why there is no more."""
        self._room.join(reader)
        try:
            while (fate := await reader.fate) is Fate.FULL:
                if not await wire.has_drained(self._patience_s):
                    return Fate.STALLED
                self._room.go_on(reader)
            return fate
        finally:
            self._room.leave(reader)

    async def _finish(self, wire: _Wire) -> None:
        """End the answer; a peer that still takes nothing has had its time."""
        end = asyncio.create_task(self.response.write_eof())
        end.add_done_callback(_forgive)
        await asyncio.wait({end}, timeout=_FAREWELL_S)
        if not end.done():
            wire.abort()
        await end


class _Wire:
    """The ``Sink`` of one request's connection."""

    def __init__(self, request: web.Request) -> None:
        if request.transport is None:
            raise ConnectionResetError("the peer is gone")
        self._protocol = request.protocol
        self._writer = request.writer
        self._drain: asyncio.Task[None] | None = None
        self._transport = request.transport
        self._transport.set_write_buffer_limits(_WAITING_BYTES)
        if (below := self._transport.get_extra_info("socket")) is not None:
            below.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SYSTEM_BYTES)

    @property
    def is_full(self) -> bool:
        """See ``Sink``."""
        return self._protocol.writing_paused

    @property
    def is_gone(self) -> bool:
        """See ``Sink``."""
        return self._transport.is_closing()

    def write(self, framed: bytes) -> None:
        """See ``Sink``."""
        self._transport.write(framed)

    async def has_drained(self, patience_s: float) -> bool:
        """Wait until the peer has read; False once it took no byte for so long.

        Raises ``ConnectionError`` where it is gone.  aiohttp's ``drain`` must not be
        cancelled, as by a timeout: whoever drains afterwards would be as well.
        """
        if self._drain is None:
            self._drain = asyncio.create_task(self._writer.drain())
            self._drain.add_done_callback(_forgive)
        while not self._drain.done():
            unread = self._transport.get_write_buffer_size()
            await asyncio.wait({self._drain}, timeout=patience_s)
            is_smaller = self._transport.get_write_buffer_size() < unread
            if not self._drain.done() and not is_smaller:
                return False
        drain, self._drain = self._drain, None
        drain.result()
        return True

    def abort(self) -> None:
        """Close it, whatever waits."""
        self._transport.abort()


def _forgive(task: asyncio.Task[None]) -> None:
    """What nobody may await any more, a lost connection, is no news."""
    if not task.cancelled():
        task.exception()


def _chunk(piece: bytes) -> bytes:
    """A piece of an answer of HTTP/1.1, as ``StreamResponse.write`` would make it.

    It is made once for all readers, and written past aiohttp, whose ``write`` is a
    coroutine that frames anew for each of them.
    """
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _as_it_is(piece: bytes) -> bytes:
    """HTTP/1.0 ends an answer with the connection."""
    return piece
