"""The listening socket, the pages beside it, and an orderly end.

Builds what all connections share (worker, ingest pool, metrics) around an engine that
is loaded and warm, and at the end flushes every session before it goes.  Signals and
systemd are ``process``' affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import time
from asyncio import sslproto
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from whisper_live import __version__
from whisper_live.config.model import Config
from whisper_live.errors import ConfigError, WhisperLiveError
from whisper_live.inference.engine import Engine
from whisper_live.inference.model_registry import Loader, Model, ModelRegistry
from whisper_live.inference.pool import started_pool
from whisper_live.inference.worker import Worker
from whisper_live.observability.metrics import CONTENT_TYPE, Metrics
from whisper_live.observability.session_log import log_refusal
from whisper_live.protocols.base import Protocol
from whisper_live.protocols.whisperlive.server import WhisperLive
from whisper_live.rate_limit import RateLimit
from whisper_live.server.access import JUDGED_HEADERS, UNIX_PEER, Access, Caller, Denied
from whisper_live.server.admission import Admission, place_page
from whisper_live.server.certificate import Certificate
from whisper_live.server.connection import Connection
from whisper_live.server.handover import HandedOver, StateFolder
from whisper_live.server.http.port import HttpPort
from whisper_live.server.process_limits import most_open_files
from whisper_live.server.receiver import RECEIVE_QUEUE
from whisper_live.server.resume import NoSocket, Resumption
from whisper_live.server.rooms import Rooms
from whisper_live.server.services import Services
from whisper_live.server.socket import (
    CLOSE_TIMEOUT_S,
    CONTROL_BURST,
    CONTROL_PER_S,
    READ_BYTES,
    Socket,
    WebSocket,
)
from whisper_live.text.counted import counted
from whisper_live.vad.silero import Detector

if TYPE_CHECKING:  # it comes with the extra [wyoming]
    from whisper_live.server.wyoming.listener import Listener

__all__ = ["Server"]

logger = logging.getLogger("whisper_live.server")

_RESTS_AFTER_S = 1.0  # without a client
_WYOMING = "wyoming"  # the name under which its clients share the places of one key


# asyncio gives each TLS socket a buffer of 256 KiB before anything is known of its
# peer; a record of TLS has 16 KiB at most.
_TLS_BUFFER_BYTES = 1 << 15


_NO_PAGE = (
    "This port is for WebSockets; its pages are /healthz, /readyz and /metrics. "
    "OpenAI's API, and its page /docs, are on the HTTP port (--http-port).\n"
)
_NO_UPLOADS = (
    "This port takes GET and HEAD without a body. Files are uploaded to /v1/ on the "
    "HTTP port (--http-port).\n"
)


class _Frames(ServerProtocol):
    """Frames of one client, among which not all may be pings.

    Each ping has to be answered: 43,000 of them fit into one read, and a peer that
    resets the connection behind them would cost as many failing writes.
    """

    def __init__(self, given: ServerProtocol) -> None:
        super().__init__(max_size=given.max_message_size, logger=given.logger)
        given.parser.close()  # which refers to it: it would stay for a while
        self._clock = asyncio.get_running_loop().time
        self._control = RateLimit(CONTROL_BURST, CONTROL_PER_S)

    def recv_frame(self, frame: Frame) -> None:
        """As websockets has it, but for frames that only make work."""
        if frame.opcode in CTRL_OPCODES and frame.opcode is not Opcode.CLOSE:
            if not self._control.allows(self._clock()):
                self.fail(1008, "too many control frames")
                return
            if self.state is not State.OPEN:  # it is closing: an answer helps nobody
                return
        super().recv_frame(frame)

    def send_eof(self) -> None:
        """As websockets has it; what it closes on for its body gets an answer first."""
        why = self.handshake_exc.__cause__ if self.handshake_exc else None
        if isinstance(why, NotImplementedError) or "request body" in str(why or ""):
            page = _page(HTTPStatus.METHOD_NOT_ALLOWED, _NO_UPLOADS)
            self.writes.append(page.serialize())
        super().send_eof()

    def data_to_send(self) -> list[bytes]:
        """All in one piece: to a peer that is gone each is a line in asyncio's log."""
        pieces = super().data_to_send()
        joined = b"".join(pieces)
        return [joined] * bool(joined) + [SEND_EOF] * (SEND_EOF in pieces)


class _Socket(ServerConnection):
    """Knows who calls, and can be freed at once when the peer is gone.

    A socket of websockets refers to itself.  With what it had received (up to 8 MiB)
    it would stay until the collector's next full round, hundreds of clients later.
    """

    caller: Caller  # of an upgrade that was let through
    unmade: dict[_Socket, float]  # those in a TLS handshake, and since when

    def __init__(
        self, protocol: ServerProtocol, server: WebSocketServer, **options: Any
    ) -> None:
        super().__init__(_Frames(protocol), server, **options)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.unmade.pop(self, None)
        super().connection_made(transport)
        setattr(transport, "max_size", READ_BYTES)

    def send_data(self) -> None:
        """As websockets has it, but nothing to a peer that is gone."""
        if self.transport.is_closing():
            self.protocol.data_to_send()
        else:
            super().send_data()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.protocol.parser.close()
        for error in (self.connection_exc, self.protocol.parser_exc):
            if error is not None:
                error.__traceback__ = None  # its frames hold the socket


class Server:
    """One daemon; an async context manager that listens while it is open."""

    def __init__(
        self,
        config: Config,
        *,
        engine: Engine,
        detector: Callable[[], Detector],
        listener: socket.socket | None = None,
        wyoming: socket.socket | None = None,
        loader: Loader | None = None,
        at_rest: Callable[[], None] = lambda: None,
    ) -> None:
        """``listener`` is a socket to take over instead of binding one.

        ``wyoming`` is the one for Home Assistant, bound; without it there is no such
        port.
        ``loader`` brings the further models of the settings; none without it.
        ``at_rest`` is called, in a thread, when the last client has been gone for a
        second.
        """
        self._config = config
        self._inherited = listener
        self._at_rest = at_rest
        self._resting: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._unmade: dict[_Socket, float] = {}
        self._access = Access(config.access, config.listen)
        self._tls = Certificate(config.access) if config.access.tls_cert else None
        self._engine = engine
        self._metrics = Metrics()
        self._pool = started_pool(config.limits.ingest_threads, "ingest")
        self._worker = Worker(engine, config.batch, metrics=self._metrics)
        main = Model("", self._worker, engine.info.languages)
        self._registry = ModelRegistry(
            config, main=main, metrics=self._metrics, loader=loader
        )
        self._connections: set[Connection] = set()
        self._restored: set[asyncio.Task[None]] = set()
        self._names = itertools.count(1)
        self._draining = False
        self._hurry = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._admission = Admission(
            config.limits,
            clock=self._loop.time,
            queue_delay_s=self._registry.queue_delay_s,
        )
        self._rooms = Rooms(config, self._metrics, most_files=most_open_files())
        self._services = Services(
            config=config,
            registry=self._registry,
            metrics=self._metrics,
            pool=self._pool,
            ids=itertools.count(1),
            detector=detector,
            access=self._access,
            admission=self._admission,
            resumption=Resumption(wait_s=config.limits.resume_s, clock=self._loop.time),
            state=_state_folder(config),
            rooms=self._rooms,
        )
        self._wyoming = self._for_wyoming(wyoming) if wyoming is not None else None
        self._http: HttpPort | None = None
        if config.listen.http_port:
            self._http = HttpPort(
                self._services,
                tls=self._tls.context if self._tls is not None else None,
                is_ready=lambda: self._is_ready,
                serve=self._run,
                rested=lambda: self._rest_in(_RESTS_AFTER_S),
            )
        self._metrics.ask_behind(self._admission.behind_s)
        self._metrics.offer_places(config.limits.max_sessions)
        info = engine.info
        self._metrics.describe(
            version=__version__,
            engine=info.name,
            model=info.model,
            device=info.device,
            compute_type=info.compute_type,
            weights=info.weights,
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = next(iter(self._listener.sockets)).getsockname()[1]
        return port

    @property
    def http_port(self) -> int:
        """The port of the REST API; 0 where there is none."""
        return self._http.port if self._http is not None else 0

    @property
    def address(self) -> str:
        """What is listened on, as ``host:port`` or the path of a Unix socket."""
        name = next(iter(self._listener.sockets)).getsockname()
        if isinstance(name, str):
            return name
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def wyoming_port(self) -> int:
        """Home Assistant's port; 0 where there is none."""
        return self._wyoming.port if self._wyoming is not None else 0

    @property
    def metrics(self) -> Metrics:
        """The numbers of this server."""
        return self._metrics

    @property
    def rooms(self) -> Rooms:
        """The rooms of this server."""
        return self._rooms

    @property
    def worker(self) -> Worker:
        """The batch worker of this server."""
        return self._worker

    async def __aenter__(self) -> Self:
        try:
            self._listener = await self._listen()
            if self._http is not None:
                await self._open_http(self._http)
        except OSError as error:
            raise ConfigError(f"cannot listen: {error.strerror or error}") from error
        self._metrics.listens_for_http(self.http_port)
        self._running = asyncio.create_task(self._worker.run())
        if self._wyoming is not None:
            await self._wyoming.start()
        if self._services.state is not None:
            for session in self._services.state.take():
                task = asyncio.create_task(self._restore(session))
                self._restored.add(task)
                task.add_done_callback(self._restored.discard)
        return self

    async def _restore(self, session: HandedOver) -> None:
        """Go on with a session of the daemon before, if its key is still in force."""
        if self._access.needs_key and not self._access.has_key(session.key_name):
            return
        socket = NoSocket()
        protocol = WhisperLive(self._config.speech)
        caller = Caller(session.address, session.key_name)
        try:
            await self._converse(
                *(socket, protocol, caller),
                lambda connection: connection.restore(session, socket),
            )
        except WhisperLiveError as error:
            self._metrics.error(error.kind)
            logger.error("a session of before cannot go on: %s", error.kind)

    async def _open_http(self, port: HttpPort) -> None:
        try:
            await port.open()
        except OSError:
            self._listener.close()
            await port.close()
            raise

    async def _listen(self) -> WebSocketServer:
        limits = self._config.limits
        listen = self._config.listen
        if self._tls is not None:
            sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
        place = (
            {"sock": self._inherited}
            if self._inherited
            else {"host": listen.host, "port": listen.port}
        )
        return await serve(
            self._serve,
            **place,
            ssl=self._tls.context if self._tls is not None else None,
            process_request=self._answer_http,
            process_response=_bearer,
            create_connection=self._connect,  # type: ignore[arg-type]
            compression=None,  # 10 times the CPU of a message, and an amplifier
            server_header=None,
            open_timeout=limits.handshake_timeout_s,
            ping_interval=None,  # `keepalive` pings
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=limits.max_message_bytes,
            max_queue=RECEIVE_QUEUE,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def reload_keys(self) -> None:
        """Take changed keys over; sessions go on.

        Raises ``ConfigError`` where they cannot be used; the old ones stay in force.
        """
        self._access.reload()

    def reload_certificate(self) -> None:
        """Show new connections a changed certificate; others go on.

        Raises ``ConfigError`` where it and its key cannot be used; the old pair stays
        in force.
        """
        if self._tls is not None:
            self._tls.reload()

    async def close(self) -> None:
        """Stop accepting, flush every session, tell it 1012, and let go of all."""
        self._draining = True
        self._admission.close()
        self._listener.close(close_connections=False)
        if self._wyoming is not None:
            self._wyoming.stop()
        if self._http is not None:
            self._http.stop_listening()
        await self._drain()
        await asyncio.gather(*[c.leave() for c in self._connections])
        self._rooms.close()
        if self._wyoming is not None:
            await self._wyoming.close()
        await self._worker.close()
        await self._registry.close()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        # Who is still in the opening handshake is not waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._listener.wait_closed()
        if self._http is not None:
            await self._http.close()
        await self._engine.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _drain(self) -> None:
        uploads = self._http.uploads if self._http is not None else None
        drains = [asyncio.create_task(c.drain_and_wait()) for c in self._connections]
        if sessions := len(drains):
            logger.info("draining %s", counted(sessions, "session"))
        if uploads is not None and uploads.under_way:
            logger.info("draining %s", counted(uploads.under_way, "upload"))
            drains.append(asyncio.create_task(uploads.wait()))
        if not drains:
            return
        hurry = asyncio.create_task(self._hurry.wait())
        ended = asyncio.create_task(asyncio.wait(drains))
        await asyncio.wait(
            [ended, hurry],
            timeout=self._config.limits.drain_timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if left := sum(not drain.done() for drain in drains[:sessions]):
            logger.warning("%s closed without the last text", counted(left, "session"))
        for task in (*drains, hurry, ended):
            task.cancel()
        await asyncio.gather(*drains, hurry, ended, return_exceptions=True)
        if uploads is not None:
            uploads.abandon()

    def cut_short(self) -> None:
        """Wait no longer for sessions that are being flushed."""
        self._hurry.set()

    # -------------------------------------------------------------------- connections

    def _connect(
        self, protocol: ServerProtocol, server: WebSocketServer, **options: Any
    ) -> _Socket:
        """Somebody is there, who may get no further than half a TLS handshake."""
        socket = _Socket(protocol, server, **options)
        socket.unmade = self._unmade
        self._unmade[socket] = self._loop.time()
        self._look_after_unmade()
        return socket

    def _look_after_unmade(self) -> None:
        if self._looking is None:
            after_s = self._config.limits.handshake_timeout_s + _RESTS_AFTER_S
            self._looking = self._loop.call_later(after_s, self._let_unmade_go)

    def _let_unmade_go(self) -> None:
        """A TLS handshake that fails says nothing; one that is this old has failed."""
        self._looking = None
        since = self._loop.time() - self._config.limits.handshake_timeout_s
        failed = [each for each, at in self._unmade.items() if at < since]
        for each in failed:
            del self._unmade[each]
        if failed:
            self._rest_in(_RESTS_AFTER_S)
        if self._unmade:
            self._look_after_unmade()

    async def _serve(self, socket: ServerConnection) -> None:
        assert isinstance(socket, _Socket), "made by `create_connection`"
        protocol = WhisperLive(self._config.speech)
        await self._run(WebSocket(socket), protocol, socket.caller)

    async def _run(self, socket: Socket, protocol: Protocol, caller: Caller) -> None:
        """One client's session, on either port."""
        await self._converse(socket, protocol, caller, Connection.run)

    async def _converse(
        self,
        socket: Socket,
        protocol: Protocol,
        caller: Caller,
        serve: Callable[[Connection], Awaitable[None]],
    ) -> None:
        connection = Connection(
            socket,
            protocol,
            self._services,
            name=f"s{next(self._names)}",
            caller=caller,
        )
        self._connections.add(connection)
        try:
            await serve(connection)
        finally:
            self._connections.discard(connection)
            if not self._connections:
                self._rest_in(_RESTS_AFTER_S)

    def _for_wyoming(self, listening: socket.socket) -> Listener:
        from whisper_live.protocols.wyoming.info import describe
        from whisper_live.server.wyoming.link import Host, Utterance
        from whisper_live.server.wyoming.listener import Listener

        async def converse(utterance: Utterance, protocol: Protocol) -> None:
            # Who may come was decided by address: this wire shows no key.
            key_name = _WYOMING if self._access.needs_key else None
            caller = Caller(utterance.peer, key_name)
            await self._run(utterance, protocol, caller)

        info = describe(self._config, __version__, self._engine.info.languages)
        refused = self._metrics.session_rejected
        return Listener(listening, Host(self._config, info, refused, converse))

    def _rest_in(self, seconds: float) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._resting = self._loop.call_later(seconds, self._rest)

    def _rest(self) -> None:
        uploads = self._http.uploads.under_way if self._http is not None else 0
        if not self._connections and not uploads and not self._draining:
            self._loop.run_in_executor(self._pool, self._at_rest)

    # -------------------------------------------------------------------------- pages

    def _answer_http(
        self, socket: ServerConnection, request: HttpRequest
    ) -> Response | None:
        """Pages for plain requests; None lets a websocket handshake go on."""
        if "websocket" in ",".join(request.headers.get_all("Upgrade")).lower():
            return self._judge(socket, request)
        path = request.path.partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            return _page(HTTPStatus.METHOD_NOT_ALLOWED, _NO_UPLOADS)
        if path == "/metrics":
            return self._metrics_page(socket, request)
        if path == "/healthz":
            return _page(HTTPStatus.OK, "ok\n")
        if path == "/readyz":
            if not self._is_ready:
                return _page(HTTPStatus.SERVICE_UNAVAILABLE, "not ready\n")
            return _page(HTTPStatus.OK, "ready\n")
        if path == "/readyz/place":
            return _page(*place_page(self._is_ready, self._admission))
        return _page(HTTPStatus.NOT_FOUND, _NO_PAGE)

    @property
    def _is_ready(self) -> bool:
        return not self._draining and self._worker.is_healthy

    def _metrics_page(self, socket: ServerConnection, request: HttpRequest) -> Response:
        headers = _joined(request.headers)
        peer, own = _host(socket.remote_address), _host(socket.local_address)
        try:
            self._access.check_metrics(request.path, headers, peer, own)
        except Denied as denied:
            log_refusal(logger, denied.kind, peer=denied.address)
            return _page(denied.status, "only this machine sees it, or with a key\n")
        return _page(HTTPStatus.OK, self._metrics.render(), CONTENT_TYPE)

    def _judge(self, socket: ServerConnection, request: HttpRequest) -> Response | None:
        """Let an upgrade through, or answer why not."""
        assert isinstance(socket, _Socket), "made by `create_connection`"
        try:
            caller = self._access.check(
                request.path,
                _joined(request.headers),
                _offered(request.headers),
                _host(socket.remote_address),
            )
        except Denied as denied:
            self._metrics.session_rejected(denied.kind)
            log_refusal(logger, denied.kind, peer=denied.address)
            return _page(denied.status, f"{denied.status.phrase}\n")
        socket.caller = caller
        return None


def _state_folder(config: Config) -> StateFolder | None:
    path = config.limits.state_dir
    return StateFolder(Path(path), clock=time.time) if path else None


def _host(address: Any) -> str:
    """The host of one end of a socket."""
    return str(address[0]) if isinstance(address, tuple) else UNIX_PEER


def _joined(headers: Headers) -> dict[str, str]:
    """The headers to be judged; one that is repeated becomes a list, as in RFC 9110.

    A repeated Origin or key is then no origin and no key of ours.
    """
    given = {name: headers.get_all(name) for name in JUDGED_HEADERS}
    return {name: ", ".join(values) for name, values in given.items() if values}


def _bearer(socket: ServerConnection, request: HttpRequest, response: Response) -> None:
    """Upstream's way to bring a key from a browser; the key is never echoed.

    Not by ``select_subprotocol``: with it websockets would tie each socket to itself.
    """
    if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
        if "bearer" in _offered(request.headers):
            response.headers["Sec-WebSocket-Protocol"] = "bearer"


def _offered(headers: Headers) -> list[str]:
    """The subprotocols that a client names."""
    names = ",".join(headers.get_all("Sec-WebSocket-Protocol")).split(",")
    return [name.strip() for name in names if name.strip()]


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
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET, HEAD"
    return Response(status.value, status.phrase, headers, content)
