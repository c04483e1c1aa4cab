"""WhisperLive's own clients, as published, run against a server under test.

Each client version and each version of its websocket library is installed alone
(``pip install --no-deps --target``) into a cache folder outside the repository, and
runs in a process and a working directory of its own.  Nothing of a client is changed
but the length of its final wait where a test says so.

``ScriptedServer`` is the other end for tests of what a client makes of a given
sequence of messages; it also writes the golden logs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from whisper_live.protocols.whisperlive import messages as protocol

__all__ = ["Run", "ScriptedServer", "Upstream", "Wire", "run_client", "write_wav"]

RUNNER = Path(__file__).with_name("upstream_runner.py")


def cache_folder() -> Path:
    """Where packages of upstream live between test runs."""
    named = os.environ.get("WHISPER_LIVE_UPSTREAM_CACHE")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else caches / "whisper-live-tests" / "upstream"


def installed(requirement: str) -> Path:
    """A folder with this one distribution in it; made on first use.

    Without a package index the test is skipped, except under CI, which must have one.
    """
    folder = cache_folder() / requirement.replace("==", "-")
    if not folder.exists():
        cache_folder().mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=cache_folder()))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--no-compile", "--target", str(fresh), requirement]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50)
        if done.returncode:
            shutil.rmtree(fresh)
            message = f"cannot install {requirement}: {done.stderr[-300:]}"
            pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
        try:
            fresh.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(fresh)
    return folder


@dataclass(frozen=True)
class Upstream:
    """One published client with one version of the websocket library under it."""

    version: str
    transport: str = "1.9.2"

    def __str__(self) -> str:
        return f"{self.version}-on-{self.transport}"

    def install(self) -> tuple[Path, Path]:
        """The folders to put on the path."""
        return (
            installed(f"whisper-live=={self.version}"),
            installed(f"websocket-client=={self.transport}"),
        )


@dataclass(frozen=True)
class Run:
    """What a client printed, wrote and returned before it ended."""

    exit_status: int | None  # None: it did not end and was killed
    output: str
    took_s: float
    srt: list[tuple[str, str]] | None  # times and text; None: no file was written
    result: Mapping[str, Any]  # see upstream_runner.py; empty if it died before

    @property
    def srt_text(self) -> list[str]:
        assert self.srt is not None, self.output
        return [text for _, text in self.srt]


async def run_client(
    client: Upstream,
    mode: str,
    port: int,
    wav: Path,
    folder: Path,
    *,
    speed: float = 0.0,
    patience_s: float = 15.0,
    timeout_s: float = 40.0,
    **options: Any,
) -> Run:
    """Run one client to its end.

    ``mode`` is file, microphone, stream or reconnect; ``speed`` 1 is real time and 0
    as fast as it goes; ``patience_s`` is the file client's wait after the last change
    of text (upstream's own is 15); ``options`` go to the client's constructor.
    """
    paths = client.install()
    folder.mkdir(parents=True)
    job = {
        "version": client.version,
        "installed_in": str(paths[0]),
        "mode": mode,
        "port": port,
        "wav": str(wav),
        "speed": speed,
        "patience_s": patience_s,
        "options": options,
    }
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-u", str(RUNNER), json.dumps(job)),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    ended = asyncio.create_task(process.communicate())
    done, _ = await asyncio.wait([ended], timeout=timeout_s)
    exit_status = process.returncode if done else None
    if not done:
        process.kill()
    output, _ = await ended
    srt, result = folder / "output.srt", folder / "result.json"
    return Run(
        exit_status=exit_status,
        output=output.decode(),
        took_s=time.monotonic() - began,
        srt=_read_srt(srt.read_text()) if srt.exists() else None,
        result=json.loads(result.read_text()) if result.exists() else {},
    )


def _read_srt(text: str) -> list[tuple[str, str]]:
    blocks = re.findall(r"(\d+)\n(\S+ --> \S+)\n(.*)\n\n", text)
    assert [int(number) for number, _, _ in blocks] == list(range(1, len(blocks) + 1))
    return [(times, words) for _, times, words in blocks]


def write_wav(path: Path, samples: bytes) -> Path:
    """16 kHz mono int16 ``samples`` as a file."""
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(samples)
    return path


# ------------------------------------------------------------------ the other end


@dataclass
class Wire:
    """The server's end of one connection, as a script for a test."""

    connection: ServerConnection
    log: list[dict[str, Any]] = field(default_factory=list)
    handshake: dict[str, Any] = field(default_factory=dict)
    received_bytes: int = 0
    ended: bool = False  # END_OF_AUDIO came, or the socket went

    @property
    def uid(self) -> str:
        uid = self.handshake["uid"]
        assert isinstance(uid, str)
        return uid

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message, exactly as the real server would write it."""
        await self.connection.send(protocol.encode(message))
        self.log.append({">": dict(message)})

    async def close(self, code: int = 1000) -> None:
        """Close from this side."""
        self.log.append({"close": code})
        await self.connection.close(code)

    async def _receive(self) -> None:
        try:
            message = await self.connection.recv()
        except ConnectionClosed:
            self.ended = True
            return
        if protocol.is_end_of_audio(message):
            self.ended = True
            self.log.append({"<": "END_OF_AUDIO"})
        else:
            assert isinstance(message, bytes), "only the handshake is text"
            self.received_bytes += len(message)
            self.log.append({"<": len(message)})

    async def audio(self, seconds: float) -> None:
        """Read until this much float32 audio has come since the start."""
        while self.received_bytes < seconds * 16_000 * 4 and not self.ended:
            await self._receive()

    async def until_end(self, timeout_s: float = 30.0) -> None:
        """Read until the client says that it is done, or leaves."""
        async with asyncio.timeout(timeout_s):
            while not self.ended:
                await self._receive()

    async def hold(self, seconds: float) -> None:
        """Leave the socket open for a client that is to leave by itself."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self.connection.recv()
        except (TimeoutError, ConnectionClosed):
            pass


Script = Callable[[Wire], Awaitable[None]]


class ScriptedServer:
    """Plays one script to every client; a failing script fails the test."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.wires: list[Wire] = []
        self.failures: list[BaseException] = []
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, script: Script) -> AsyncIterator[ScriptedServer]:
        """Listen on a free port; on leaving, raise what a script raised."""
        self = cls(script)
        async with serve(self._handle, "127.0.0.1", 0, compression=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
        if self.failures:
            raise self.failures[0]

    async def _handle(self, connection: ServerConnection) -> None:
        wire = Wire(connection)
        self.wires.append(wire)
        try:
            wire.handshake = json.loads(await connection.recv())
            wire.log.append({"<": wire.handshake})
            await self._script(wire)
        except ConnectionClosed:
            pass  # the client left in the middle; its test sees what it got
        except (Exception, asyncio.CancelledError) as failure:
            self.failures.append(failure)
