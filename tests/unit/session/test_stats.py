"""What a session came to."""

from __future__ import annotations

from whisper_live.session.stats import SessionStats


def test_no_messages_no_lag() -> None:
    assert SessionStats().lag_s(0.95) == 0.0


def test_the_lag_that_a_share_of_the_newest_messages_kept() -> None:
    stats = SessionStats()
    stats.lags.extend([10**9] * 100)
    stats.lags.extend(16_000 * n for n in range(512))
    assert (stats.lag_s(0.0), stats.lag_s(0.5), stats.lag_s(1.0)) == (0, 256, 511)
