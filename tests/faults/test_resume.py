"""Who can resume loses no word where the daemon is killed or a proxy is reloaded."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.resuming import javascript_client, needs_node
from tests.e2e.support import client, quick, running
from tests.faults.process import daemon
from whisper_live.server.server import Server
from whisper_live.testing.marks import read_numbers, write_speech

SAID = [[1, 2, 3], [4, 5], [6, 7, 8], [9, 10], [11], [12, 13, 14]]
HAPROXY = """
global
    hard-stop-after 100ms
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
listen whisper
    bind 127.0.0.1:{front}
    server one 127.0.0.1:{back}
"""


def audio() -> bytes:
    samples, _ = write_speech(SAID, pause_s=1.2)
    return samples.astype("<f4").tobytes()


async def say_half(process: asyncio.subprocess.Process, data: bytes) -> bytes:
    """Up to the middle of the audio; the first line of text that came of it."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(data[: len(data) // 8 * 4])
    return await process.stdout.readline()


async def words_after(
    process: asyncio.subprocess.Process, first: bytes, data: bytes
) -> list[int]:
    """Send the rest; all words."""
    out, _ = await process.communicate(data[len(data) // 8 * 4 :])
    assert process.returncode == 0
    return read_numbers((first + out).decode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@needs_node
async def test_what_a_killed_daemon_had_not_told_is_said_again(tmp_path: Path) -> None:
    data, port = audio(), free_port()
    flags = ("--port", str(port), "--audio-rate", "0")
    async with javascript_client(port) as process:
        async with daemon(tmp_path, *flags) as killed:
            first = await say_half(process, data)
            killed.kill(signal.SIGKILL)
            await killed.ended()
        async with daemon(tmp_path, *flags):
            words = await words_after(process, first, data)
    assert words == [number for group in SAID for number in group]


@contextlib.asynccontextmanager
async def haproxy(
    folder: Path, back: int
) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """HAProxy with a master that can be told to reload; its port, and the master."""
    front = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(front=front, back=back))
    process = await asyncio.create_subprocess_exec("haproxy", "-W", "-f", str(config))
    try:
        yield front, process
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.slow
@needs_node
@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy")
async def test_a_proxy_that_is_reloaded_costs_no_word(tmp_path: Path) -> None:
    data = audio()
    async with running(quick()) as server, haproxy(tmp_path, server.port) as (
        front,
        process,
    ):
        async with javascript_client(front) as speaker:
            first = await say_half(speaker, data)
            process.send_signal(signal.SIGUSR2)
            while "sessions_detached 1.0" not in page(server):
                if 'outcome="resumed"' in page(server):
                    break
                await asyncio.sleep(0.02)
            words = await words_after(speaker, first, data)
        resumed = 'resumptions_total{outcome="resumed"} 1.0' in page(server)
    assert words == [number for group in SAID for number in group]
    assert resumed


def page(server: Server) -> str:
    return server.metrics.render().decode()


async def test_guesses_find_nothing_and_cost_neighbours_nothing() -> None:
    """Of 200 guesses a few are answered; a neighbour resumes among them."""
    async with running(quick(max_sessions=1)) as server:
        async with client(server) as peer:
            await peer.hello(resume=True)
            token = (await peer.next())["resume_token"]
            peer.socket.transport.abort()

        async def guess(number: int) -> int:
            async with client(server) as stranger:
                await stranger.hello(resume_token=f"{number}{token[::-1]}")
                return await stranger.rest() and len(stranger.messages)

        answered = await asyncio.gather(*map(guess, range(200)))
        assert 20 <= sum(answered) < 100
        async with client(server) as again:
            await again.hello(resume_token=token)
            assert (await again.next())["resumed"]
        assert 'reason="resume_unknown"} 200.0' in page(server)
