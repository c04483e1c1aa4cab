"""Signals, systemd's protocol and ways to fail at the start or for good.

Rows 9 to 12, 15, 17 and 18, without a systemd: ``test_systemd`` boots a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect

from tests.e2e.support import Client, client, quick, running, whole_session
from tests.faults.attacks import abort, open_raw
from tests.faults.certificates import certificate
from tests.faults.process import INJECTED, PORTS, SERVE, daemon, get, wait_until
from whisper_live import cli
from whisper_live.audio import Samples
from whisper_live.config.model import Config, LogConfig
from whisper_live.errors import ConfigError
from whisper_live.inference.types import Outcome, Request
from whisper_live.server import process, recorder, systemd
from whisper_live.server.keepalive import Keepalive
from whisper_live.server.process import run
from whisper_live.server.signals import Signals
from whisper_live.testing.marks import write_speech
from whisper_live.testing.oracle import Behaviour, OracleEngine

ROOT = Path(__file__).parents[2]
START_S = 40.0  # A start takes 2 s here, and ten beside other tests on a small machine.


def commands() -> Samples:
    """Seven seconds of speech that the demo model knows."""
    with wave.open(str(ROOT / "tests/data/speech/commands.wav")) as recording:
        pcm = recording.readframes(recording.getnframes())
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


@contextlib.asynccontextmanager
async def talking(port: int, *words: int, **options: Any) -> AsyncIterator[Client]:
    """A client in the middle of a sentence of ``words``, all of it sent."""
    scheme = "wss" if "ssl" in options else "ws"
    async with connect(f"{scheme}://127.0.0.1:{port}", **options) as sock:
        peer = Client(sock)
        await peer.hello()
        await peer.next()
        await peer.say(write_speech([words], pause_s=0.0)[0])
        yield peer


# -------------------------------------------------------------------------- stopping


async def test_sigterm_brings_the_last_words_and_exits_with_0(tmp_path: Path) -> None:
    async with daemon(tmp_path) as server, contextlib.AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(talking(server.port, n, n + 100))
            for n in range(10)
        ]
        idle_reader, idle = await open_raw(server.port)  # is not waited for
        server.kill()
        codes = await asyncio.gather(*[peer.rest() for peer in peers])
        assert codes == [1012] * 10
        assert [peer.words for peer in peers] == [[n, n + 100] for n in range(10)]
        assert await server.ended() == 0
        abort(idle)


async def test_a_second_sigterm_cuts_short(tmp_path: Path) -> None:
    slow = ("--oracle-call-s", "30", "--drain-timeout-s", "60")
    async with daemon(tmp_path, *slow) as server, talking(server.port, 1) as peer:
        server.kill()
        await wait_until(lambda: "draining 1 session\n" in server.log)
        server.kill()
        assert await peer.rest() == 1012
        assert await server.ended() == 0
        assert "1 session closed without the last text\n" in server.log


async def test_the_drain_has_a_limit() -> None:
    config = quick(drain_timeout_s=0.2)
    async with running(config, Behaviour(call_s=30.0)) as server:
        async with talking(server.port, 1) as peer:
            closing = asyncio.create_task(server.close())
            assert await peer.rest() == 1012
            await asyncio.wait_for(closing, 10)


@pytest.mark.parametrize(
    ("moment", "signum"),
    [
        ("start", "SIGINT"),
        ("load", "SIGTERM"),
        ("listen", "SIGINT"),
        ("exit", "SIGTERM"),
    ],
)
async def test_told_to_stop_at_any_moment_it_exits_with_0_and_its_last_line(
    moment: str, signum: str, tmp_path: Path
) -> None:
    program = ("-m", "tests.faults.stopping_itself", moment, signum)
    flags = ("--engine", "oracle", *PORTS)
    async with daemon(tmp_path, *flags, program=program, wait=False) as server:
        assert await server.ended() == 0
    assert re.search(r" whisper_live.server stopped after \d+ s\n$", server.log)


async def test_every_line_is_json_where_the_log_is(tmp_path: Path) -> None:
    flags = ("--log-format", "json")
    async with daemon(tmp_path, *flags, wait=False) as server:
        assert server.process.stdout is not None
        listening = json.loads(await server.process.stdout.readline())
        assert listening["message"].startswith("listening on ws://127.0.0.1:")
        server.kill()
        assert await server.ended() == 0
        assert await server.process.stdout.read() == b""
        messages = [json.loads(line)["message"] for line in server.log.splitlines()]
    assert "1 call at a time, 4 rows each" in messages[0]
    assert messages[1] == "stopping"
    assert re.fullmatch(r"stopped after \d+ s", messages[-1])


def test_a_start_that_cannot_be_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--engine", "oracle", "--keys-file", "/nowhere", "--log-format", "json")
    assert cli.main(["serve", *flags]) == 2
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "error"
    assert line["message"].startswith("whisper-live: cannot read the key file")


def test_a_bug_is_one_entry_of_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(process, "_announce", fail)
    flags = ("--engine", "oracle", *PORTS, "--log-format", "json")
    assert cli.main(["serve", *flags]) == 1
    *_, last = map(json.loads, capsys.readouterr().err.splitlines())
    assert (last["level"], last["message"]) == ("critical", "the daemon failed")
    assert "KeyError" in last["error"]


# ---------------------------------------------------------------------------- reload

ONE, TWO = "the-first-key-of-alice", "her-second-key-is-this"


async def test_sighup_takes_certificate_keys_and_level_over_and_drops_no_session(
    tmp_path: Path,
) -> None:
    def trust() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))

    def shown(peer: Client) -> bytes:
        der: bytes = peer.socket.transport.get_extra_info("ssl_object").getpeercert(
            True
        )
        return der

    first = certificate(tmp_path, "one")
    keys, settings = tmp_path / "keys", tmp_path / "settings.toml"
    keys.write_text(f"alice {ONE}\n")
    settings.write_text('log-level = "info"\n')
    flags = ["--tls-cert", f"{tmp_path}/cert.pem", "--tls-key", f"{tmp_path}/key.pem"]
    flags += ["--keys-file", str(keys), "--config", str(settings)]
    async with daemon(tmp_path, *flags) as server:
        assert server.first_line.startswith("listening on wss://127.0.0.1:")

        def bearer(key: str) -> dict[str, Any]:
            return {
                "ssl": trust(),
                "additional_headers": {"Authorization": f"Bearer {key}"},
            }

        async with talking(server.port, 1, 2, **bearer(ONE)) as old:
            assert shown(old) == first
            second = certificate(tmp_path, "two")
            keys.write_text(f"alice {TWO}\n")
            settings.write_text('log-level = "warning"\n')
            server.kill(signal.SIGHUP)
            await wait_until(lambda: server.log.count("1 key in force") == 2)
            # The line above comes before the certificate is read; a first connection
            # with the new key proves that all of it is done.
            async with talking(server.port, 3, **bearer(TWO)) as new:
                assert shown(new) == second
                await new.end()
                assert await new.rest() == 1000
                assert new.words == [3]
            await old.end()
            assert await old.rest() == 1000
            assert old.words == [1, 2]
        lines = len(server.log.splitlines())
        keys.write_text("not a key\n")
        server.kill(signal.SIGHUP)
        await wait_until(lambda: len(server.log.splitlines()) > lines)
        assert "line 1: expected 'name key'" in server.log
        async with talking(server.port, 4, **bearer(TWO)) as still:
            await still.end()
            await still.rest()
            assert still.words == [4]
    assert "opened" not in "\n".join(server.log.splitlines()[lines:])  # the new level


async def test_a_certificate_without_its_key_holds_up_neither_keys_nor_connections(
    tmp_path: Path,
) -> None:
    first = certificate(tmp_path, "one")
    keys = tmp_path / "keys"
    keys.write_text(f"alice {ONE}\n")
    flags = ["--tls-cert", f"{tmp_path}/cert.pem", "--tls-key", f"{tmp_path}/key.pem"]
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with daemon(tmp_path, *flags, "--keys-file", str(keys)) as server:
        old_key = (tmp_path / "key.pem").read_bytes()
        certificate(tmp_path, "two")
        (tmp_path / "key.pem").write_bytes(old_key)
        keys.write_text(f"alice {TWO}\n")  # the first one was stolen, say
        server.kill(signal.SIGHUP)
        await wait_until(lambda: "not everything was read again" in server.log)
        bearer = {"additional_headers": {"Authorization": f"Bearer {TWO}"}}
        async with talking(server.port, 1, ssl=trusted, **bearer) as peer:
            tls = peer.socket.transport.get_extra_info("ssl_object")
            assert tls.getpeercert(True) == first
            await peer.end()
            assert await peer.rest() == 1000
        assert peer.words == [1]


# --------------------------------------------------------------------------- systemd


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path)}

    async def next(self, within_s: float = 20.0) -> str:
        loop = asyncio.get_running_loop()
        message = await asyncio.wait_for(loop.sock_recv(self._socket, 4096), within_s)
        return message.decode()

    async def wait_for(self, state: str) -> None:
        while state not in await self.next():
            pass

    async def silent(self) -> None:
        """Until nothing but STATUS has come for a second."""
        with contextlib.suppress(TimeoutError):
            while True:
                await self.next(1.0)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


async def test_systemd_is_told_everything(tmp_path: Path, manager: Manager) -> None:
    environment = {**manager.environment, "WATCHDOG_USEC": "300000"}
    async with daemon(tmp_path, environment=environment) as server:
        assert await manager.next() == "STATUS=loading the model"
        await manager.wait_for("READY=1")
        await manager.wait_for("WATCHDOG=1")
        await manager.wait_for("WATCHDOG=1")
        server.kill()
        await manager.wait_for("STOPPING=1")
        assert await server.ended() == 0


@pytest.mark.parametrize(
    "fault", ["hang", pytest.param("block", marks=pytest.mark.slow)]
)
async def test_a_hung_engine_or_loop_is_not_covered_up(
    fault: str, tmp_path: Path, manager: Manager
) -> None:
    environment = {
        **manager.environment,
        "WATCHDOG_USEC": "300000",
        "FAULT": fault,
    }
    flags = ("--request-timeout-s", "0.5")
    async with daemon(
        tmp_path, *flags, program=INJECTED, environment=environment
    ) as server:
        await manager.wait_for("WATCHDOG=1")
        async with connect(f"ws://127.0.0.1:{server.port}", ping_interval=None) as sock:
            peer = Client(sock)
            await peer.hello()
            await peer.next()
            assert await asyncio.to_thread(get, server.port, "/readyz") == (
                200,
                "ready\n",
            )
            await peer.say(write_speech([[1, 2, 3]], pause_s=0.8)[0])
            if fault == "hang":
                await manager.wait_for("STATUS=an engine call hangs")
                status, _ = await asyncio.to_thread(get, server.port, "/readyz")
                assert status == 503
                assert (await asyncio.to_thread(get, server.port, "/healthz"))[0] == 200
            await asyncio.wait_for(no_watchdog(manager), 10)
            sock.transport.abort()


async def no_watchdog(manager: Manager) -> None:
    """Until a whole second, three periods, has passed without a sign of life."""
    loop = asyncio.get_running_loop()
    last = loop.time()
    while loop.time() - last < 1.0:
        with contextlib.suppress(TimeoutError):
            if "WATCHDOG=1" in await manager.next(0.2):
                last = loop.time()


class Activated:
    """A listening socket that outlives the daemons it is handed to."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self.socket.getsockname()[1]

    def start(self) -> subprocess.Popen[bytes]:
        # LISTEN_PID must be the daemon's own: set after the fork, by a shell.
        command = f'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&{self.socket.fileno()}'
        return subprocess.Popen(
            ["bash", "-c", command, sys.executable, *SERVE],
            pass_fds=[self.socket.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )


@pytest.mark.slow
async def test_an_inherited_socket_survives_restart_and_kill() -> None:
    """Nobody is refused: who comes in between waits in the backlog."""
    activated = Activated()
    served = cut_off = 0
    stop = asyncio.Event()

    async def ask() -> None:
        nonlocal served, cut_off
        while not stop.is_set():
            # Refused, this raises. Cut off is only whom SIGKILL caught being answered.
            reader, writer = await open_raw(activated.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
            try:
                answer = await reader.read()
            except ConnectionResetError:
                answer = b""
            served += answer.startswith(b"HTTP/1.1 200 ")
            cut_off += not answer
            writer.close()

    async def answered(times: int) -> None:
        """By the daemon of now; ends at once with the error of whom asks."""
        wanted = served + times
        waiting = asyncio.create_task(
            wait_until(lambda: served >= wanted, within_s=START_S)
        )
        done, _ = await asyncio.wait(
            (waiting, asking), return_when=asyncio.FIRST_COMPLETED
        )
        await done.pop()

    process = activated.start()
    asking = asyncio.create_task(ask())
    try:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            await answered(1)
            process.send_signal(signum)
            await asyncio.to_thread(process.wait, 20)
            process = activated.start()
        await answered(4)
        stop.set()
        await asking
        assert cut_off <= 1
    finally:
        process.kill()
        process.wait()
        activated.socket.close()
        asking.cancel()


# ----------------------------------------------------------------- engines that fail


async def test_a_lost_gpu_ends_the_process_with_its_own_code(tmp_path: Path) -> None:
    async with daemon(
        tmp_path, program=INJECTED, environment={"FAULT": "lost"}
    ) as server:
        async with talking(server.port, 1, 2) as peer:
            assert await peer.rest() == 1012
            assert await server.ended() == 3
    assert "the engine is lost" in server.log


async def test_a_batch_worker_that_fails_makes_the_daemon_unready_and_exit_with_3(
    tmp_path: Path,
) -> None:
    slow = ("--oracle-call-s", "30", "--drain-timeout-s", "60")
    async with daemon(
        tmp_path, *slow, program=INJECTED, environment={"FAULT": "worker"}
    ) as server:
        async with talking(server.port, 1, 2) as peer:
            assert await peer.rest() == 1012  # at once: nothing is waited for
            assert await server.ended() == 3
    assert "no more engine calls can be started" in server.log
    assert "closed without their last text" not in server.log


async def test_a_server_whose_worker_has_failed_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*, now: float) -> None:
        raise KeyError(1)

    async with running() as server:
        page = await asyncio.to_thread(get, server.port, "/readyz")
        assert page == (200, "ready\n")
        monkeypatch.setattr(server.worker._batcher, "take", fail)
        server.worker.cancel(0)  # wakes it
        await server.worker.lost.wait()
        page = await asyncio.to_thread(get, server.port, "/readyz")
        assert page == (503, "not ready\n")


@pytest.mark.slow
async def test_a_daemon_that_may_have_no_further_thread_goes_on(tmp_path: Path) -> None:
    """The limits are lowered after its start, as by an operator or a neighbour."""
    program = ("-m", "whisper_live", "serve", "--model", "demo", *PORTS)
    async with daemon(tmp_path, "--audio-rate", "0", program=program) as server:
        process = psutil.Process(server.process.pid)
        threads = process.num_threads()
        most_bytes = process.memory_info().vms + (4 << 20)  # half a thread's stack
        process.rlimit(psutil.RLIMIT_AS, (most_bytes, most_bytes))
        process.rlimit(psutil.RLIMIT_NPROC, (1, 1))
        for _ in range(2):
            async with connect(f"ws://127.0.0.1:{server.port}") as sock:
                peer = Client(sock)
                await peer.hello(final_pass=True)
                await peer.say(commands())
                await peer.end()
                assert await peer.rest() == 1000
                assert list(peer.completed.values())[0] == " Turn on the kitchen light."
                assert "final_transcript" in peer.messages[-1]
        assert process.num_threads() == threads
        assert (await asyncio.to_thread(get, server.port, "/readyz"))[0] == 200
        server.kill()
        assert await server.ended() == 0
    assert "start new thread" not in server.log


async def test_the_watchdog_survives_a_process_without_file_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    monkeypatch.setattr(socket, "socket", refuse)
    assert systemd.notify("WATCHDOG=1") is False


async def test_a_part_of_a_session_that_fails_ends_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not only what it did, with a client that waits for ever."""

    async def fail(self: Keepalive) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Keepalive, "run", fail)
    async with running() as server, client(server) as peer:
        await peer.hello()
        assert await peer.rest() == 1011
    assert peer.messages[-1]["message"] == "internal error"


class Exhausted(OracleEngine):
    """Runs out of memory on every batch that has a row of the first second."""

    async def transcribe(self, batch: Sequence[Request]) -> Sequence[Outcome]:
        if any(request.session == "s1" for request in batch):
            raise RuntimeError("CUDA out of memory")
        return await super().transcribe(batch)


async def test_a_batch_that_fails_costs_its_rows_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Exhausted(Behaviour(), max_batch=1)
    speech = write_speech([[1, 2], [3]], pause_s=0.8)[0]
    async with running(quick(), engine=engine) as server:
        async with client(server) as unlucky, client(server) as lucky:
            await unlucky.hello()
            await unlucky.next()
            await lucky.hello()
            await lucky.next()
            for peer in (unlucky, lucky):
                await peer.say(speech)
                await peer.end()
            assert [await unlucky.rest(), await lucky.rest()] == [1000, 1000]
    assert lucky.words == [1, 2, 3] and not lucky.dropped
    assert unlucky.words == []
    assert "could not be transcribed" in unlucky.messages[-1]["message"]
    assert "raised RuntimeError" not in str(unlucky.messages)  # our own affair


# --------------------------------------------------------------- starts that must fail


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--engine", "local", "--model", "./no-such-model"), "no such directory"),
        (("--engine", "local", "--model", "smal"), "; did you mean small?"),
        (("--engine", "local", "--models", "tiny,smal"), "model 'smal' is neither"),
        (("--engine", "local", "--final-model", "./no"), "no such directory"),
        (("--engine", "local", "--model-for-language", "de=a/b/c"), "'a/b/c'"),
        (("--host", "0.0.0.0"), "--keys-file"),
        (("--host", ""), "every address can be reached from other machines"),
        (("--keys-file", "/nonexistent"), "cannot read the key file"),
        (("--tls-cert", "/nonexistent"), "cannot load the certificate"),
        (("--record", "/proc/nowhere"), "cannot write recordings"),
        (("--trusted-proxies", "nonsense"), "trusted-proxies: 'nonsense' must be"),
        (("--tls-cert", __file__), "it or its key is no PEM"),
        (("--tls-key", "key.pem"), "tls-key without tls-cert"),
        (("--room-speakers", "alice"), "room-speakers needs keys-file"),
        (("--port", "TAKEN"), "cannot listen on 127.0.0.1:TAKEN: Address already"),
        (("--host", "localhost", "--port", "TAKEN"), "cannot listen on localhost:"),
        (("--http-port", "TAKEN"), "give another --http-port, or 0 for none"),
        (("--wyoming-port", "TAKEN"), "give another --wyoming-port, or 0 for none"),
        (("--port", "FREE", "--http-port", "FREE"), "port and http-port are both FREE"),
        (("--port", "FREE", "--wyoming-port", "FREE"), "port and wyoming-port are"),
        (
            ("--wyoming-host", "0.0.0.0", "--insecure", "--wyoming-port", "FREE")
            + ("--http-port", "FREE"),
            "http-port and wyoming-port are both FREE: give another --wyoming-port",
        ),
        (("--host", "192.0.2.1", "--insecure"), "cannot listen on 192.0.2.1:0"),
        (("--host", "nowhere.invalid", "--insecure"), "cannot listen on nowhere."),
    ],
)
def test_a_start_that_cannot_be_says_why_in_one_line_and_loads_nothing(
    flags: tuple[str, ...],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "load_engine", pytest.fail)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.socket() as kept,  # bound and not listened on: with SO_REUSEADDR free
    ):
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))

        def with_ports(text: str) -> str:
            text = text.replace("TAKEN", str(taken.getsockname()[1]))
            return text.replace("FREE", str(kept.getsockname()[1]))

        given = [with_ports(flag) for flag in flags]
        assert cli.main(["serve", "--engine", "oracle", *PORTS, *given]) == 2
        says = with_ports(says)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("whisper-live: ") and says in line


def test_an_inherited_socket_on_all_addresses_is_an_exposure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        monkeypatch.setattr(systemd, "inherited_socket", lambda: everywhere)
        with pytest.raises(ConfigError, match="--keys-file"):
            run(Config(), Signals(), Config)


def fill_disk(descriptor: int) -> None:
    """From now on there is no space for what is written there."""
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, descriptor)
    os.close(full)


@pytest.mark.parametrize("is_full_before", [True, False])
async def test_a_full_disk_ends_a_recording_and_not_its_session(
    is_full_before: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    opened, started = recorder._private, recorder.Recorder.__init__

    def private(path: Path) -> int:
        descriptor = opened(path)
        if is_full_before:
            fill_disk(descriptor)
        return descriptor

    def start(self: recorder.Recorder, *given: Any, **named: Any) -> None:
        started(self, *given, **named)
        fill_disk(self._log.fileno())

    monkeypatch.setattr(recorder, "_private", private)
    monkeypatch.setattr(recorder.Recorder, "__init__", start)
    config = dataclasses.replace(quick(), log=LogConfig(record=str(tmp_path)))
    numbers = list(range(60))
    async with running(config) as server:
        peer = await whole_session(server, write_speech([numbers], pause_s=0.8)[0])
    assert peer.words == numbers
    [error] = [
        each.getMessage() for each in caplog.records if each.levelname == "ERROR"
    ]
    what = "it is not recorded" if is_full_before else "its recording ends here"
    assert error.startswith(f"{what}: [Errno 28] No space left on device: '{tmp_path}/")
    assert error.endswith(".jsonl'")
    left = [path.read_text() for path in tmp_path.iterdir()]
    assert left == [] if is_full_before else left[0].startswith('{"')
