"""docs/voice-loop.md and the examples say what is true of the voice loop."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from tests.docs.pages import ROOT, read
from whisper_live.voice.conversation import Outcome
from whisper_live.voice.report import SAYS, Metrics
from whisper_live.voice.stages import LABELS

PAGE = "docs/voice-loop.md"
EXAMPLES = sorted((ROOT / "examples/voice_loop").glob("*.py"))


def test_every_stage_and_outcome_and_metric_is_described() -> None:
    page = read(PAGE)
    for name, label in LABELS.items():
        assert f"`[PROFILING] [{label}] {SAYS[name]}`" in page and f"`{name}`" in page
    for outcome in Outcome:
        assert f"`{outcome.value}`" in page
    served = generate_latest(Metrics().registry).decode()
    types = re.findall(r"^# TYPE (\w+) (?:counter|histogram)$", served, re.MULTILINE)
    assert types and all(f"`{name}`" in page for name in types)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.name))
def test_an_example_is_short_and_is_named(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    assert f"`examples/voice_loop/{path.name}`" in read(PAGE)


def test_our_own_example_can_be_imported() -> None:
    path = ROOT / "examples/voice_loop/assistant.py"
    spec = importlib.util.spec_from_file_location("assistant", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(module.assistant)
