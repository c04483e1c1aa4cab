"""The listening socket, admission, the pages beside it, and an orderly end.

Builds what all connections share (engine, worker, ingest pool, metrics), announces
itself only after the engine has been loaded and run, and at shutdown flushes every
session before it goes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from types import TracebackType
from typing import Self

from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from whisper_live import __version__, log
from whisper_live.config import Config
from whisper_live.connection import Connection, Services
from whisper_live.engine import Engine
from whisper_live.errors import Overloaded
from whisper_live.metrics import CONTENT_TYPE, Metrics
from whisper_live.vad import Detector, SileroModel
from whisper_live.worker import Worker

__all__ = ["Server", "load_engine", "run"]

logger = logging.getLogger("whisper_live.server")

_PING_INTERVAL_S = 10.0
_PING_TIMEOUT_S = 20.0  # a busy browser tab answers late; a dead one never
_CLOSE_TIMEOUT_S = 2.0
_RECEIVE_QUEUE = (8, 2)  # messages of at most 1 MiB: bounds a client at 8 MiB
_MEAN_SESSION_MINUTES = 2.0  # told to who waits while nobody has left yet


def load_engine(
    config: Config, progress: Callable[[str], None]
) -> tuple[Engine, Callable[[], Detector]]:
    """The engine that was asked for, loaded and run once, and its speech detector.

    Raises ``ConfigError`` or ``EngineUnavailable`` with one clear sentence.
    """
    if config.engine.engine == "oracle":
        from whisper_live.engine.oracle import OracleDetector, build_oracle

        return build_oracle(config), OracleDetector
    from whisper_live.engine import local

    engine = local.load(
        config.engine, max_batch=config.batch.batch_size, progress=progress
    )
    engine.warm_up(progress)
    return engine, SileroModel().detector


class Server:
    """One daemon; an async context manager that listens while it is open."""

    def __init__(
        self,
        config: Config,
        *,
        engine: Engine,
        detector: Callable[[], Detector],
    ) -> None:
        self._config = config
        self._engine = engine
        self._metrics = Metrics()
        self._pool = ThreadPoolExecutor(config.limits.ingest_threads, "ingest")
        self._worker = Worker(engine, config.batch, metrics=self._metrics)
        self._connections: set[Connection] = set()
        self._names = itertools.count(1)
        self._draining = False
        self._services = Services(
            config=config,
            worker=self._worker,
            metrics=self._metrics,
            pool=self._pool,
            ids=itertools.count(1),
            detector=detector,
            languages=engine.info.languages,
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
        self._listener: WebSocketServer = await serve(
            self._serve,
            self._config.listen.host,
            self._config.listen.port,
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
        ended = [asyncio.create_task(c.drain_and_wait()) for c in self._connections]
        limit = self._config.limits.drain_timeout_s
        _, late = await asyncio.wait(ended, timeout=limit)
        if late:
            logger.warning("%d sessions did not end within %g s", len(late), limit)
        for task in late:
            task.cancel()

    # -------------------------------------------------------------------- connections

    async def _serve(self, socket: ServerConnection) -> None:
        connection = Connection(socket, self._services, name=f"s{next(self._names)}")
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def _admit(self) -> None:
        """Raise ``Overloaded`` if one more session cannot be carried."""
        if self._draining:
            raise Overloaded("restarting", wait_minutes=0.1, kind="draining")
        sessions = sum(c.is_admitted for c in self._connections)
        if sessions >= self._config.limits.max_sessions:
            raise Overloaded(
                f"all {self._config.limits.max_sessions} sessions are taken",
                wait_minutes=self._wait_minutes(),
                kind="capacity",
            )

    def _wait_minutes(self) -> float:
        """Minutes until a session must end; a guess where nothing limits them."""
        limit = self._config.limits.max_session_s
        if not limit:
            return _MEAN_SESSION_MINUTES
        now = asyncio.get_running_loop().time()
        left = [
            limit - (now - c.admitted_at) for c in self._connections if c.is_admitted
        ]
        return max(min(left, default=0.0), 0.0) / 60

    # -------------------------------------------------------------------------- pages

    def _answer_http(
        self, socket: ServerConnection, request: HttpRequest
    ) -> Response | None:
        """Pages for plain requests; None lets a websocket handshake go on."""
        if "websocket" in request.headers.get("Upgrade", "").lower():
            return None
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


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; the exit code of the command."""
    log.setup(config.log)
    engine, detector = load_engine(config, logger.info)
    return asyncio.run(_run(config, engine, detector))


async def _run(config: Config, engine: Engine, detector: Callable[[], Detector]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    info = engine.info
    async with Server(config, engine=engine, detector=detector) as server:
        logger.info(
            "model %s on %s %s: %d at a time in batches of %d",
            info.model,
            info.device,
            info.compute_type,
            info.workers,
            min(config.batch.batch_size, info.max_batch),
        )
        if info.is_demo:
            logger.warning(
                "the demo model knows a few hundred words; it is not for real use"
            )
        print(f"listening on ws://{config.listen.host}:{server.port}", flush=True)
        await stop.wait()
        logger.info("stopping")
    return 0
