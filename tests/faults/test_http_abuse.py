"""Requests that only cost: without an end, no HTTP at all, or never read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import socket
from collections.abc import AsyncIterator

import psutil
import pytest

from tests.e2e.support import client, running, whole_session, with_http
from tests.faults.attacks import REQUESTS, BadConnection, abort, open_raw
from whisper_live.server.server import Server
from whisper_live.testing.marks import write_speech

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n"
)
FILE = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
MB = 1_000_000
SPEECH = write_speech([[1, 2, 3], [4, 5]], pause_s=0.8)[0]


async def flood(port: int, head: bytes, piece: bytes, count: int) -> tuple[int, str]:
    """Send all of it, whatever is said meanwhile; the status, and the error's code."""
    reader, writer = await open_raw(port)
    # Read while it is sent: what was said is lost once the connection is reset.
    answer = asyncio.create_task(reader.read(4096))
    with contextlib.suppress(ConnectionError):
        writer.write(head)
        for _ in range(count):
            writer.write(piece)
            await writer.drain()
    said = (await answer).decode()
    abort(writer)
    code = re.search(r'"code": "(\w+)"', said)
    return int(said.split()[1]), code[1] if code else ""


@contextlib.asynccontextmanager
async def nothing_lost(server: Server) -> AsyncIterator[None]:
    """A live neighbour has all its words, and the memory stays as it was."""
    process = psutil.Process()
    await whole_session(server, SPEECH)  # what the first one costs is not counted
    async with client(server) as peer:
        await peer.hello()
        await peer.say(SPEECH[: len(SPEECH) // 2])
        before = process.memory_info().rss
        yield
        assert process.memory_info().rss - before < 30 * MB
        rest = asyncio.create_task(peer.rest())
        await peer.say(SPEECH[len(SPEECH) // 2 :])
        await peer.end()
        await rest
    assert peer.words == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("port", ["port", "http_port"])
async def test_100_mb_of_headers_are_refused(
    port: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "whisper_live")
    statuses = []
    async with running(with_http()) as server, nothing_lost(server):
        for head, piece, count in (
            (GET + b"X: ", b"x" * MB, 100),
            (GET, b"x" * MB, 100),
            (GET, b"X: x\r\n" * 100_000, 167),
            (b"GET /", b"x" * MB, 100),
        ):
            place = getattr(server, port)
            statuses.append((await flood(place, head, piece, count))[0])
        page = server.metrics.render()
    if port == "port":
        assert statuses == [431, 431, 431, 414]
    else:
        assert statuses == [431, 431, 400, 431]
        assert b'errors_total{type="bad_http"} 4.0' in page
        refusals = [r for r in caplog.messages if r.startswith("refused kind=bad_http")]
        assert len(refusals) == 4
    assert [r for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []


async def test_two_gigabytes_are_refused_whether_they_are_announced_or_not() -> None:
    announced = POST + b"Content-Length: 2000000000\r\n\r\n"
    chunk = b"%x\r\n" % MB + bytes(MB) + b"\r\n"
    unannounced = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    unannounced += b"%x\r\n" % len(FILE) + FILE + b"\r\n"
    async with running(with_http(max_upload_bytes=50 * MB)) as server:
        async with nothing_lost(server):
            refused = (413, "file_too_large")
            assert await flood(server.http_port, announced, bytes(MB), 50) == refused
            assert await flood(server.http_port, unannounced, chunk, 2000) == refused
        page = server.metrics.render()
    assert b'whisper_live_uploads_total{outcome="file_too_large"} 2.0' in page


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\r\n" * (MB // 2), "too_many_lines"),
        (b"x\r\n" * (MB // 3), "too_many_lines"),
        (b"".join(b"%s\r\n" % FILE.replace(b"file", b"x") for _ in range(9000)), ""),
    ],
    ids=["empty", "short", "parts"],
)
async def test_a_form_of_lines_alone_holds_nobody_up(body: bytes, code: str) -> None:
    """A megabyte of empty lines was passed over in three seconds, and nothing else."""
    head = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    async with running(with_http()) as server:
        status, found = await flood(server.http_port, head, body, 1)
    assert (status, found) == (400, code or "too_many_parts")


async def test_what_is_no_http_is_a_line_in_the_log_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "whisper_live")
    chance = random.Random(3)
    async with running(with_http()) as server:
        for make in REQUESTS:
            await BadConnection(make(chance)).send(server.http_port)
        async with asyncio.timeout(10):
            for line in (
                b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
                b"\x16\x03\x01\0\1x\r\n",
            ):
                status, code = await flood(server.http_port, line, b"", 0)
                assert (status, code) == (400, "bad_http")
        page = server.metrics.render().decode()
    found = re.search(r'errors_total\{type="bad_http"\} (\S+)', page)
    lines = [m for m in caplog.messages if m == "refused kind=bad_http peer=127.0.0.1"]
    assert found is not None and float(found[1]) == len(lines) >= 10
    assert [r for r in caplog.records if r.levelname in ("ERROR", "CRITICAL")] == []


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system cannot tell"
)
async def test_who_does_not_read_an_answer_is_let_go() -> None:
    """Each of them had a connection for ever."""
    process = psutil.Process()
    asked = b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 30
    async with running(with_http(idle_timeout_s=1.0)) as server:
        peers = []
        before = process.num_fds()
        for _ in range(5):
            peer = socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(("127.0.0.1", server.http_port))
            peer.setblocking(False)
            for _ in range(100):  # megabytes of answers
                with contextlib.suppress(BlockingIOError):
                    peer.send(asked)
            peers.append(peer)
        while process.num_fds() < before + 2 * len(peers):  # until they are accepted
            await asyncio.sleep(0.01)
        while process.num_fds() > before + len(peers):
            await asyncio.sleep(0.01)
        for peer in peers:
            peer.close()
