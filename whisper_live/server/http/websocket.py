"""aiohttp's way to give a connection its socket; see ``server.socket``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence

from aiohttp import WSMessage, WSMsgType, web
from aiohttp.http_websocket import WebSocketError

from whisper_live.rate_limit import RateLimit
from whisper_live.server.socket import (
    CLOSE_TIMEOUT_S,
    CONTROL_BURST,
    CONTROL_PER_S,
    SocketClosed,
)

__all__ = ["AiohttpSocket"]

_QUEUED_MESSAGES = 8  # as on the other port: bounds a client at 8 MiB


class AiohttpSocket:
    """A ``Socket`` carried by aiohttp's server; ``run`` must run while it is used.

    aiohttp answers a peer's close and its pings only while somebody receives, and a
    connection does not always: it may wait for a model, or for room.
    """

    def __init__(
        self,
        peer: str,
        transport: asyncio.Transport | None,
        *,
        max_size: int,
        protocols: Sequence[str] = (),
    ) -> None:
        """``protocols`` are the subprotocols that may be chosen."""
        self._transport = transport
        self.response: web.WebSocketResponse = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT_S,
            autoping=False,  # not all may be answered, see `_control`
            compress=False,
            max_msg_size=max_size,
            protocols=protocols,
        )
        self._peer = peer
        self._received: asyncio.Queue[str | bytes | None] = asyncio.Queue(
            _QUEUED_MESSAGES
        )
        self._closed = asyncio.Event()
        self._pongs: dict[bytes, asyncio.Future[None]] = {}
        self._pings = 0
        self._limit = RateLimit(CONTROL_BURST, CONTROL_PER_S)
        self._own_close_code = 0
        self._is_closing = False  # what still comes is of no use

    async def run(self) -> None:
        """Take what comes until it is closed, by whomever."""
        try:
            while await self._handle(await self.response.receive()):
                pass
        finally:
            self._closed.set()
            for pong in self._pongs.values():
                if not pong.done():
                    pong.set_result(None)  # see `_answer`
        await self._received.put(None)  # behind what came before

    async def _handle(self, message: WSMessage) -> bool:
        """One message; whether another can come."""
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                if not self._is_closing:
                    await self._received.put(message.data)
            case WSMsgType.PING | WSMsgType.PONG:
                await self._control(message)
            case WSMsgType.ERROR:
                if isinstance(message.data, WebSocketError):
                    self._own_close_code = int(message.data.code)
                return False
            case _:
                return False
        return True

    async def _control(self, message: WSMessage) -> None:
        """A ping or its answer; thousands of them fit into one read."""
        if not self._limit.allows(asyncio.get_running_loop().time()):
            await self._close(1008, "too many control frames")
        elif message.type is WSMsgType.PING:
            with contextlib.suppress(ConnectionError):
                await self.response.pong(message.data)
        elif pong := self._pongs.pop(bytes(message.data), None):
            if not pong.done():
                pong.set_result(None)

    def lost(self) -> None:
        """The connection below it is gone, whatever of it has not been read yet."""
        self._closed.set()

    @property
    def peer(self) -> str:
        """See ``Socket``."""
        return self._peer

    async def receive(self) -> str | bytes:
        """See ``Socket``."""
        message = await self._received.get()
        if message is None:
            self._received.put_nowait(None)  # for who asks again
            raise SocketClosed
        return message

    async def send(self, text: str) -> None:
        """See ``Socket``."""
        if self._closed.is_set() or self.response.closed:
            raise SocketClosed
        try:
            await self.response.send_str(text)
        except (ConnectionError, RuntimeError) as error:
            raise SocketClosed from error

    async def ping(self) -> Awaitable[object]:
        """See ``Socket``."""
        if self._closed.is_set() or self.response.closed:
            raise SocketClosed
        self._pings += 1
        data = str(self._pings).encode()
        pong = self._pongs[data] = asyncio.get_running_loop().create_future()
        try:
            await self.response.ping(data)
        except (ConnectionError, RuntimeError) as error:
            raise SocketClosed from error
        return self._answer(data, pong)

    async def _answer(self, data: bytes, pong: asyncio.Future[None]) -> None:
        try:
            await pong
        finally:
            self._pongs.pop(data, None)
        if self._closed.is_set():
            raise SocketClosed

    async def close(self, code: int, reason: str = "") -> None:
        """See ``Socket``."""
        self._is_closing = True
        while not self._received.empty():  # `run` may be waiting for room
            self._received.get_nowait()
        await self._close(code, reason)
        await self._closed.wait()

    async def _close(self, code: int, reason: str) -> None:
        if self.response.closed:
            return
        self._own_close_code = code
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S + 1):
                await self.response.close(code=code, message=reason.encode())
        except TimeoutError:  # it reads nothing: what it was to be sent stays
            if self._transport is not None:
                self._transport.abort()
        except (ConnectionError, RuntimeError):
            pass

    async def wait_closed(self) -> None:
        """See ``Socket``."""
        await self._closed.wait()

    @property
    def own_close_code(self) -> int:
        """See ``Socket``."""
        return self._own_close_code

    @property
    def peer_close_code(self) -> int:
        """See ``Socket``."""
        # aiohttp has its own close for answered once it is written, while somebody
        # reads; 1006 is a connection that broke.
        code = self.response.close_code
        return 0 if code is None or code == 1006 else int(code)
