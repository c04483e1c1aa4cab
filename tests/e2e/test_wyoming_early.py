"""Home Assistant's port while the model is being loaded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator

from tests.e2e.wyoming import read_answer, say
from whisper_live.testing.marks import write_speech

from wyoming.client import AsyncTcpClient  # isort: skip
from wyoming.info import Describe, Info  # isort: skip

COMMAND = write_speech([[1, 2, 3]], pause_s=0.1)[0]


@contextlib.asynccontextmanager
async def loading() -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A daemon that has begun to load, and Home Assistant's port of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.slow_load", "--engine", "oracle"),
        *("--port", "0", "--http-port", "0", "--wyoming-port", str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"loading\n"
        yield process, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def describe(port: int) -> Info:
    async with AsyncTcpClient("127.0.0.1", port) as peer:
        await peer.write_event(Describe().event())
        event = await peer.read_event()
    assert event is not None
    return Info.from_event(event)


async def test_it_says_what_it_is_whatever_the_load_does() -> None:
    """Loading holds the interpreter for long: here it is stopped altogether."""
    async with loading() as (process, port):
        os.kill(process.pid, signal.SIGSTOP)
        for _ in range(3):
            [program] = (await describe(port)).asr
            assert program.models[0].installed and "en" in program.models[0].languages
        async with AsyncTcpClient("127.0.0.1", port) as peer:
            await say(peer, COMMAND[:1000], stop=False)
            answer = await read_answer(peer)
        assert (answer.types, answer.error) == (["error", "closed"], "loading")


async def test_it_does_so_until_the_server_listens() -> None:
    """A connection between the two waited for 0.1 s on a busy machine."""
    async with loading() as (process, port):
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"\n")
        assert await process.stdout.readline() == b"starting\n"
        assert (await describe(port)).asr[0].models[0].installed


async def test_once_loaded_it_serves_and_stops_as_ever() -> None:
    async with loading() as (process, port):
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"\n\n")
        assert await process.stdout.readline() == b"starting\n"
        line = await process.stdout.readline()
        assert line.startswith(b"listening on ws://127.0.0.1:")
        async with AsyncTcpClient("127.0.0.1", port) as peer:
            await say(peer, COMMAND)
            assert (await read_answer(peer)).words == [1, 2, 3]
        assert (await describe(port)).asr
        process.terminate()
        assert await process.wait() == 0


async def test_nobody_answers_for_a_process_that_is_gone() -> None:
    async with loading() as (process, port):
        assert (await describe(port)).asr
        process.kill()
        await process.wait()
        async with asyncio.timeout(10):
            while True:
                try:
                    await describe(port)
                except (OSError, AssertionError):  # refused, or closed without a word
                    break
