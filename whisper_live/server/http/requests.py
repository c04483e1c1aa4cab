"""One connection of the HTTP port: aiohttp's, but for peers that speak no HTTP.

aiohttp logs each of them as an error with a traceback, and closes while they still
send, which loses the answer.  Here they are told, counted, and a line in the log.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from whisper_live.protocols.openai_rest import Failure

__all__ = ["Requests", "limit_unread"]

_LINGER_S = 2.0  # for what a peer still sends before it reads why that is of no use


class Requests(web.RequestHandler):
    """The requests of one peer, one behind the other."""

    __slots__ = ("_is_refused", "_refused")

    def __init__(
        self,
        server: web.Server,
        *,
        refused: Callable[[web.BaseRequest], None],
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        """``refused`` is told of a peer that speaks no HTTP; the rest is aiohttp's."""
        super().__init__(server, loop=loop, **options)
        self._refused = refused
        self._is_refused = False

    def data_received(self, data: bytes) -> None:
        """As aiohttp has it, until nothing more is understood."""
        if not self._is_refused:
            super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """As aiohttp has it, but for what is the peer's doing."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self._is_refused = True
        self._refused(request)
        failure = Failure(400, "This is no valid HTTP request.", code="bad_http")
        if isinstance(exc, LineTooLong):
            failure = Failure(431, "A header is too long.", code="header_too_long")
        return _LastAnswer(failure)


class _LastAnswer(web.Response):
    """An answer to a peer that may still be sending.

    To close with anything unread resets the connection, and the peer never sees it.
    """

    def __init__(self, failure: Failure) -> None:
        text = web.json_response(failure.body).text
        kind = "application/json"
        super().__init__(status=failure.status, text=text, content_type=kind)
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it, then wait for the peer to go; cancelled when it has gone."""
        await super().write_eof(data)
        await asyncio.sleep(_LINGER_S)


def limit_unread(listener: asyncio.Server, limit_s: float) -> None:
    """Let the system end connections whose peer takes nothing of what it is sent.

    aiohttp waits for them without an end.  Those that are accepted inherit it.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        for each in listener.sockets:
            each.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(limit_s * 1000)
            )
