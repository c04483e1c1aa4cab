"""``status`` and ``doctor``: what an operator is told, and the exit codes."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

from tests.e2e.support import quick, running, with_http
from tests.faults.certificates import certificate
from whisper_live import cli
from whisper_live.config.model import AccessConfig
from whisper_live.server import access, process_limits
from whisper_live.testing.oracle import OracleEngine

Capture = pytest.CaptureFixture[str]


async def test_status_of_a_daemon_that_is_well_and_of_one_that_is_not(
    capsys: Capture,
) -> None:
    def ask(port: int) -> tuple[int, list[str]]:
        code = cli.main(["status", "--url", f"http://127.0.0.1:{port}/"])
        return code, capsys.readouterr().out.splitlines()

    async with running() as server:
        server.metrics.session_rejected("capacity")
        server.metrics.session_rejected("address")
        code, lines = await asyncio.to_thread(ask, server.port)
        assert code == 0
        assert lines[0].split() == ["ready", "yes"]
        said = dict(line.split(maxsplit=1) for line in lines)
        assert said["sessions"] == "0 open, 0 so far, 2 turned away"
        assert said["model"] == "oracle on cpu (oracle)"
        assert (said["uploads"], said["http"]) == ("0 under way, 0 so far", "off")
        server._draining = True
        code, lines = await asyncio.to_thread(ask, server.port)
        assert code == 1 and lines[0].startswith("ready     no")


async def test_status_tells_of_the_http_port_and_its_uploads(capsys: Capture) -> None:
    async with running(with_http()) as server:
        for outcome in ("finished", "damaged", ""):
            server.metrics.upload_opened()
            if outcome:
                server.metrics.upload_closed(outcome)
        for port in (server.port, server.http_port):
            ask = ["status", "--url", f"127.0.0.1:{port}"]
            assert await asyncio.to_thread(cli.main, ask) == 0
            lines = capsys.readouterr().out.splitlines()
            said = dict(line.split(maxsplit=1) for line in lines)
            assert said["uploads"] == "1 under way, 2 so far"
            assert said["http"] == f"port {server.http_port}"


async def test_status_says_where_the_weights_came_from(capsys: Capture) -> None:
    engine = OracleEngine()
    engine._info = dataclasses.replace(
        engine.info, model="tiny.en", weights="package some-weights 1.0"
    )
    async with running(engine=engine) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert await asyncio.to_thread(cli.main, ["status", "--url", url]) == 0
    said = capsys.readouterr().out
    assert "tiny.en on cpu (oracle), weights: package some-weights 1.0\n" in said


async def test_status_from_elsewhere_needs_a_key(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(access.Access, "_is_local", lambda *given: False)
    keys = tmp_path / "keys"
    keys.write_text("alice a-long-secret-key\n")
    config = dataclasses.replace(quick(), access=AccessConfig(keys_file=str(keys)))
    async with running(config) as server:
        ask = ["status", "--url", f"http://127.0.0.1:{server.port}"]
        assert await asyncio.to_thread(cli.main, ask) == 1
        assert "only to who shows a key: --key" in capsys.readouterr().out
        monkeypatch.setenv("WHISPER_LIVE_KEY", "a-long-secret-key")
        assert await asyncio.to_thread(cli.main, ask) == 0
        assert capsys.readouterr().out.startswith("ready     yes")


def test_status_where_nobody_answers(capsys: Capture) -> None:
    with socket.socket() as sock:  # bound, not listening: refused
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
        assert cli.main(["status", "--port", port]) == 1
    assert f"no daemon answers at http://127.0.0.1:{port}" in capsys.readouterr().out


def test_doctor_finds_nothing_wrong_with_the_oracle(capsys: Capture) -> None:
    assert cli.main(["doctor", "--engine", "oracle", "--port", "0"]) == 0
    said = capsys.readouterr().out
    assert "bad" not in said and "oracle" in said


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--model", "./nowhere"), "no such directory"),
        (("--host", "0.0.0.0"), "give --keys-file and --tls-cert"),
        (("--keys-file", "/nowhere"), "cannot read the key file"),
        (("--tls-cert", "/nowhere"), "/nowhere"),
        (("--compute-type", "float3"), "compute-type float3"),
        (("--models", "tiny,smal"), "model 'smal' is neither a directory"),
        (("--host", "192.0.2.1", "--insecure"), "cannot listen on 192.0.2.1:0"),
    ],
)
def test_doctor_says_what_is_wrong(
    flags: tuple[str, ...], says: str, capsys: Capture
) -> None:
    engine = ("--engine", "oracle")
    if flags[0] in ("--model", "--compute-type", "--models"):
        engine = ("--device", "cpu")
    assert cli.main(["doctor", *engine, "--port", "0", *flags]) == 1
    [line] = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("bad")
    ]
    assert says in line


def test_doctor_warns_of_secrets_that_others_can_read(
    tmp_path: Path, capsys: Capture
) -> None:
    keys, pem = tmp_path / "keys", tmp_path / "key.pem"
    keys.write_text("alice 0123456789abcdef\n")
    certificate(tmp_path, "localhost")
    flags = ["--keys-file", str(keys), "--tls-key", str(pem)]
    flags += ["--tls-cert", str(tmp_path / "cert.pem"), "--engine", "oracle"]

    def warned() -> list[str]:
        assert cli.main(["doctor", "--port", "0", *flags]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [line.split(maxsplit=2)[2] for line in lines if "chmod" in line]

    for path in (keys, pem):
        path.chmod(0o644)
    assert warned() == [
        f"{path} is open to others: chmod 600 {path}" for path in (keys, pem)
    ]
    for path in (keys, pem):
        path.chmod(0o640)
    assert warned() == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (191, "191 open files are few: ulimit -n 192, or the unit"),
        (200, "200 open files leave 8 readers of rooms: ulimit -n 4192, or the unit"),
        (4192, "4192 open files for 64 sessions"),
    ],
)
def test_doctor_counts_open_files(
    files: int, says: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_limits, "most_open_files", lambda: files)
    assert cli.main(["doctor", "--engine", "oracle", "--port", "0"]) == 0
    assert says in capsys.readouterr().out


def test_doctor_finds_short_keys(tmp_path: Path, capsys: Capture) -> None:
    keys = tmp_path / "keys"
    keys.write_text("alice 0123456789\n")
    flags = ("--keys-file", str(keys), "--engine", "oracle", "--port", "0")
    assert cli.main(["doctor", *flags]) == 1
    assert "the key of alice has fewer than 16" in capsys.readouterr().out


def test_doctor_finds_upstreams_package(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(
        metadata, "packages_distributions", lambda: {"whisper_live": ["whisper-live"]}
    )
    assert cli.main(["doctor", "--engine", "oracle", "--port", "0"]) == 1
    assert "pip uninstall whisper-live" in capsys.readouterr().out


def test_doctor_sees_who_has_the_port(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["doctor", "--engine", "oracle", "--port", port]) == 0
    assert f"whisper-live status --port {port}" in capsys.readouterr().out


@pytest.mark.parametrize("http_port", ["0", "-1"])
def test_doctor_calls_no_port_free_that_is_none(
    http_port: str, capsys: Capture
) -> None:
    flags = ("--engine", "oracle", "--port", "0", "--http-port", http_port)
    assert cli.main(["doctor", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [line.split(maxsplit=2)[2] for line in lines if " port " in line[:12]]
    any_free = "any free port of 127.0.0.1 will do"
    second = any_free if http_port == "-1" else "the HTTP port is off"
    assert said == [any_free, second]


def test_doctor_sees_two_ports_that_are_one(capsys: Capture) -> None:
    with socket.socket() as kept:  # bound and not listened on: with SO_REUSEADDR free
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port = str(kept.getsockname()[1])
        flags = ("--engine", "oracle", "--port", port, "--http-port", port)
        assert cli.main(["doctor", *flags]) == 1
    assert f"bad  port      port and http-port are both {port}" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ((), "ok   wyoming   Home Assistant's port is off"),
        (("--wyoming-port", "1"), "ok   wyoming   127.0.0.1:1 is reached from this"),
        (
            ("--wyoming-port", "1", "--wyoming-host", "0.0.0.0", "--insecure"),
            "warn wyoming   0.0.0.0:1 is open to who can reach it: --wyoming-allow",
        ),
        (
            ("--wyoming-port", "1", "--wyoming-host", "0.0.0.0"),
            "bad  wyoming   0.0.0.0 can be reached from other machines",
        ),
    ],
)
def test_doctor_looks_after_home_assistants_port(
    flags: Sequence[str], line: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    cli.main(["doctor", "--engine", "oracle", "--port", "0", *flags])
    assert f"\n{line}" in capsys.readouterr().out


def test_doctor_sees_what_home_assistants_port_lacks(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    flags = ("--engine", "oracle", "--port", "0", "--wyoming-port", "1")
    assert cli.main(["doctor", *flags]) == 1
    assert "pip install 'whisper-live-daemon[wyoming]'" in capsys.readouterr().out
