"""What is told while an engine is loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from whisper_live.config.model import Config
from whisper_live.inference.ctranslate2 import engine as local
from whisper_live.server.process import load_engine


class Warming:
    """Says a line for each of 22 shapes, as the demo model does."""

    def warm_up(self, progress: Callable[[str], None]) -> None:
        for number in range(22):
            progress(f"warming up: {number + 1} of 22")


def test_warming_up_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "load", lambda *given, **named: Warming())
    lines: list[str] = []
    load_engine(Config(), lines.append)
    assert lines == ["running every shape of a call once"]
