"""The notification socket of systemd."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from whisper_live.server.systemd import notify


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """systemd's end."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    return manager


def test_a_state_is_sent(manager: socket.socket) -> None:
    with manager:
        assert notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_a_manager_that_reads_nothing_is_not_waited_for(
    manager: socket.socket,
) -> None:
    """A full socket would stop the event loop."""
    with manager, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.connect(manager.getsockname())
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.send(b"x")
        assert not notify("WATCHDOG=1")


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
