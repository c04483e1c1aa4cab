"""Peers of the HTTP port's sockets that freeze, do not read, or only make work."""

from __future__ import annotations

import asyncio
import gc
import json

import psutil
import pytest

from tests.e2e.support import client, running, with_http
from tests.faults.attacks import (
    BINARY,
    CLOSE,
    HELLO,
    PING,
    PONG,
    TEXT,
    abort,
    frame,
    open_socket,
)
from tests.faults.process import get
from tests.faults.test_abuse import control_frames
from tests.faults.test_peers import FOREVER, wait_for
from whisper_live.server import keepalive
from whisper_live.server.http import websocket
from whisper_live.testing.marks import write_speech

FIRST = frame(TEXT, json.dumps(HELLO).encode())


async def test_a_frozen_peer_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "_INTERVAL_S", 0.1)
    monkeypatch.setattr(keepalive, "_TIMEOUT_S", 0.4)
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.2)
    async with running(with_http(idle_timeout_s=FOREVER)) as server:
        reader, writer = await open_socket(server.http_port, FIRST)
        await reader.readuntil(b"SERVER_READY")
        await wait_for(server, "whisper_live_sessions 0.0")
        abort(writer)


async def test_a_client_that_never_reads_is_closed_and_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.2)
    speech, _ = write_speech([[n] for n in range(400)], pause_s=0.6, word_s=0.3)
    data = speech.astype("<f4").tobytes()
    hello = {**HELLO, "send_last_n_segments": 500, "word_timestamps": True}
    process = psutil.Process()
    async with running(with_http(max_unsent=8)) as server:
        _, writer = await open_socket(
            server.http_port, frame(TEXT, json.dumps(hello).encode())
        )
        open_files = process.num_fds()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for at in range(0, len(data), 500_000):
            writer.write(frame(BINARY, data[at : at + 500_000]))
            await writer.drain()
        await wait_for(server, 'errors_total{type="unread"} 1.0')
        await wait_for(server, "whisper_live_sessions 0.0")
        while process.num_fds() >= open_files:
            await asyncio.sleep(0)
        abort(writer)


async def test_a_flood_of_pings_is_closed_and_not_answered() -> None:
    async with running(with_http()) as server:
        reader, writer = await open_socket(server.http_port, FIRST)
        await reader.readuntil(b"SERVER_READY")
        await reader.readuntil(b"}")
        writer.write(frame(PING, b"a") * 50_000 + frame(CLOSE, b"\x03\xe8"))
        answers = control_frames(await reader.read())
        abort(writer)
        await wait_for(server, 'errors_total{type="control_frames"} 1.0')
    *pongs, close = answers
    assert 100 <= len(pongs) < 1000 and set(pongs) == {(PONG, b"a")}
    assert close == (CLOSE, b"\x03\xf0too many control frames")


async def test_resets_behind_pings_are_not_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def flood(port: int) -> None:
        _, writer = await open_socket(port)
        writer.write(frame(PING, b"a") * 20_000)
        abort(writer)

    async with running(with_http()) as server:
        await asyncio.gather(*[flood(server.http_port) for _ in range(10)])
        page = await asyncio.to_thread(get, server.http_port, "/healthz")
        assert page == (200, "ok\n")
    assert [r.getMessage() for r in caplog.records if r.levelname != "INFO"] == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff"), b"\x03\xef"),  # 1007: no UTF-8
        (b"\xf1\x80\0\0\0\0", b"\x03\xea"),  # 1002: reserved bits
        (frame(BINARY, bytes(2_000_000)), b"\x03\xf1"),  # 1009: too big
    ],
    ids=["utf8", "reserved", "size"],
)
async def test_broken_frames_end_with_their_code(data: bytes, code: bytes) -> None:
    async with running(with_http()) as server:
        reader, writer = await open_socket(server.http_port, FIRST)
        await reader.readuntil(b"SERVER_READY")
        await reader.readuntil(b"}")
        writer.write(data)
        opcode, _, *begins = await reader.readexactly(4)
        assert opcode & 15 == CLOSE and bytes(begins) == code
        abort(writer)


async def test_what_the_gone_had_sent_goes_with_them() -> None:
    """Eight messages may wait for each; without any of them nothing of theirs does."""
    process = psutil.Process()

    async def vanish(port: int) -> None:
        reader, writer = await open_socket(port, FIRST)
        await reader.readuntil(b"SERVER_READY")
        writer.write(frame(BINARY, bytes(1_000_000)) * 8)
        await writer.drain()
        abort(writer)

    async with running(with_http(audio_rate=1.0, audio_burst_s=1.0)) as server:
        await vanish(server.http_port)
        await wait_for(server, "whisper_live_sessions 0.0")
        gc.disable()
        try:
            before = process.memory_info().rss
            for _ in range(20):
                await vanish(server.http_port)
                await wait_for(server, "whisper_live_sessions 0.0")
            grown = process.memory_info().rss - before
        finally:
            gc.enable()
        assert grown < 60_000_000  # of 160 MB that came
        async with client(server, port=server.http_port) as peer:
            await peer.hello()
            assert (await peer.next())["message"] == "SERVER_READY"
