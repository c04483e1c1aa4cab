"""The waterfall, and the metrics' page."""

from __future__ import annotations

import io
import socket

import pytest
from prometheus_client import generate_latest
from rich.console import Console

from whisper_live.errors import ConfigError
from whisper_live.voice.conversation import Outcome
from whisper_live.voice.report import Metrics, Report
from whisper_live.voice.stages import Moments


def moments() -> Moments:
    found = Moments(10.0)
    for name, at in (
        ("asked", 10.5),
        ("first_token", 10.75),
        ("first_sentence", 11.0),
        ("first_sound", 11.25),
        ("heard", 12.0),
    ):
        found.mark(name, at)
    return found


def test_a_waterfall_shows_each_stage_where_the_one_before_ends() -> None:
    out = io.StringIO()
    report = Report(console=Console(file=out, width=100))
    report.turn(Outcome.ANSWERED, moments())
    rows = [line.rstrip() for line in out.getvalue().splitlines()]
    assert [row.split("  ")[0].strip() for row in rows[:5]] == [
        "[STT]",
        "[AI]",
        "[AI]",
        "[TTS]",
        "[PIPELINE]",
    ]
    bars = [row[row.index(" s ") + 3 :] for row in rows[:5]]
    begins = [len(bar) - len(bar.lstrip()) for bar in bars]
    assert begins == sorted(begins) and begins[0] < begins[-1]
    assert rows[5].split() == "last word to first sound 2.000 s".split()


def test_what_was_never_heard_has_no_waterfall_and_no_whole() -> None:
    out = io.StringIO()
    report = Report(console=Console(file=out))
    report.turn(Outcome.WITHDRAWN, Moments(10.0))
    assert out.getvalue() == ""
    page = generate_latest(report.metrics.registry).decode()
    assert 'whisper_live_voice_turns_total{outcome="withdrawn"} 1.0' in page
    assert "whisper_live_voice_response_seconds_count 0.0" in page


def test_a_sentence_about_a_failure_is_no_markup() -> None:
    out = io.StringIO()
    Report(console=Console(file=out)).failure("kind", "pip install '.[converse]'")
    assert out.getvalue() == "pip install '.[converse]'\n"


@pytest.mark.parametrize("port", [None, 70_000])
def test_a_port_that_cannot_be_had_is_told(port: int | None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = port or taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on port {number}"):
            Metrics().serve(number)
