"""Peers that freeze, do not read or send too much (rows 5 to 8; numbers in bench)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator

import pytest

from tests.e2e.support import client, quick, running
from tests.faults.attacks import BINARY, HELLO, TEXT, abort, frame, open_socket
from whisper_live.config.model import ListenConfig
from whisper_live.server import keepalive, socket
from whisper_live.server.server import Server
from whisper_live.testing.marks import account_for, write_speech

FOREVER = 3600.0


@pytest.fixture
def quick_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keepalive._INTERVAL_S + keepalive._TIMEOUT_S <= 30
    monkeypatch.setattr(keepalive, "_INTERVAL_S", 0.1)
    monkeypatch.setattr(keepalive, "_TIMEOUT_S", 0.4)
    monkeypatch.setattr(socket, "CLOSE_TIMEOUT_S", 0.2)


async def frozen(
    server: Server,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that was there once and answers no ping."""
    hello = frame(TEXT, json.dumps(HELLO).encode())
    reader, writer = await open_socket(server.port, hello)
    await reader.readuntil(b"SERVER_READY")
    return reader, writer


async def wait_for(server: Server, text: str) -> None:
    async with asyncio.timeout(10):
        while text.encode() not in server.metrics.render():
            await asyncio.sleep(0.01)


async def test_a_frozen_peer_is_found_out(quick_pulse: None) -> None:
    async with running(quick(idle_timeout_s=FOREVER)) as server:
        reader, writer = await frozen(server)
        assert b"whisper_live_sessions 1.0" in server.metrics.render()
        await wait_for(server, "whisper_live_sessions 0.0")
        abort(writer)


# A client at the other end of a cable of its own, which it then pulls out.
CUT_OFF = """
import asyncio, subprocess, sys
from websockets.asyncio.client import connect
async def main(device, host, port):
    def ip(*words):
        subprocess.run(["ip", *words], check=True)
    print("new namespace", flush=True)
    sys.stdin.readline()
    ip("addr", "add", "10.199.77.2/30", "dev", device)
    ip("link", "set", device, "up")
    async with connect(f"ws://{host}:{port}") as socket:
        await socket.send('{"uid": "x", "language": "en", "task": "transcribe"}')
        await socket.recv()
        ip("link", "set", device, "down")
        print("cut off", flush=True)
        await asyncio.sleep(3600)
asyncio.run(main(*sys.argv[1:]))
"""


async def ip(*words: str) -> None:
    """Configure the network, or skip where that may not be done."""
    done = await asyncio.create_subprocess_exec(
        "ip", *words, stderr=asyncio.subprocess.PIPE
    )
    _, said = await done.communicate()
    if done.returncode:
        pytest.skip(f"ip {' '.join(words)}: {said.decode().strip()}")


@contextlib.asynccontextmanager
async def cut_off(port: int) -> AsyncIterator[None]:
    """A client is connected, and then the network between is not there any more."""
    ours, theirs = f"wl{os.getpid()}a", f"wl{os.getpid()}b"
    host = "10.199.77.1"
    away = await asyncio.create_subprocess_exec(
        *("unshare", "--net", sys.executable, "-c", CUT_OFF, theirs, host, str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert away.stdin is not None and away.stdout is not None
    try:
        if not await away.stdout.readline():
            pytest.skip("no network namespace can be made")
        await ip("link", "add", ours, "type", "veth", "peer", "name", theirs)
        await ip("link", "set", theirs, "netns", str(away.pid))
        await ip("addr", "add", f"{host}/30", "dev", ours)
        await ip("link", "set", ours, "up")
        away.stdin.write(b"go\n")
        assert await away.stdout.readline() == b"cut off\n"
        yield
    finally:
        away.kill()
        await away.communicate()
        # The kernel keeps the namespace, and the cable, while its sockets try to end.
        unplug = await asyncio.create_subprocess_exec(
            *("ip", "link", "delete", ours), stderr=asyncio.subprocess.DEVNULL
        )
        await unplug.wait()


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"),
    reason="needs root, unshare and ip",
)
async def test_a_peer_that_vanished_from_the_network_is_found_out(
    quick_pulse: None,
) -> None:
    """No FIN, no RST, and nothing that is sent is ever acknowledged."""
    config = dataclasses.replace(
        quick(idle_timeout_s=FOREVER),
        listen=ListenConfig(host="0.0.0.0", port=0, http_port=0),
    )
    async with running(config) as server, cut_off(server.port):
        assert b"whisper_live_sessions_total 1.0" in server.metrics.render()
        await wait_for(server, "whisper_live_sessions 0.0")


async def test_a_client_that_is_not_read_is_not_taken_for_dead(
    quick_pulse: None,
) -> None:
    """Its pong waits behind ten seconds of audio that audio-rate keeps us from."""
    numbers = [list(range(10 * i, 10 * i + 8)) for i in range(4)]
    samples, _ = write_speech(numbers, pause_s=0.9)
    config = quick(audio_rate=8.0, audio_burst_s=0.5, idle_timeout_s=FOREVER)
    async with running(config) as server, client(server) as peer:
        await peer.hello()
        began = time.monotonic()
        rest = asyncio.create_task(peer.rest())
        await peer.say(samples)
        await peer.end()
        assert await rest == 1000
        took = time.monotonic() - began
    assert peer.words == [number for group in numbers for number in group]
    assert took >= (len(samples) / 16000 - 0.5) / 8.0 - 0.1  # and the rate was kept
    assert took > 1.0  # long enough for several pulses


async def test_a_client_that_never_reads_is_closed_and_costs_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it was sent fills the kernel's buffers, then ours, then it is closed."""
    monkeypatch.setattr(socket, "CLOSE_TIMEOUT_S", 0.2)
    utterances = [[number] for number in range(400)]
    speech, _ = write_speech(utterances, pause_s=0.6, word_s=0.3)
    data = speech.astype("<f4").tobytes()
    hello = {**HELLO, "send_last_n_segments": 500, "word_timestamps": True}
    async with running(quick(max_unsent=8)) as server:
        _, writer = await open_socket(
            server.port, frame(TEXT, json.dumps(hello).encode())
        )
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for at in range(0, len(data), 500_000):
            writer.write(frame(BINARY, data[at : at + 500_000]))
            await writer.drain()
        await wait_for(server, 'errors_total{type="unread"} 1.0')
        await wait_for(server, "whisper_live_sessions 0.0")
        abort(writer)


async def test_a_flood_loses_nothing_for_its_neighbour_or_itself() -> None:
    """As fast as it can send, read at 20 times real time; nobody is refused."""
    numbers = [list(range(10 * i, 10 * i + 8)) for i in range(12)]
    samples, _ = write_speech(numbers, pause_s=0.9)
    mine = [[1000 + i] for i in range(3)]
    speech, _ = write_speech(mine, pause_s=0.8)
    config = quick(audio_rate=20.0, audio_burst_s=5.0)
    async with running(config) as server:
        async with client(server) as flood, client(server) as neighbour:
            for peer in (flood, neighbour):
                await peer.hello()
            rests = [asyncio.create_task(p.rest()) for p in (flood, neighbour)]
            flooding = asyncio.create_task(flood.say(samples, chunk=100_000))
            await neighbour.say(speech)
            await neighbour.end()
            await flooding
            await flood.end()
            assert await asyncio.gather(*rests) == [1000, 1000]
    assert neighbour.words == [number for group in mine for number in group]
    assert account_for([n for g in numbers for n in g], flood.words).clean
