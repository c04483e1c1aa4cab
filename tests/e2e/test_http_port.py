"""The HTTP port: its pages, who gets in, and WhisperLive's socket beside them."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from websockets.exceptions import InvalidStatus
from yarl import URL

from tests.e2e.support import KEY, client, running, whole_session, with_http
from tests.faults.certificates import certificate
from whisper_live.config.model import AccessConfig
from whisper_live.server import connection
from whisper_live.server.server import Server
from whisper_live.testing.marks import write_speech

TWO = write_speech([[1, 2, 3], [4]], pause_s=0.8)[0]


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.05)


async def ask(
    server: Server,
    path: str,
    *,
    method: str = "GET",
    **headers: str,
) -> tuple[int, str, Mapping[str, str]]:
    """Status, body and headers of one request."""
    url = f"http://127.0.0.1:{server.http_port}{path}"
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session:
        async with session.request(method, url, headers=given) as answer:
            return answer.status, await answer.text(), answer.headers


async def test_the_pages_are_those_of_the_other_port() -> None:
    async with running(with_http()) as server:
        assert (await ask(server, "/healthz"))[:2] == (200, "ok\n")
        assert (await ask(server, "/readyz"))[:2] == (200, "ready\n")
        assert (await ask(server, "/readyz/place"))[:2] == (200, "a place\n")
        status, page, headers = await ask(server, "/metrics")
        assert status == 200 and "whisper_live_sessions 0.0" in page
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "Server" not in headers


async def test_the_models_are_listed_and_any_name_stands_for_the_main_one() -> None:
    async with running(with_http()) as server:
        _, body, _ = await ask(server, "/v1/models")
        listed = json.loads(body)
        assert [model["id"] for model in listed["data"]] == ["auto"]
        _, body, _ = await ask(server, "/v1/models/whisper-1")
        assert json.loads(body) == listed["data"][0]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "unknown_url"),
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("GET", "/nothing%0a", 404, "unknown_url"),
        ("POST", "/v1/models", 405, "method"),
    ],
)
async def test_what_is_not_there_is_said_in_openais_shape(
    method: str, path: str, status: int, code: str
) -> None:
    async with running(with_http()) as server:
        found, body, _ = await ask(server, path, method=method)
    error = json.loads(body)["error"]
    assert (found, error["code"]) == (status, code)
    assert list(error) == ["message", "type", "param", "code"]
    assert status != 404 or "/docs" in error["message"]


async def test_without_an_http_port_there_is_none() -> None:
    async with running() as server:
        assert server.http_port == 0


# ------------------------------------------------------------------- who gets in


async def test_an_api_needs_a_key_where_there_are_keys(keyed: AccessConfig) -> None:
    async with running(with_http(keyed)) as server:
        status, body, _ = await ask(server, "/v1/models")
        assert status == 401
        assert json.loads(body)["error"]["code"] == "invalid_api_key"
        wrong = await ask(server, "/v1/models", Authorization="Bearer wrong")
        assert wrong[0] == 401
        right = await ask(server, "/v1/models", Authorization=f"Bearer {KEY}")
        assert right[0] == 200
        assert (await ask(server, f"/v1/models?token={KEY}"))[0] == 200
        assert (await ask(server, "/healthz"))[0] == 200


async def test_a_foreign_page_gets_nothing_and_an_allowed_one_may_read() -> None:
    access = AccessConfig(allowed_origins="https://a.example")
    async with running(with_http(access)) as server:
        status, _, headers = await ask(server, "/v1/models", Origin="https://b.example")
        assert status == 403 and "Access-Control-Allow-Origin" not in headers
        status, _, headers = await ask(server, "/v1/models", Origin="https://a.example")
        assert (status, headers["Access-Control-Allow-Origin"]) == (
            200,
            "https://a.example",
        )
        assert b'rejected_total{reason="foreign_origin"} 1.0' in server.metrics.render()


async def test_a_page_can_read_that_its_key_is_wrong(keyed: AccessConfig) -> None:
    async with running(with_http(keyed)) as server:
        own = f"http://127.0.0.1:{server.http_port}"
        status, _, headers = await ask(
            server, "/v1/models", Origin=own, Authorization="Bearer wrong"
        )
        assert (status, headers["Access-Control-Allow-Origin"]) == (401, own)


async def test_a_preflight_needs_no_key(keyed: AccessConfig) -> None:
    async with running(with_http(keyed)) as server:
        own = f"http://127.0.0.1:{server.http_port}"
        status, _, headers = await ask(
            server, "/v1/models", method="OPTIONS", Origin=own
        )
        assert (status, headers["Access-Control-Allow-Origin"]) == (204, own)
        assert "Authorization" in headers["Access-Control-Allow-Headers"]
        status, _, _ = await ask(
            server, "/v1/models", method="OPTIONS", Origin="https://b.example"
        )
        assert status == 403


async def test_a_compressed_body_is_not_taken() -> None:
    async with running(with_http()) as server:
        status, body, _ = await ask(server, "/v1/models", Content_Encoding="gzip")
    assert (status, json.loads(body)["error"]["code"]) == (415, "content_encoding")


async def test_who_sends_half_a_header_is_closed() -> None:
    async with running(with_http(idle_timeout_s=1.0)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost")
        assert await reader.read() == b""
        writer.close()


# ------------------------------------------------------------------------ the socket


async def test_whisperlives_socket_is_on_this_port_too() -> None:
    async with running(with_http()) as server:
        peer = await whole_session(server, TWO, port=server.http_port)
        assert peer.words == [1, 2, 3, 4]
        assert peer.socket.close_code == 1000
        assert b"whisper_live_sessions 0.0" in server.metrics.render()


async def test_both_ports_share_their_places() -> None:
    async with running(with_http(max_sessions=1)) as server:
        async with client(server) as first:
            await first.hello()
            await first.next()
            async with client(server, port=server.http_port) as second:
                await second.hello()
                assert (await second.next())["status"] == "WAIT"
                assert await second.rest() == 1013


@pytest.mark.parametrize("way", ["header", "query", "subprotocol", "first message"])
async def test_a_socket_takes_a_key_in_four_ways(keyed: AccessConfig, way: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"} if way == "header" else {}
    path = f"/?token={KEY}" if way == "query" else "/"
    offered = ["bearer", KEY] if way == "subprotocol" else None
    async with running(with_http(keyed)) as server:
        async with client(
            server,
            path,
            port=server.http_port,
            additional_headers=headers,
            subprotocols=offered,
        ) as peer:
            await peer.hello(token=KEY if way == "first message" else None)
            assert (await peer.next())["message"] == "SERVER_READY"
            chosen = "bearer" if way == "subprotocol" else None
            assert peer.socket.subprotocol == chosen


async def test_a_wrong_key_and_a_foreign_page_get_no_socket(
    keyed: AccessConfig,
) -> None:
    async with running(with_http(keyed)) as server:
        for status, headers in (
            (401, {"Authorization": "Bearer wrong"}),
            (403, {"Origin": "https://b.example"}),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with client(
                    server, port=server.http_port, additional_headers=headers
                ):
                    pass
            assert refused.value.response.status_code == status


async def test_a_message_that_is_too_long_ends_the_session() -> None:
    async with running(with_http(max_message_bytes=4096)) as server:
        async with client(server, port=server.http_port) as peer:
            await peer.hello()
            await peer.next()
            await peer.send(bytes(5000))
            assert await peer.rest() == 1009
        assert b'errors_total{type="message_too_big"} 1.0' in server.metrics.render()


async def test_pings_are_answered_but_not_without_end() -> None:
    async with running(with_http()) as server:
        async with client(server, port=server.http_port) as peer:
            await peer.hello()
            await peer.next()
            await (await peer.socket.ping())
            for _ in range(200):
                await peer.socket.ping()
            assert await peer.rest() == 1008
        assert b'errors_total{type="control_frames"} 1.0' in server.metrics.render()


async def test_a_peer_that_is_gone_ends_its_session() -> None:
    async with running(with_http(max_sessions=1)) as server:
        async with client(server, port=server.http_port) as peer:
            await peer.hello()
            await peer.next()
            peer.socket.transport.abort()
        for _ in range(100):
            async with client(server, port=server.http_port) as peer:
                await peer.hello()
                if "status" not in await peer.next():
                    break
        else:
            pytest.fail("its place was never free again")


async def test_at_the_end_a_socket_gets_its_text_and_1012() -> None:
    async with running(with_http()) as server:
        async with client(server, port=server.http_port) as peer:
            await peer.hello()
            await peer.next()
            await peer.say(write_speech([[5, 6]], pause_s=0.0)[0])
            closing = asyncio.create_task(server.close())
            assert await peer.rest() == 1012
            assert peer.words == [5, 6]
            await closing


async def test_tls_is_the_same_on_both_ports(tmp_path: Path) -> None:
    certificate(tmp_path, "localhost")
    cert, key = (str(tmp_path / f"{name}.pem") for name in ("cert", "key"))
    async with running(with_http(AccessConfig(tls_cert=cert, tls_key=key))) as server:
        trust = ssl.create_default_context(cafile=cert)
        url = f"https://127.0.0.1:{server.http_port}/healthz"
        async with aiohttp.ClientSession() as session:
            async with session.get(url, ssl=trust) as answer:
                assert await answer.text() == "ok\n"


# ------------------------------------------------------------------- the page's files


async def test_the_page_and_what_it_names_are_served_and_kept_by_browsers() -> None:
    async with running(with_http()) as server:
        status, page, headers = await ask(server, "/")
        assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
        names = re.findall(r'(?:src|href)="(page/[^"]+)"', page)
        assert "page/page.css" in names
        for path in ("/", *(f"/{name}" for name in names)):
            status, body, headers = await ask(server, path)
            assert status == 200 and body
            assert headers["Cache-Control"] == "no-cache"
            again = await ask(server, path, If_None_Match=headers["ETag"])
            assert again[:2] == (304, "") and again[2]["ETag"] == headers["ETag"]
            changed = await ask(server, path, If_None_Match='"another"')
            assert changed[:2] == (200, body)


async def test_the_page_may_run_its_own_files_and_nothing_else() -> None:
    async with running(with_http()) as server:
        _, page, headers = await ask(server, "/")
    policy = dict(
        each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[of] for of in ("script-src", "style-src", "connect-src")} == {
        "'self'"
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.findall(r"<style|style=|\son\w+=|<script(?! [^>]*src=)", page)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/index.html",
        "/page/none.js",
        "/page/..%2f__init__.py",
        "/page/%2fetc%2fpasswd",
        "/page/../py.typed",
    ],
)
async def test_no_other_file_is_served(path: str) -> None:
    async with running(with_http()) as server:
        url = URL(f"http://127.0.0.1:{server.http_port}{path}", encoded=True)
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            body = await answer.json()
    assert (answer.status, body["error"]["code"]) == (404, "unknown_url")


async def test_the_page_needs_no_key(keyed: AccessConfig) -> None:
    async with running(with_http(keyed)) as server:
        assert (await ask(server, "/"))[0] == 200
        assert (await ask(server, "/page/page.css"))[0] == 200


async def test_the_page_is_told_what_there_is_to_choose(keyed: AccessConfig) -> None:
    async with running(with_http()) as server:
        _, body, _ = await ask(server, "/page/settings.json")
    told = json.loads(body)
    assert (told["needs_key"], told["models"]) == (False, ["auto"])
    assert told["latency"] == "fast"
    assert {"code": "de", "name": "German"} in told["languages"]
    async with running(with_http(keyed)) as server:
        _, body, _ = await ask(server, "/page/settings.json")
    told = json.loads(body)
    assert (told["needs_key"], told["models"]) == (True, []), "names need the key"


async def test_a_socket_at_the_pages_path_is_whisperlives() -> None:
    async with running(with_http()) as server:
        async with client(server, port=server.http_port) as peer:
            await peer.hello()
            assert (await peer.next())["message"] == "SERVER_READY"
