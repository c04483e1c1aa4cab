"""Servers under test, each alone on the machine, with the same weights and threads.

wyoming-faster-whisper runs in an environment of its own:
``python3.11 -m venv V && V/bin/pip install wyoming-faster-whisper==3.8.1``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from wyoming.client import AsyncTcpClient
from wyoming.info import Describe

__all__ = ["Contender", "Running", "ours", "started", "theirs"]

_START_S = 120.0
_ASK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Contender:
    """A server and how its clients end a command; ``{port}`` stands in its command."""

    name: str
    command: tuple[str, ...]
    stop_after_s: float | None  # None: it hears the end by itself


@dataclass(slots=True)
class Running:
    """A server that serves, and how long it took to say what it is before that."""

    port: int
    described_s: list[float] = field(default_factory=list)


def ours(model: str, *, silence_s: float, hears: bool = True) -> Contender:
    """This tree's daemon; ``hears`` False leaves the end to the client."""
    heard_ms = silence_s * 1000 if hears else 0
    ports = ("--port", "0", "--http-port", "0", "--wyoming-port", "{port}")
    rest = (
        "--model",
        model,
        "--log-level",
        "warning",
        f"--wyoming-silence-ms={heard_ms:g}",
    )
    command = (sys.executable, "-m", "whisper_live", "serve", *ports, *rest)
    name = "whisper-live" if hears else "whisper-live, client's end"
    return Contender(name, command, None if hears else silence_s)


def theirs(
    python: Path, weights: Path, *, silence_s: float, hears: bool = False
) -> Contender:
    """wyoming-faster-whisper; ``hears`` uses its own end of speech."""
    flags = ["--uri", "tcp://127.0.0.1:{port}", "--model", str(weights)]
    flags += ["--data-dir", str(weights.parent), "--device", "cpu", "--language", "en"]
    flags += ["--compute-type", "int8", "--beam-size", "5", "--local-files-only"]
    flags += ["--cpu-threads", str(len(os.sched_getaffinity(0)))]
    flags += ["--stt-library", "faster-whisper"]
    if hears:
        flags += ["--vad-endpointing", f"{silence_s:g}"]
    command = (str(python), "-m", "wyoming_faster_whisper", *flags)
    name = "wyoming-faster-whisper" + (", --vad-endpointing" if hears else "")
    return Contender(name, command, None if hears else silence_s)


@contextlib.asynccontextmanager
async def started(contender: Contender, log: Path) -> AsyncIterator[Running]:
    """The server while it runs; what it says goes into ``log``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        running = Running(free.getsockname()[1])
    command = [part.format(port=running.port) for part in contender.command]
    with log.open("w") as errors, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
    ) as process:
        try:
            await _wait(contender, process, running, log)
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


async def _wait(
    contender: Contender, process: subprocess.Popen[bytes], running: Running, log: Path
) -> None:
    """Ask it what it is until it serves; ours says so, of others an answer does."""
    assert process.stdout is not None
    is_ours = contender.name.startswith("whisper-live")
    said = asyncio.create_task(asyncio.to_thread(process.stdout.readline))
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        began = time.monotonic()
        if await _answers(running.port):
            if not is_ours:
                return
            running.described_s.append(time.monotonic() - began)
        if is_ours and said.done():
            return
        await asyncio.sleep(_ASK_EVERY_S)
    raise SystemExit(f"{contender.name} did not start; see {log}")


async def _answers(port: int) -> bool:
    try:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Describe().event())
            return await client.read_event() is not None
    except OSError:
        return False
