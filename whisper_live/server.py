"""The listening socket, admission, the pages beside it, and an orderly end.

Builds what all connections share (worker, ingest pool, metrics) around an engine that
is loaded and warm, and at the end flushes every session before it goes.  Signals and
systemd are ``daemon``'s affair.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response
from websockets.typing import Subprotocol

from whisper_live import __version__
from whisper_live.access import Access, Caller, Denied
from whisper_live.config import Config
from whisper_live.connection import Connection, Services
from whisper_live.engine import Engine
from whisper_live.errors import ConfigError, Overloaded
from whisper_live.metrics import CONTENT_TYPE, Metrics
from whisper_live.vad import Detector
from whisper_live.worker import Worker

__all__ = ["Server"]

logger = logging.getLogger("whisper_live.server")

_PING_INTERVAL_S = 10.0
_PING_TIMEOUT_S = 20.0  # a busy browser tab answers late; a dead one never
_CLOSE_TIMEOUT_S = 2.0
_CALLER = "whisper_live_caller"  # attribute of a socket whose upgrade was let through
_RECEIVE_QUEUE = (8, 2)  # messages of at most 1 MiB: bounds a client at 8 MiB
_MEAN_SESSION_MINUTES = 2.0  # told to who waits while nobody has left yet


class Server:
    """One daemon; an async context manager that listens while it is open."""

    def __init__(
        self,
        config: Config,
        *,
        engine: Engine,
        detector: Callable[[], Detector],
        listener: socket.socket | None = None,
    ) -> None:
        """``listener`` is a socket to take over instead of binding one."""
        self._config = config
        self._inherited = listener
        self._access = Access(config.access, config.listen)
        self._tls = _tls_context(config)
        self._engine = engine
        self._metrics = Metrics()
        self._pool = ThreadPoolExecutor(config.limits.ingest_threads, "ingest")
        self._worker = Worker(engine, config.batch, metrics=self._metrics)
        self._connections: set[Connection] = set()
        self._names = itertools.count(1)
        self._draining = False
        self._hurry = asyncio.Event()
        self._services = Services(
            config=config,
            worker=self._worker,
            metrics=self._metrics,
            pool=self._pool,
            ids=itertools.count(1),
            detector=detector,
            languages=engine.info.languages,
            access=self._access,
            admit=self._admit,
        )
        info = engine.info
        self._metrics.describe(
            version=__version__,
            engine=info.name,
            model=info.model,
            device=info.device,
            compute_type=info.compute_type,
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = next(iter(self._listener.sockets)).getsockname()[1]
        return port

    @property
    def metrics(self) -> Metrics:
        """The numbers of this server."""
        return self._metrics

    @property
    def worker(self) -> Worker:
        """The batch worker of this server."""
        return self._worker

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._worker.run())
        limits = self._config.limits
        listen = self._config.listen
        place = (
            {"sock": self._inherited}
            if self._inherited
            else {"host": listen.host, "port": listen.port}
        )
        self._listener: WebSocketServer = await serve(
            self._serve,
            **place,
            ssl=self._tls,
            select_subprotocol=_bearer,
            process_request=self._answer_http,
            compression=None,  # 10 times the CPU of a message, and an amplifier
            server_header=None,
            open_timeout=limits.handshake_timeout_s,
            ping_interval=_PING_INTERVAL_S,
            ping_timeout=_PING_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            max_size=limits.max_message_bytes,
            max_queue=_RECEIVE_QUEUE,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def reload(self) -> None:
        """Take changed keys and a changed certificate over; sessions go on.

        Raises ``ConfigError`` where one cannot be read; the old one stays in force.
        """
        self._access.reload()
        if self._tls is not None:
            _load_certificate(self._tls, self._config)

    async def close(self) -> None:
        """Stop accepting, flush every session, tell it 1012, and let go of all."""
        self._draining = True
        self._listener.close(close_connections=False)
        await self._drain()
        self._listener.close(code=1012, reason="service restart")
        await self._worker.close()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._listener.wait_closed()
        await self._engine.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _drain(self) -> None:
        if not self._connections:
            return
        logger.info("draining %d sessions", len(self._connections))
        drains = [c.drain_and_wait() for c in self._connections]
        ended: asyncio.Future[Any] = asyncio.gather(*drains, return_exceptions=True)
        hurry: asyncio.Future[Any] = asyncio.create_task(self._hurry.wait())
        limit = self._config.limits.drain_timeout_s
        done, late = await asyncio.wait(
            {ended, hurry}, timeout=limit, return_when=asyncio.FIRST_COMPLETED
        )
        if ended not in done:
            left = len(self._connections)
            logger.warning("%d sessions did not end within %g s", left, limit)
        for task in late:
            task.cancel()
        await asyncio.gather(ended, hurry, return_exceptions=True)

    def cut_short(self) -> None:
        """Wait no longer for sessions that are being flushed."""
        self._hurry.set()

    # -------------------------------------------------------------------- connections

    async def _serve(self, socket: ServerConnection) -> None:
        connection = Connection(
            socket,
            self._services,
            name=f"s{next(self._names)}",
            caller=getattr(socket, _CALLER),
        )
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def _admit(self, caller: Caller) -> None:
        """Raise ``Overloaded`` if one more session cannot be carried."""
        limits = self._config.limits
        admitted = [c for c in self._connections if c.is_admitted]
        if self._draining:
            raise Overloaded("restarting", wait_minutes=0.1, kind="draining")
        if len(admitted) >= limits.max_sessions:
            self._turn_away("capacity", admitted)
        if limit := limits.max_sessions_per_address:
            same = [c for c in admitted if c.caller.address == caller.address]
            if len(same) >= limit:
                self._turn_away("address", same)
        if (limit := limits.max_sessions_per_key) and caller.key_name is not None:
            same = [c for c in admitted if c.caller.key_name == caller.key_name]
            if len(same) >= limit:
                self._turn_away("key", same)
        delay = self._worker.queue_delay_s
        if limits.max_queue_delay_s and delay > limits.max_queue_delay_s:
            # Upstream's shape for this case as well: the queue's delay in minutes.
            raise Overloaded(
                f"requests wait {delay:.1f} s", wait_minutes=delay / 60, kind="overload"
            )

    def _turn_away(self, kind: str, holders: Sequence[Connection]) -> None:
        """All places are taken by ``holders``; tell when the first may be free."""
        minutes = _MEAN_SESSION_MINUTES
        if limit := self._config.limits.max_session_s:
            now = asyncio.get_running_loop().time()
            first = min(c.admitted_at for c in holders)
            minutes = max(limit - (now - first), 0.0) / 60
        raise Overloaded("all sessions are taken", wait_minutes=minutes, kind=kind)

    # -------------------------------------------------------------------------- pages

    def _answer_http(
        self, socket: ServerConnection, request: HttpRequest
    ) -> Response | None:
        """Pages for plain requests; None lets a websocket handshake go on."""
        if "websocket" in request.headers.get("Upgrade", "").lower():
            return self._judge(socket, request)
        path = request.path.partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            return _page(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        if path == "/metrics":
            return _page(HTTPStatus.OK, self._metrics.render(), CONTENT_TYPE)
        if path == "/healthz":
            return _page(HTTPStatus.OK, "ok\n")
        if path == "/readyz":
            if self._draining or not self._worker.is_healthy:
                return _page(HTTPStatus.SERVICE_UNAVAILABLE, "not ready\n")
            return _page(HTTPStatus.OK, "ready\n")
        return _page(HTTPStatus.NOT_FOUND, "a websocket server; see /healthz\n")

    def _judge(self, socket: ServerConnection, request: HttpRequest) -> Response | None:
        """Let an upgrade through, or answer why not."""
        peer = socket.remote_address
        offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
        try:
            caller = self._access.check(
                request.path,
                request.headers,
                [name.strip() for name in offered.split(",") if name.strip()],
                str(peer[0]) if peer else "local",
            )
        except Denied as denied:
            self._metrics.session_rejected(denied.kind)
            return _page(denied.status, f"{denied.status.phrase}\n")
        setattr(socket, _CALLER, caller)
        return None


def _bearer(
    connection: ServerConnection, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    """Upstream's way to bring a key from a browser; the key is never echoed."""
    return Subprotocol("bearer") if "bearer" in offered else None


def _tls_context(config: Config) -> ssl.SSLContext | None:
    if not config.access.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_certificate(context, config)
    return context


def _load_certificate(context: ssl.SSLContext, config: Config) -> None:
    """Into a live context as well: new connections get the new certificate."""
    cert, key = config.access.tls_cert, config.access.tls_key
    try:
        context.load_cert_chain(cert, key or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot load the certificate {cert}: {error}") from error


def _page(
    status: HTTPStatus, body: str | bytes, kind: str = "text/plain; charset=utf-8"
) -> Response:
    content = body.encode() if isinstance(body, str) else body
    headers = Headers(
        [
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ]
    )
    return Response(status.value, status.phrase, headers, content)
