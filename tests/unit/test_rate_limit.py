"""Tests for ``rate_limit``."""

from __future__ import annotations

from whisper_live.rate_limit import RateLimit


def allowed(limit: RateLimit, count: int, now: float) -> int:
    return sum(limit.allows(now) for _ in range(count))


def test_a_burst_and_then_a_rate() -> None:
    limit = RateLimit(5, 2.0)
    assert allowed(limit, 9, 100.0) == 5
    assert allowed(limit, 9, 100.25) == 0
    assert allowed(limit, 9, 100.5) == 1
    assert allowed(limit, 9, 102.0) == 3


def test_time_earns_no_more_than_a_burst() -> None:
    limit = RateLimit(5, 2.0)
    allowed(limit, 5, 0.0)
    assert allowed(limit, 9, 1e6) == 5


def test_half_a_share_is_kept() -> None:
    limit = RateLimit(1, 1.0)
    assert [limit.allows(now) for now in (0.0, 0.5, 1.0, 1.5, 2.0)] == [
        *(True, False, True, False, True),
    ]
