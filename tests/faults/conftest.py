from __future__ import annotations

import pytest

from whisper_live import connection


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused client is let go at once; that it is held is for e2e to prove."""
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.02)
