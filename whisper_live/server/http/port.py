"""The HTTP port: OpenAI's REST API, the pages, and WhisperLive's socket beside them.

Owns the listening socket, who may come in, the answer to whatever goes wrong, and the
end.  What is transcribed is ``transcriptions``' affair, what a socket says the
connection's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from whisper_live.errors import Overloaded, WhisperLiveError
from whisper_live.inference.pool import started_pool
from whisper_live.inference.types import Task
from whisper_live.observability.metrics import CONTENT_TYPE
from whisper_live.observability.session_log import log_refusal
from whisper_live.protocols.base import Protocol
from whisper_live.protocols.languages import LANGUAGES, language_name
from whisper_live.protocols.openai_realtime import OpenAIRealtime, read_secret_request
from whisper_live.protocols.openai_rest import (
    Failure,
    RequestError,
    failure_of,
    models_body,
)
from whisper_live.protocols.room_events import check_room_name
from whisper_live.protocols.whisperlive.server import WhisperLive
from whisper_live.server.access import (
    JUDGED_HEADERS,
    UNIX_PEER,
    Caller,
    Denied,
    shown_key,
)
from whisper_live.server.admission import place_page
from whisper_live.server.http import openapi
from whisper_live.server.http.pages import Pages
from whisper_live.server.http.requests import Requests, limit_unread
from whisper_live.server.http.room_pages import ROOM_PATH, RoomPages
from whisper_live.server.http.secrets import Secret, Secrets
from whisper_live.server.http.transcriptions import Transcriptions
from whisper_live.server.http.websocket import AiohttpSocket
from whisper_live.server.quota import Quota
from whisper_live.server.services import Services
from whisper_live.server.socket import READ_BYTES, Socket

__all__ = ["HttpPort"]

logger = logging.getLogger("whisper_live.server")

ServeSocket = Callable[[Socket, Protocol, Caller], Awaitable[None]]

_API = "/v1/"  # below it a key is needed, and errors are in OpenAI's shape
_REALTIME = "/v1/realtime"
CALLER = web.RequestKey("caller", Caller)
_CLOSE_S = 1.0  # for answers under way, once all work has ended
_CORS = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*, Authorization",
    "Access-Control-Max-Age": "600",
}


class HttpPort:
    """One listening port of a server; ``open`` it, and in the end ``close`` it."""

    def __init__(
        self,
        services: Services,
        *,
        tls: ssl.SSLContext | None,
        is_ready: Callable[[], bool],
        serve: ServeSocket,
        rested: Callable[[], None],
    ) -> None:
        """``serve`` runs one socket's session from its first message to its close.

        ``rested`` is called when no upload is left.
        """
        self._services = services
        self._access = services.access
        self._tls = tls
        self._is_ready = is_ready
        self._serve = serve
        app = web.Application(middlewares=[self._answer])
        app.on_response_prepare.append(self._add_headers)
        app.router.add_get("/", self._page)
        app.router.add_get("/page/settings.json", self._page_settings)
        app.router.add_get("/page/{name}", self._page_file)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._readiness)
        app.router.add_get("/readyz/place", self._place)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/docs", self._docs)
        app.router.add_get("/openapi.json", self._openapi)
        app.router.add_post("/v1/audio/transcriptions", self._transcribe)
        app.router.add_post("/v1/audio/translations", self._translate)
        app.router.add_get(_REALTIME, self._realtime)
        app.router.add_post(f"{_REALTIME}/client_secrets", self._client_secrets)
        if services.rooms.are_on:
            rooms = RoomPages(
                services.rooms,
                services.metrics,
                check=self._check_reader,
                patience_s=services.config.limits.idle_timeout_s,
            )
            app.router.add_get(ROOM_PATH, self._room_page)
            app.router.add_get(f"{ROOM_PATH}/events", rooms.events)
            app.router.add_get(f"{ROOM_PATH}.vtt", rooms.subtitles)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{name:.+}", self._model)
        self.app = app
        self._pages = Pages()
        self._names = itertools.count(1)
        self._secrets = Secrets(clock=asyncio.get_running_loop().time)
        self._methods = {
            resource.canonical: ", ".join(route.method for route in resource)
            for resource in app.router.resources()
        }
        app.router.add_route("*", "/{path:(?s:.*)}", self._other)
        limits = services.config.limits
        self._quota = Quota(limits, clock=asyncio.get_running_loop().time)
        self._pool = started_pool(limits.ingest_threads, "upload")
        self.uploads = Transcriptions(services, self._pool, self._quota, rested)
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            handler_cancellation=True,  # who goes away is worked for no longer
            shutdown_timeout=_CLOSE_S,
        )
        self._listener: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; raises ``OSError`` where that cannot be."""
        listen, limits = self._services.config.listen, self._services.config.limits
        await self._runner.setup()
        self._listener = await asyncio.get_running_loop().create_server(
            self._connection,
            listen.host,
            max(listen.http_port, 0),
            ssl=self._tls,
            ssl_handshake_timeout=limits.handshake_timeout_s if self._tls else None,
            start_serving=False,
        )
        limit_unread(self._listener, limits.idle_timeout_s)
        await self._listener.start_serving()

    def _connection(self) -> Requests:
        """What answers one more peer."""
        assert self._runner.server is not None, "it is set up"
        return Requests(
            self._runner.server,
            refused=self._refused,
            loop=asyncio.get_running_loop(),
            access_log=None,
            auto_decompress=False,  # a bomb; see `_answer`
            # Also for the first headers.
            keepalive_timeout=self._services.config.limits.idle_timeout_s,
        )

    def _refused(self, request: web.BaseRequest) -> None:
        """A peer speaks no HTTP."""
        log_refusal(logger, "bad_http", peer=_peer(request))
        self._services.metrics.error("bad_http")

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._listener is not None, "it is open"
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    def stop_listening(self) -> None:
        """Nobody new gets in."""
        self.uploads.close()
        if self._listener is not None:
            self._listener.close()

    async def close(self) -> None:
        """Let go of all connections, whose work has ended or will not."""
        self.stop_listening()
        await self._runner.cleanup()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ who comes in

    @web.middleware
    async def _answer(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Let a request in and give what goes wrong its form."""
        try:
            if request.method == "OPTIONS":
                self._check(request)
                return web.Response(status=HTTPStatus.NO_CONTENT, headers=_CORS)
            if request.path.startswith(_API) or _is_upgrade(request):
                request[CALLER] = caller = self._check(request)
                if request.path.startswith(_API):
                    self._quota.ask(caller)
            if request.headers.get("Content-Encoding", "identity") != "identity":
                message = "Compressed bodies are not taken."
                return _failed(Failure(415, message, code="content_encoding"))
            return await handler(request)
        except Denied as denied:
            log_refusal(logger, denied.kind, peer=denied.address)
            self._services.metrics.session_rejected(denied.kind)
            return _failed(_denial(denied))
        except Overloaded as error:
            # Whoever is turned away was let in before.
            log_refusal(logger, error.kind, peer=request[CALLER].address)
            return _failed(failure_of(error))
        except WhisperLiveError as error:
            return _failed(failure_of(error))
        except web.HTTPException as error:  # aiohttp's own, as for a bad handshake
            code = HTTPStatus(error.status).name.lower()
            return _failed(Failure(error.status, error.reason, code=code))
        except ConnectionError:
            raise  # who is gone
        except Exception as error:
            logger.error("a request failed", exc_info=error)
            self._services.metrics.error("internal")
            return _failed(failure_of(WhisperLiveError("internal error")))

    def _check(self, request: web.Request) -> Caller:
        """Who asks; raises ``Denied`` for a foreign page or a key that is not ours."""
        secret = self._secret(request)
        caller = self._access.check(
            request.path_qs,
            _judged(request),
            _offered(request),
            _peer(request),
            vouched=secret.key_name if secret is not None else None,
        )
        # WhisperLive's first message may bring the key, and a preflight never has one.
        is_api = request.path.startswith(_API)
        has_time = request.method == "OPTIONS" or not is_api
        if self._access.needs_key and caller.key_name is None and not has_time:
            raise Denied(HTTPStatus.UNAUTHORIZED, "no_key", caller.address)
        return caller

    def _check_reader(self, request: web.Request) -> None:
        """As ``_check``, for who reads a room.

        A page of this server does not say so when it reads, and neither does a foreign
        one under a rebound name: without a key the name must be one of ours.
        """
        judged = _judged(request)
        if shown_key(request.path_qs, judged, ()) is None:
            judged.setdefault("Origin", f"http://{judged.get('Host', '')}")
        request[CALLER] = caller = self._access.check(
            request.path_qs, judged, (), _peer(request)
        )
        is_open = self._services.config.access.rooms == "open"
        if self._access.needs_key and not is_open and caller.key_name is None:
            raise Denied(HTTPStatus.UNAUTHORIZED, "no_key", caller.address)

    def _secret(self, request: web.Request) -> Secret | None:
        """The short-lived key that was shown, where one may be."""
        if request.path != _REALTIME or not _is_upgrade(request):
            return None
        shown = shown_key(request.path_qs, _judged(request), _offered(request))
        secret = self._secrets.find(shown)
        if secret is not None and self._access.needs_key:
            if not self._access.has_key(secret.key_name):  # it was taken away since
                return None
        return secret

    async def _add_headers(
        self, request: web.BaseRequest, response: web.StreamResponse
    ) -> None:
        """Let a page that was let in read the answer; do not say what runs here."""
        response.headers.pop("Server", None)
        if origin := request.headers.get("Origin"):
            response.headers["Vary"] = "Origin"
            # The answer to a wrong key is to be read as well.
            judged = _judged(request)
            judged.pop("Authorization", None)
            with contextlib.suppress(Denied):
                self._access.check("/", judged, (), _peer(request))
                response.headers["Access-Control-Allow-Origin"] = origin

    # -------------------------------------------------------------------------- pages

    async def _page(self, request: web.Request) -> web.StreamResponse:
        """The page; published clients open their socket at the same path."""
        if _is_upgrade(request):
            return await self._live(request)
        return self._pages.answer(request, "index.html")

    async def _page_file(self, request: web.Request) -> web.StreamResponse:
        if not self._pages.has(name := request.match_info["name"]):
            return await self._other(request)
        return self._pages.answer(request, name)

    async def _room_page(self, request: web.Request) -> web.StreamResponse:
        """The same for each room, and whether it is there or not."""
        return self._pages.answer(request, "room.html")

    async def _page_settings(self, request: web.Request) -> web.Response:
        """What the page offers to choose; it needs no key, so it tells no names."""
        config, registry = self._services.config, self._services.registry
        codes = registry.languages if len(registry.names) == 1 else LANGUAGES
        named = sorted((language_name(code).capitalize(), code) for code in codes)
        content = {
            "needs_key": self._access.needs_key,
            "models": [] if self._access.needs_key else registry.names,
            "languages": [{"code": code, "name": name} for name, code in named],
            "latency": config.speech.latency,
            "rooms": self._services.rooms.are_on,
        }
        return web.json_response(content, headers={"Cache-Control": "no-store"})

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readiness(self, request: web.Request) -> web.Response:
        if not self._is_ready():
            return web.Response(text="not ready\n", status=503)
        return web.Response(text="ready\n")

    async def _place(self, request: web.Request) -> web.Response:
        status, text = place_page(self._is_ready(), self._services.admission)
        return web.Response(text=text, status=status)

    async def _metrics(self, request: web.Request) -> web.Response:
        headers, own = _judged(request), _host(request, "sockname")
        self._access.check_metrics(request.path_qs, headers, _peer(request), own)
        page = self._services.metrics.render()
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})

    async def _docs(self, request: web.Request) -> web.Response:
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        headers = {"Content-Security-Policy": policy}
        page = openapi.page()
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(openapi.document())

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        return await self.uploads.answer(request, request[CALLER], Task.TRANSCRIBE)

    async def _translate(self, request: web.Request) -> web.StreamResponse:
        return await self.uploads.answer(request, request[CALLER], Task.TRANSLATE)

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        if not _is_upgrade(request):
            failure = Failure(426, "This is a WebSocket.", code="upgrade")
            return _failed(failure, {"Upgrade": "websocket"})
        room = request.query.get("room", "")
        protocol = self._new_realtime(
            model=request.query.get("model", ""),
            room=check_room_name(room) if room else "",
        )
        if (secret := self._secret(request)) is not None:
            protocol.configure(secret.update)
        return await self._run_socket(request, protocol, ("realtime",))

    def _new_realtime(self, *, model: str = "", room: str = "") -> OpenAIRealtime:
        speech, name = self._services.config.speech, f"r{next(self._names)}"
        return OpenAIRealtime(speech, name=name, model=model, room=room)

    async def _client_secrets(self, request: web.Request) -> web.Response:
        """A key for a page, and what its session will be."""
        limit_s = self._services.config.limits.handshake_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                body = await request.text()  # at most 1 MiB
        except TimeoutError:
            message = "The body comes too slowly."
            raise RequestError(message, status=408, code="too_slow") from None
        except UnicodeError as error:
            raise RequestError("The body must be JSON.") from error
        lifetime_s, update = read_secret_request(body)
        protocol = self._new_realtime()
        protocol.configure(update)  # raises for what would be refused later
        name = request[CALLER].key_name
        value = self._secrets.issue(name, update, lifetime_s=lifetime_s)
        expires_at = round(time.time() + lifetime_s)
        content = {
            "value": value,
            "expires_at": expires_at,
            "session": protocol.session,
        }
        return web.json_response(content)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response(models_body(self._services.registry.names))

    async def _model(self, request: web.Request) -> web.Response:
        """One of them; any other name stands for the main one."""
        names = self._services.registry.names
        asked = request.match_info["name"]
        name = asked if asked in names else names[0]
        return web.json_response(models_body([name])["data"][0])

    async def _other(self, request: web.Request) -> web.StreamResponse:
        """A socket, at any path that is nothing else; else there is nothing."""
        if request.path in self._methods:
            allowed = {"Allow": self._methods[request.path]}
            message = f"{request.path} takes {allowed['Allow']}."
            return _failed(Failure(405, message, code="method"), allowed)
        if not _is_upgrade(request):
            message = (
                f"There is no {request.path[:200]} here; /docs tells what there is."
            )
            return _failed(Failure(404, message, code="unknown_url"))
        return await self._live(request)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        protocol = WhisperLive(self._services.config.speech)
        return await self._run_socket(request, protocol, ("bearer",))

    async def _run_socket(
        self, request: web.Request, protocol: Protocol, chosen: tuple[str, ...]
    ) -> web.StreamResponse:
        caller = request[CALLER]
        max_size = self._services.config.limits.max_message_bytes
        socket = AiohttpSocket(
            _peer(request), request.transport, max_size=max_size, protocols=chosen
        )
        await socket.response.prepare(request)
        if request.transport is not None:  # else the peer is gone already
            setattr(request.transport, "max_size", READ_BYTES)
        reading = asyncio.create_task(socket.run())
        # In a task of its own: a session is not cancelled, it is told that its peer
        # is gone, and does its accounts.
        session = asyncio.ensure_future(self._serve(socket, protocol, caller))
        try:
            await asyncio.shield(session)
        except asyncio.CancelledError:
            socket.lost()
            await session
            raise
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return socket.response


def _is_upgrade(request: web.BaseRequest) -> bool:
    return "websocket" in ",".join(request.headers.getall("Upgrade", [])).lower()


def _peer(request: web.BaseRequest) -> str:
    """The address at the other end."""
    return _host(request, "peername")


def _host(request: web.BaseRequest, end: str) -> str:
    """The host of one end of the connection, ``peername`` or ``sockname``."""
    transport = request.transport
    name = transport.get_extra_info(end) if transport is not None else None
    return str(name[0]) if isinstance(name, tuple) else UNIX_PEER


def _judged(request: web.BaseRequest) -> dict[str, str]:
    """The headers to be judged; one that is repeated becomes a list, as in RFC 9110."""
    given = {name: request.headers.getall(name, []) for name in JUDGED_HEADERS}
    return {name: ", ".join(values) for name, values in given.items() if values}


def _offered(request: web.BaseRequest) -> list[str]:
    """The subprotocols that a client names."""
    names = ",".join(request.headers.getall("Sec-WebSocket-Protocol", [])).split(",")
    return [name.strip() for name in names if name.strip()]


def _denial(denied: Denied) -> Failure:
    if denied.status is HTTPStatus.UNAUTHORIZED:
        message = "A valid key is needed: Authorization: Bearer KEY."
        return Failure(401, message, code="invalid_api_key")
    if denied.kind == "foreign_host":
        message = "This server does not know this name for itself: --allowed-hosts."
        return Failure(denied.status.value, message, code=denied.kind)
    return Failure(denied.status.value, denied.status.phrase, code=denied.kind)


def _failed(failure: Failure, headers: dict[str, str] | None = None) -> web.Response:
    given = dict(headers or {})
    if failure.retry_after_s is not None:
        given["Retry-After"] = str(round(failure.retry_after_s))
    return web.json_response(failure.body, status=failure.status, headers=given)
