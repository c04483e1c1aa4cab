"""What one session came to: counts and lags, for its log line and the metrics."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from whisper_live.audio import samples_to_s

__all__ = ["SessionStats"]

_LAGS_KEPT = 512


def _lags() -> deque[int]:
    return deque(maxlen=_LAGS_KEPT)


@dataclass(slots=True)
class SessionStats:
    """Filled by the session, read by the edge."""

    utterances: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # reason -> samples
    suppressed: Counter[str] = field(default_factory=Counter)  # reason -> segments
    lags: deque[int] = field(default_factory=_lags)  # samples, the newest messages'

    def lag_s(self, share: float) -> float:
        """The lag in seconds that ``share`` (0..1) of the newest messages kept."""
        if not self.lags:
            return 0.0
        ordered = sorted(self.lags)
        return samples_to_s(ordered[min(int(share * len(ordered)), len(ordered) - 1)])
