from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from whisper_live.server import connection


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused client is let go at once; that it is held is for e2e to prove."""
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.02)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """What a command does to the log of this process ends with the test."""
    root, ours = logging.getLogger(), logging.getLogger("whisper_live")
    before = list(root.handlers), root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])
    logging.captureWarnings(False)
