"""How far a stream is behind its client."""

from __future__ import annotations

import pytest

from whisper_live.server.backlog import Backlog


def paced(backlog: Backlog, seconds: float, *, speed: float, now: float) -> float:
    """Take audio in at ``speed`` times real time from ``now`` on; the time then."""
    for _ in range(round(seconds / 0.1)):
        now += 0.1 / speed
        backlog.waited(0.1 / speed)
        backlog.took(0.1, now=now)
    return now


def test_a_stream_in_real_time_is_not_behind() -> None:
    backlog = Backlog()
    paced(backlog, 60.0, speed=1.0, now=5.0)
    assert backlog.behind_s == pytest.approx(0.0, abs=1e-9)


def test_what_is_taken_in_too_slowly_lies_somewhere() -> None:
    backlog = Backlog()
    now = paced(backlog, 10.0, speed=1.0, now=0.0)
    now = paced(backlog, 10.0, speed=0.8, now=now)
    assert backlog.behind_s == pytest.approx(2.5 - 0.1, abs=0.01)
    paced(backlog, 5.0, speed=2.0, now=now)
    assert backlog.behind_s == 0.0, "the server has caught up"


def test_a_client_that_was_waited_for_left_nothing() -> None:
    backlog = Backlog()
    now = paced(backlog, 10.0, speed=0.8, now=0.0)
    behind_s = backlog.behind_s
    backlog.waited(30.0)
    backlog.took(0.1, now=now + 30.0)
    assert behind_s - 0.11 <= backlog.behind_s <= behind_s


def test_audio_sent_ahead_is_no_credit_for_later() -> None:
    backlog = Backlog()
    now = paced(backlog, 600.0, speed=50.0, now=0.0)
    assert backlog.behind_s == 0.0
    paced(backlog, 10.0, speed=0.5, now=now)
    assert backlog.behind_s == pytest.approx(10.0 - 0.1, abs=0.01)


def test_a_slow_clock_is_forgiven() -> None:
    backlog = Backlog()
    paced(backlog, 3600.0, speed=0.995, now=0.0)
    assert backlog.behind_s == pytest.approx(0.0, abs=1e-6)
