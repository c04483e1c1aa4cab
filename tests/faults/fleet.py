"""Daemons behind a real HAProxy, and clients that resume at whichever they meet."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.faults.process import Daemon, daemon, get
from whisper_live.audio import Samples
from whisper_live.testing.marks import read_numbers

__all__ = ["HAPROXY", "Fleet", "Proxy", "Speaker", "running_fleet"]

HAPROXY = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
NAMES = ("one", "two", "three")  # HAProxy's, of the daemons
_CHUNK = 2048
# Sessions wait at gates here: nothing but their clients' words must end an utterance.
_FLAGS = ("--stall-flush-s", "300", "--idle-timeout-s", "600", "--audio-rate", "0")


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@dataclass
class Proxy:
    """HAProxy with a master that can be told to reload."""

    process: asyncio.subprocess.Process
    port: int
    statistics: int

    def values(self) -> dict[tuple[str, ...], float]:
        """Its own metrics: by name, proxy, server and state, as far as there are."""
        _, page = get(self.statistics, "/metrics")
        keys = ("proxy", "name", "server", "state")
        return {
            (s.name, *(s.labels[key] for key in keys if key in s.labels)): s.value
            for family in text_string_to_metric_families(page)
            for s in family.samples
        }

    async def until(self, *name: str, value: float) -> None:
        """Wait for a metric."""
        while True:
            with contextlib.suppress(OSError):  # it may be starting
                values = await asyncio.to_thread(self.values)
                if values.get(name) == value:
                    return
            await asyncio.sleep(0.05)

    async def state(self, server: str, state: str) -> None:
        """Wait until its checks say so of a daemon."""
        await self.until("haproxy_server_status", "daemons", server, state, value=1.0)

    async def reload(self, known: int) -> None:
        """Until a new process serves, and has been told of so many clients."""
        start: tuple[str, ...] = ("haproxy_process_start_time_seconds",)
        before = (await asyncio.to_thread(self.values))[start]
        self.process.send_signal(signal.SIGUSR2)
        async with asyncio.timeout(30):
            values = {start: before}
            while values.get(start, before) == before:
                with contextlib.suppress(OSError):
                    values = await asyncio.to_thread(self.values)
                await asyncio.sleep(0.05)
            await self.until("haproxy_sticktable_used", "daemons", value=known)


@dataclass
class Fleet:
    """Three daemons and their proxy."""

    folder: Path
    flags: Sequence[str]
    ports: Sequence[int]
    proxy: Proxy
    stack: contextlib.AsyncExitStack
    daemons: dict[str, Daemon] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        """A daemon, until the proxy sends it clients."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        port = self.ports[NAMES.index(name)]
        flags = ("--port", str(port), *_FLAGS, *self.flags)
        state = ("--state-dir", str(folder))
        self.daemons[name] = await self.stack.enter_async_context(
            daemon(folder, *flags, *state)
        )
        async with asyncio.timeout(30):
            await self.proxy.state(name, "UP")

    async def stop(self, name: str, signum: int) -> None:
        """End a daemon."""
        self.daemons[name].kill(signum)
        await self.daemons[name].ended()

    async def restart(self, name: str, signum: int = signal.SIGTERM) -> None:
        """End a daemon, and start the next one in its place."""
        await self.stop(name, signum)
        await self.start(name)


@contextlib.asynccontextmanager
async def running_fleet(folder: Path, *flags: str) -> AsyncIterator[Fleet]:
    """All of it, with the shipped configuration."""
    listen, statistics, peers, *ports = free_ports(3 + len(NAMES))
    addresses = {"LISTEN": listen, "STATISTICS": statistics, "PEERS": peers}
    addresses |= {f"DAEMON_{n}": port for n, port in enumerate(ports, 1)}
    environment = {name: f"127.0.0.1:{port}" for name, port in addresses.items()}
    with (folder / "haproxy.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *("haproxy", "-W", "-f", str(HAPROXY)),
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        async with contextlib.AsyncExitStack() as stack:
            proxy = Proxy(process, listen, statistics)
            fleet = Fleet(folder, flags, ports, proxy, stack)
            for name in NAMES:
                await fleet.start(name)
            yield fleet
    finally:
        process.terminate()
        await process.wait()


@dataclass
class Speaker:
    """Says ``samples`` up to one gate after another, whatever becomes of its sockets.

    It resumes its session, and where no daemon knows that any more begins a new one
    with the audio after the newest ``decided``.
    """

    url: str
    samples: Samples
    gates: Sequence[asyncio.Event]
    words: list[int] = field(default_factory=list)  # of sessions that are over
    waits_at: int | None = None  # the gate, everything before it being sent
    failed: list[str] = field(default_factory=list)  # handshakes
    sessions: int = 0
    resumed: int = 0
    _socket: ClientConnection | None = None
    _token: str = ""
    _last_seq: int = 0
    _origin: int = 0  # the sample with which its session began
    _decided: int = 0  # samples since then
    _completed: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Until all has been said and told."""
        while not await self._one_socket():
            self.waits_at = None
        self._keep_words()

    def cut(self) -> None:
        """Its socket breaks."""
        assert self._socket is not None
        self.waits_at = None
        self._socket.transport.abort()

    async def _one_socket(self) -> bool:
        try:
            self._socket = await connect(self.url, max_size=None, compression=None)
        except (OSError, InvalidHandshake) as error:
            self.failed.append(repr(error))
            await asyncio.sleep(0.1)
            return False
        try:
            received = await self._greet(self._socket)
            if received is None:
                return False
            speaking = asyncio.create_task(self._speak(self._socket, received))
            try:
                return await self._listen(self._socket)
            finally:
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)
        except ConnectionClosed:
            return False
        finally:
            self._socket.transport.abort()

    async def _greet(self, socket: ClientConnection) -> int | None:
        """The sample to go on with; None if the session is no more."""
        wish = {"resume_token": self._token} if self._token else {"resume": True}
        hello = {"uid": "u", "language": "en", "task": "transcribe", **wish}
        await socket.send(json.dumps({**hello, "last_seq": self._last_seq}))
        ready = json.loads(await socket.recv())
        if ready.get("status") == "ERROR" and self._token:
            self._begin_anew()
            return None
        assert ready.get("message") == "SERVER_READY", ready
        self.sessions += "resumed" not in ready
        self.resumed += "resumed" in ready
        self._token = ready["resume_token"]
        self._hear(ready)
        return self._origin + int(ready["received"])

    def _begin_anew(self) -> None:
        self._keep_words()
        self._origin += self._decided
        self._token, self._last_seq, self._decided = "", 0, 0

    def _keep_words(self) -> None:
        ordered = sorted(self._completed.items(), key=lambda item: float(item[0]))
        self.words += [n for _, text in ordered for n in read_numbers(text)]
        self._completed.clear()

    async def _speak(self, socket: ClientConnection, at: int) -> None:
        for gate, opened in enumerate(self.gates, 1):
            end = len(self.samples) * gate // len(self.gates)
            for start in range(at, end, _CHUNK):
                audio = self.samples[start : min(start + _CHUNK, end)]
                await socket.send(audio.astype("<f4").tobytes())
            at = max(at, end)
            self.waits_at = gate
            await opened.wait()
        await socket.send(b"END_OF_AUDIO")

    async def _listen(self, socket: ClientConnection) -> bool:
        try:
            while True:
                self._hear(json.loads(await socket.recv()))
        except ConnectionClosed as closed:
            return closed.rcvd is not None and closed.rcvd.code == 1000

    def _hear(self, message: dict[str, Any]) -> None:
        assert message.get("seq", self._last_seq + 1) > self._last_seq, "told twice"
        self._last_seq = message.get("seq", self._last_seq)
        self._decided = message.get("decided", self._decided)
        for segment in message.get("segments", ()):
            if segment["completed"]:
                text = self._completed.setdefault(segment["start"], segment["text"])
                assert text == segment["text"], "a completed segment was changed"
