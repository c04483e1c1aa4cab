"""The daemon as a process of its own, and what can be seen of it from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import psutil

__all__ = ["INJECTED", "PORTS", "SERVE", "Daemon", "daemon", "get", "wait_until"]

PORTS = ("--port", "0", "--http-port", "0")
SERVE = ("-m", "whisper_live", "serve", "--engine", "oracle", *PORTS)
INJECTED = ("-m", "tests.faults.injected", "--engine", "oracle", *PORTS)


class Daemon:
    """A running daemon: its port, its log and what it costs."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.port = 0
        self.first_line = ""
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    async def http_port(self) -> int:
        """Its other port, with ``--http-port -1``, once the log says so."""
        line = re.compile(r" on http://[\d.]+:(\d+)\n")
        await wait_until(lambda: line.search(self.log) is not None)
        return int(line.findall(self.log)[0])

    @property
    def rss_mib(self) -> float:
        rss: int = psutil.Process(self.process.pid).memory_info().rss
        return rss / 2**20

    @property
    def fds(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    async def listening(self) -> None:
        """Wait for its first line."""
        assert self.process.stdout is not None
        self.first_line = (await self.process.stdout.readline()).decode().strip()
        assert self.first_line.startswith("listening on "), self.log
        self.port = int(self.first_line.rpartition(":")[2])

    async def metrics(self) -> Mapping[str, float]:
        """Samples of ``/metrics`` by name and labels as they stand on the page."""
        _, page = await asyncio.to_thread(get, self.port, "/metrics")
        lines = [line for line in page.splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, value in map(_sample, lines)}

    async def sessions(self) -> float:
        return (await self.metrics())["whisper_live_sessions"]

    def kill(self, signum: int = signal.SIGTERM) -> None:
        self.process.send_signal(signum)

    async def ended(self) -> int:
        """Its exit status."""
        return await asyncio.wait_for(self.process.wait(), 40)


@contextlib.asynccontextmanager
async def daemon(
    folder: Path,
    *flags: str,
    program: tuple[str, ...] = SERVE,
    environment: Mapping[str, str] | None = None,
    wait: bool = True,
) -> AsyncIterator[Daemon]:
    """A daemon with the oracle engine; its log goes to ``folder``."""
    log = folder / "daemon.log"
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *program,
            *flags,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(environment or {})},
        )
    running = Daemon(process, log)
    try:
        if wait:
            await running.listening()
        yield running
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
        await process.communicate()


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as a:
            return a.status, a.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def wait_until(true: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Look 50 times a second; for what only shows from outside."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


def _sample(line: str) -> tuple[str, str]:
    name, _, value = line.rpartition(" ")
    return name, value
