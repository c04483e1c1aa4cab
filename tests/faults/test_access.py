"""Who gets in: keys, Origin and Host on real sockets, and what the log may not say.

Row 14: the matrices below, and a canary that is spoken, prompted, and shown as a key.
"""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import dataclasses
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.e2e.support import Client, client, quick, running
from tests.faults.attacks import abort, open_raw, open_socket
from tests.faults.process import daemon
from whisper_live.config.model import AccessConfig, Config, ListenConfig, LogConfig
from whisper_live.observability.log import setup
from whisper_live.server.access import Access, Denied
from whisper_live.server.server import Server
from whisper_live.testing.marks import word_text, write_speech

KEY, BOBS_KEY = "s3cret-key-of-alice", "other-key-of-bob"


def guarded(folder: Path, **access: Any) -> Config:
    keys = folder / "keys"
    keys.write_text(f"# who they are\nalice {KEY}\nbob {BOBS_KEY}\n", "utf-8")
    settings = AccessConfig(keys_file=str(keys), **access)
    return dataclasses.replace(quick(), access=settings)


async def greet(server: Server, path: str = "/", **options: Any) -> dict[str, Any]:
    """The first message of the server to a client without a token."""
    async with client(server, path, **options) as peer:
        await peer.hello()
        return await peer.next()


# ------------------------------------------------------------------------------ keys


@pytest.mark.parametrize(
    ("path", "headers", "offered"),
    [
        ("/", {"Authorization": f"Bearer {KEY}"}, None),
        (f"/?token={KEY}", {}, None),
        (f"/ws?a=b&token={KEY}", {}, None),
        ("/", {}, ["bearer", KEY]),
        # The header wins over what a proxy or a bookmark left in the path.
        ("/?token=wrong", {"Authorization": f"Bearer {KEY}"}, None),
    ],
)
async def test_every_way_to_show_a_key(
    path: str, headers: Mapping[str, str], offered: Any, tmp_path: Path
) -> None:
    async with running(guarded(tmp_path)) as server:
        message = await greet(
            server, path, additional_headers=headers, subprotocols=offered
        )
    assert message["message"] == "SERVER_READY"


@pytest.mark.parametrize(
    ("path", "headers", "offered"),
    [
        ("/", {"Authorization": "Bearer wrong"}, None),
        ("/", {"Authorization": f"Bearer {KEY}x"}, None),
        ("/", {"Authorization": f"Bearer {KEY[:-1]}"}, None),
        ("/?token=wrong", {}, None),
        ("/", {}, ["bearer", "wrong"]),
        (f"/?token={KEY}", {"Authorization": "Bearer wrong"}, None),
    ],
)
async def test_a_wrong_key_is_refused_before_the_upgrade(
    path: str, headers: Mapping[str, str], offered: Any, tmp_path: Path
) -> None:
    async with running(guarded(tmp_path)) as server:
        with pytest.raises(InvalidStatus) as refused:
            await greet(server, path, additional_headers=headers, subprotocols=offered)
        page = server.metrics.render()
    assert refused.value.response.status_code == 401
    assert b'sessions_rejected_total{reason="wrong_key"} 1.0' in page


@pytest.mark.parametrize(
    ("token", "code"),
    [(KEY, 1000), ("wrong", 1008), (None, 1008), (["x"], 1008), ("\ud800", 1008)],
)
async def test_a_browser_brings_its_key_in_the_first_message(
    token: Any, code: int, tmp_path: Path
) -> None:
    async with running(guarded(tmp_path)) as server, client(server) as peer:
        await peer.hello(token=token)
        await peer.end()
        with contextlib.suppress(ConnectionClosed):
            await peer.socket.wait_closed()
        assert await peer.rest() == code


async def test_a_path_that_looks_like_a_broken_host_is_a_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(guarded(tmp_path)) as server:
        _, writer = await open_socket(server.port, path="//[")
        abort(writer)
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


async def test_metrics_are_for_this_machine_and_for_who_shows_a_key(
    tmp_path: Path,
) -> None:
    """A proxy that was not named brings the request of who knows whom."""

    def ask(server: Server, **headers: str) -> int:
        url = f"http://127.0.0.1:{server.port}/metrics"
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert b"whisper_live_sessions" in answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                assert b"whisper_live_sessions" not in error.read()
                return error.code

    far = {"X-Forwarded-For": "192.168.0.7"}
    async with running(guarded(tmp_path)) as server:
        assert await asyncio.to_thread(ask, server) == 200
        assert await asyncio.to_thread(ask, server, **far) == 401
        shown = {"Authorization": f"Bearer {KEY}"}
        assert await asyncio.to_thread(ask, server, **far, **shown) == 200
        # A page at a name that was rebound to this machine asks without an Origin.
        rebound = {"Host": "evil.example:9090"}
        assert await asyncio.to_thread(ask, server, **rebound) == 401
        assert await asyncio.to_thread(ask, server, **rebound, **shown) == 200
        assert await asyncio.to_thread(ask, server, Host="localhost:9090") == 200
    async with running() as server:
        assert await asyncio.to_thread(ask, server, **far) == 403
        assert await asyncio.to_thread(ask, server, **rebound) == 403
    public = dataclasses.replace(quick(), access=AccessConfig(metrics_public=True))
    async with running(public) as server:
        assert await asyncio.to_thread(ask, server, **far) == 200


async def test_sessions_of_one_key_are_counted_together(tmp_path: Path) -> None:
    config = guarded(tmp_path)
    limits = dataclasses.replace(config.limits, max_sessions_per_key=1)
    alice = {"Authorization": f"Bearer {KEY}"}
    bob = {"Authorization": f"Bearer {BOBS_KEY}"}
    async with running(dataclasses.replace(config, limits=limits)) as server:
        async with client(server, additional_headers=alice) as first:
            await first.hello()
            await first.next()
            async with client(server, f"/?token={KEY}") as second:
                await second.hello()
                assert (await second.next())["status"] == "WAIT"
                assert await second.rest() == 1013
            assert (await greet(server, additional_headers=bob)) == {
                "uid": "u",
                "message": "SERVER_READY",
                "backend": "faster_whisper",
            }
        page = server.metrics.render()
    assert b'sessions_rejected_total{reason="key"} 1.0' in page


async def test_sessions_of_one_address_are_counted_behind_a_proxy_too() -> None:
    def come(server: Server, forwarded: str) -> Any:
        return client(server, additional_headers={"X-Forwarded-For": forwarded})

    config = quick(max_sessions_per_address=1)
    access = AccessConfig(trusted_proxies="127.0.0.0/8, 10.0.0.0/8")
    async with running(dataclasses.replace(config, access=access)) as server:
        # The client's own claim stands left of what the trusted proxies wrote.
        async with come(server, "6.6.6.6, 1.1.1.1, 10.0.0.7") as first:
            await first.hello()
            await first.next()
            async with come(server, "7.7.7.7, 1.1.1.1") as same:
                await same.hello()
                assert (await same.next())["status"] == "WAIT"
            async with come(server, "2.2.2.2") as other:
                await other.hello()
                assert (await other.next())["message"] == "SERVER_READY"


async def test_a_host_with_a_64_of_ipv6_has_the_sessions_of_one_address() -> None:
    def come(server: Server, address: str) -> Any:
        return client(server, additional_headers={"X-Forwarded-For": address})

    config = quick(max_sessions_per_address=1)
    access = AccessConfig(trusted_proxies="127.0.0.0/8")
    async with running(dataclasses.replace(config, access=access)) as server:
        async with come(server, "2001:db8::1") as first:
            await first.hello()
            await first.next()
            async with come(server, "2001:db8::2") as same:
                await same.hello()
                assert (await same.next())["status"] == "WAIT"
            async with come(server, "2001:db8:0:1::1") as other:
                await other.hello()
                assert (await other.next())["message"] == "SERVER_READY"


# -------------------------------------------------------------------- Origin and Host

SAME = "http://127.0.0.1:9090"


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (None, "anything.example", 101),  # not a browser
        (SAME, "127.0.0.1:9090", 101),
        ("http://localhost:9090", "localhost:9090", 101),
        ("http://[::1]:9090", "[::1]:9090", 101),
        ("https://asr.example", "asr.example", 101),  # an allowed host
        ("https://page.example", "127.0.0.1:9090", 101),  # an allowed origin
        ("HTTPS://PAGE.example", "127.0.0.1:9090", 101),
        ("chrome-extension://abcdef", "127.0.0.1:9090", 101),
        ("moz-extension://1-2-3", "127.0.0.1:9090", 101),
        ("https://evil.example", "127.0.0.1:9090", 403),
        ("http://evil.example:9090", "evil.example:9090", 403),  # a rebound name
        ("http://127.0.0.1:8000", "127.0.0.1:9090", 403),  # another port is another
        ("http://localhost:9090", "127.0.0.1:9090", 403),
        ("null", "127.0.0.1:9090", 403),  # a sandboxed frame, a file
        ("", "", 403),
        ("http://", "127.0.0.1:9090", 403),
        ("http://[::1", "[::1", 403),
        ("https://page.example.evil.example", "127.0.0.1:9090", 403),
        (f"{SAME}, {SAME}", "127.0.0.1:9090", 403),  # sent twice
        ("https://evil.example/chrome-extension://", "127.0.0.1:9090", 403),
    ],
)
def test_origin_and_host(origin: str | None, host: str, status: int) -> None:
    rules = Access(
        AccessConfig(
            allowed_hosts="asr.example", allowed_origins="https://page.example"
        ),
        ListenConfig(),
    )
    headers = {"Host": host} | ({} if origin is None else {"Origin": origin})
    got = 101
    try:
        rules.check("/", headers, [], "127.0.0.1")
    except Denied as denied:
        got = denied.status
    assert got == status


async def test_a_foreign_page_gets_403_on_the_wire_and_is_counted() -> None:
    async with running() as server:
        with pytest.raises(InvalidStatus) as refused:
            await greet(server, origin="https://evil.example")
        rebound = f"http://evil.example:{server.port}"
        with pytest.raises(InvalidStatus):
            async with connect(
                rebound.replace("http", "ws"),
                host="127.0.0.1",
                origin=rebound,  # type: ignore[arg-type]
            ):
                pass
        page = server.metrics.render()
    assert refused.value.response.status_code == 403
    assert b'rejected_total{reason="foreign_origin"} 1.0' in page
    assert b'rejected_total{reason="foreign_host"} 1.0' in page


# -------------------------------------------------------------------- refusals logged


def banned(log: str) -> list[str]:
    """The addresses that fail2ban would find with the filter that we ship."""
    filter_ = configparser.ConfigParser(interpolation=None)
    filter_.read(Path(__file__).parents[2] / "systemd/fail2ban-filter.conf")
    definition = filter_["Definition"]
    patterns = [
        each.replace("<kinds>", definition["kinds"]).replace("<HOST>", "([0-9a-f.:]+)")
        for each in definition["failregex"].splitlines()
    ]
    return [
        found[1]
        for line in log.splitlines()
        for pattern in patterns
        if (found := re.search(pattern, line))
    ]


def metrics_status(port: int, headers: Mapping[str, str]) -> int:
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)))
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


@pytest.mark.parametrize("log_format", ["plain", "json"])
async def test_each_refusal_is_one_line_with_kind_and_peer(
    log_format: str, tmp_path: Path
) -> None:
    config = guarded(tmp_path, trusted_proxies="127.0.0.0/8")
    stream = io.StringIO()
    setup(LogConfig(log_format=log_format), stream)
    upgrades: list[dict[str, Any]] = [
        {"additional_headers": {"Authorization": "Bearer wrong"}},
        {"origin": "https://evil.example"},
    ]
    async with running(config) as server:
        for number, options in enumerate(upgrades, 1):
            headers = options.setdefault("additional_headers", {})
            headers["X-Forwarded-For"] = f"203.0.113.{number}"
            with pytest.raises(InvalidStatus):
                await greet(server, **options)
        for key in ("", "wrong"):
            headers = {
                "X-Forwarded-For": "203.0.113.3",
                "Authorization": f"Bearer {key}",
            }
            assert await asyncio.to_thread(metrics_status, server.port, headers) == 401
        said: list[str] = []
        for changes in ({}, {"token": "wrong"}, {"token": KEY, "task": "dance"}):
            async with client(server) as peer:
                await peer.hello(**changes)
                assert await peer.rest() == 1008
                said.append(peer.messages[-1]["message"])
        assert "--key" in said[0] and "not one of this server's" in said[1]
        async with client(server) as peer:
            await peer.send("no handshake")
            assert await peer.rest() == 1008
    log = stream.getvalue()
    lines = re.findall(r"refused (kind=\w+ peer=[\d.]+)", log)
    assert lines == [
        "kind=wrong_key peer=203.0.113.1",
        "kind=foreign_origin peer=203.0.113.2",
        "kind=metrics peer=203.0.113.3",
        "kind=wrong_key peer=203.0.113.3",
        "kind=no_key peer=127.0.0.1",
        "kind=wrong_key peer=127.0.0.1",
        "kind=handshake_task peer=127.0.0.1",
        "kind=handshake_json peer=127.0.0.1",
    ]
    # No page may get its visitors banned.
    assert banned(log) == ["203.0.113.1", "203.0.113.3", *["127.0.0.1"] * 3]


# -------------------------------------------------------------------------- the canary

CANARY = "purple-canary"


def test_no_library_reports_to_its_maker() -> None:
    """ONNX Runtime would, over HTTPS, unless told before it is loaded."""
    program = "import whisper_live, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


async def test_no_secret_and_no_word_is_in_the_log_at_any_level(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice {CANARY}-key\n")
    flags = ("--log-level", "debug", "--keys-file", str(keys), "--http-port", "-1")
    async with daemon(tmp_path, *flags) as server:
        await sing(server.port)
        await sing_over_http(await server.http_port())
        server.kill()
        assert await server.ended() == 0
        log = server.log
    assert log.count(" opened ") == log.count(" closed ") == 2
    assert "wrong_key" in log and "alice" in log
    assert "canary" not in log.lower()
    assert word_text(7).strip() not in log
    assert "token" not in log


async def test_the_text_is_in_the_log_once_if_that_was_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice {CANARY}-key\n")
    config = dataclasses.replace(
        quick(),
        access=AccessConfig(keys_file=str(keys)),
        log=LogConfig(log_transcripts=True),
    )
    caplog.set_level("INFO", "whisper_live")
    async with running(config) as server:
        await sing(server.port)
    lines = [record.getMessage() for record in caplog.records]
    said = [line for line in lines if line.startswith("transcript:")]
    assert len(said) == 2
    assert word_text(7) in said[0] and word_text(9) in said[1]
    assert "canary" not in "\n".join(lines).lower()  # keys and prompts never


async def sing_over_http(port: int) -> None:
    """The same by paths, headers and bodies, of which some are no HTTP."""
    shown = f"token={CANARY}-key&q={CANARY}"
    key = f"Authorization: Bearer {CANARY}-key"
    form = f"Content-Type: multipart/form-data; boundary={CANARY}"
    for head, status in (
        (f"GET /v1/models/{CANARY}?{shown} HTTP/1.1\r\nHost: x\r\n", 200),
        (f"GET /v1/{CANARY}?token={CANARY} HTTP/1.1\r\nHost: x\r\n", 401),
        (f"GET /{CANARY} HTTP/1.1\r\nHost: {CANARY}\r\n{key}\r\n", 404),
        (f"GET /v1/{CANARY} HTTP/1.1\r\nHost: x\r\n{key}\x01\r\n", 400),
        (f"GET /v1/{CANARY} HTTP/1.1\r\nHost: x\r\n{key}{'x' * 9000}\r\n", 431),
        (f"{CANARY} /v1/ {CANARY}\r\n", 400),
        (
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n{key}\r\n{form}\r\n"
            f"Content-Length: 0\r\n",
            400,
        ),
    ):
        reader, writer = await open_raw(port)
        writer.write(head.encode() + b"\r\n")
        assert int((await reader.readline()).split()[1]) == status, head
        abort(writer)


async def sing(port: int) -> None:
    """Say, prompt, show and query the canary, rightly and wrongly."""
    url = f"ws://127.0.0.1:{port}/{CANARY}?token={CANARY}-key&q={CANARY}"
    async with connect(url) as socket:
        peer = Client(socket)
        await peer.hello(uid=CANARY, initial_prompt=CANARY, hotwords=CANARY)
        await peer.say(write_speech([[7, 8], [9]], pause_s=0.8)[0])
        await peer.end()
        assert await peer.rest() == 1000
        assert peer.words == [7, 8, 9]
    wrong: list[dict[str, Any]] = [
        {"uid": CANARY, "token": CANARY},
        {"uid": CANARY, "token": f"{CANARY}-key", "task": CANARY},
        {"uid": CANARY, "token": f"{CANARY}-key", "hotwords": [CANARY]},
        {"uid": CANARY, "token": f"{CANARY}-key", "language": CANARY},
        {"uid": CANARY, "token": f"{CANARY}-key", "audio_format": CANARY},
    ]
    for keys in wrong:
        hello = {"language": "en", "task": "transcribe", "initial_prompt": CANARY}
        async with connect(f"ws://127.0.0.1:{port}/{CANARY}") as socket:
            await socket.send(json.dumps({**hello, **keys}))
            with contextlib.suppress(ConnectionClosed):
                assert "ERROR" in str(await socket.recv())
    async with connect(f"ws://127.0.0.1:{port}/?token={CANARY}-key") as socket:
        await socket.send(
            json.dumps({"uid": CANARY, "language": "en", "task": "transcribe"})
        )
        await socket.send(CANARY)
        await socket.wait_closed()
    refused: list[tuple[str, dict[str, Any]]] = [
        (f"/?token={CANARY}", {}),
        ("/", {"additional_headers": {"Authorization": f"Bearer {CANARY}"}}),
        ("/", {"origin": f"https://{CANARY}.example"}),
        ("/", {"subprotocols": ["bearer", CANARY]}),
    ]
    for path, options in refused:
        with pytest.raises(InvalidHandshake):
            async with connect(f"ws://127.0.0.1:{port}{path}", **options):
                pass
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /?token={CANARY} HTTP/1.1\r\n{CANARY}\r\n\r\n".encode())
    await writer.drain()
    writer.close()
