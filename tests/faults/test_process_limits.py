"""Starts within limits of the system that are too tight."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from tests.faults.process import PORTS
from whisper_live import cli
from whisper_live.errors import ConfigError
from whisper_live.server import process_limits

SERVE = ("-m", "whisper_live", "serve", *PORTS, "--model", "demo")


@pytest.mark.parametrize("limit_mb", [350, 1040, 1110, 1420])
def test_too_little_address_space_is_one_line(limit_mb: int) -> None:
    """Libraries that cannot be mapped, weights without room; SIGSEGV in a call."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_mb * 10**6,) * 2)

    done = subprocess.run(
        [sys.executable, *SERVE],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("whisper-live: ")


@pytest.mark.parametrize(
    ("needed", "allowed"), [(100, 200), (250, 250), (1000, 300)], ids=str
)
def test_a_daemon_opens_the_files_that_it_needs_if_it_may(
    needed: int, allowed: int
) -> None:
    """A shell's limit is lower than the one that it may be raised to."""
    code = (
        "import resource as r; from whisper_live.server import process_limits as p;"
        f"r.setrlimit(r.RLIMIT_NOFILE, (200, 300)); p.allow_open_files({needed});"
        "print(r.getrlimit(r.RLIMIT_NOFILE), p.most_open_files())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50
    )
    assert done.stdout == f"({allowed}, 300) 300\n", done.stderr


def test_the_room_for_calls_is_checked_before_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_limits, "_taken_mb", lambda: 989)
    monkeypatch.setattr(process_limits, "_limit_mb", lambda: 1439)
    process_limits.check_room()
    monkeypatch.setattr(process_limits, "_limit_mb", lambda: 1438)
    with pytest.raises(ConfigError) as refused:
        process_limits.check_room()
    assert str(refused.value) == (
        "the address space is limited to 1438 MB (ulimit -v, LimitAS=), of which 989 "
        "are taken and 450 more are needed: allow 1439, or limit memory itself "
        "(MemoryMax= in the unit)"
    )


def test_what_is_too_little_for_any_model_is_known_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process_limits, "_limit_mb", lambda: 1399)
    assert cli.main(["serve", "--model", "demo", *PORTS]) == 2
    assert capsys.readouterr().err == (
        "whisper-live: the address space is limited to 1399 MB (ulimit -v, LimitAS=), "
        "and the smallest model takes more than 1400: allow more, or limit memory "
        "itself (MemoryMax= in the unit)\n"
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("can't start new thread"), "can't start new thread: allow more"),
        (ImportError("failed to map"), "failed to map; the address space is limited"),
        (MemoryError(), "out of memory; the address space is limited to 700 MB"),
        (RuntimeError("else"), ""),
    ],
)
def test_what_a_limit_explains_is_one_sentence(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_limits, "_limit_mb", lambda: 700)
    explained = process_limits.explain(error)
    assert (explained is None) is (says == "")
    assert str(explained or "").startswith(says)


def test_a_missing_library_without_a_limit_is_a_bug() -> None:
    assert process_limits.explain(ImportError("no module")) is None
