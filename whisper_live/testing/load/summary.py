"""The figures of a whole run: percentiles over all clients, and the verdict.

Pure.  ``Objective`` is what a server must keep; ``Summary.broken`` says in words what
it did not keep.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from whisper_live.testing.load.measure import SessionFigures

__all__ = ["Objective", "Percentiles", "Summary", "summarise"]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of one quantity in seconds; None where there is none, inf where it never came."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    never: int  # of ``count``

    @classmethod
    def of(cls, values: Iterable[float]) -> Percentiles:
        """Nearest rank: a value that was measured, not one between two."""
        ordered = sorted(values)

        def rank(share: float) -> float | None:
            if not ordered:
                return None
            return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]

        never = sum(map(math.isinf, ordered))
        return cls(len(ordered), rank(0.5), rank(0.95), rank(0.99), never)


@dataclass(frozen=True, slots=True)
class Objective:
    """What must hold for a number of streams to count as carried."""

    partial_p95_s: float = 1.5
    stands_p95_s: float = 1.0
    final_p95_s: float = 2.0  # 1 s of it is awaited silence, by default
    wer_slack: float = 0.003  # above that of one stream: 0.3 percentage points


@dataclass(frozen=True, slots=True)
class Summary:
    """One run."""

    clients: int
    admitted: int
    refused: int
    failed: int  # ended otherwise than by the server's close with 1000
    audio_s: float
    ready: Percentiles
    first_partial_cold_s: float | None  # of the first client
    first_partial: Percentiles  # of the others
    partial_lag: Percentiles
    commit_lag: Percentiles
    stands: Percentiles
    final_after_speech: Percentiles
    flush_after_stop: Percentiles
    erasure: float  # words taken back per word of the final text
    false_finals: int
    spoken: int
    wer: float
    substituted: int  # of the word errors; of marks, those out of order
    missing: int
    added: int
    lost: int | None  # of marks, as the three below; None for real models
    doubled: int | None
    out_of_order: int | None
    invented: int | None
    dropped_s: float
    sends: int
    late_sends: int
    blocked_sends: int
    reasons: dict[str, int]  # why clients were refused or failed

    def broken(self, objective: Objective, alone: Summary) -> list[str]:
        """What of the objective was not kept; empty if all was.

        ``alone`` is a run of one client, against which word errors are held.
        """
        complaints = []
        for name, found, limit in (
            ("p95 of partial lag", self.partial_lag.p95, objective.partial_p95_s),
            ("p95 until text stands", self.stands.p95, objective.stands_p95_s),
            ("p95 of finals", self.final_after_speech.p95, objective.final_p95_s),
        ):
            if found is not None and found > limit:
                shown = "never" if math.isinf(found) else f"{found:.2f} s"
                complaints.append(f"{name} {shown}, at most {limit:g} s")
        if self.refused:
            complaints.append(f"{self.refused} clients refused")
        if self.failed:
            complaints.append(f"{self.failed} clients failed")
        if self.dropped_s:
            complaints.append(f"{self.dropped_s:.1f} s of speech given up")
        if self.wer > alone.wer + objective.wer_slack + self._doubt(alone):
            complaints.append(f"WER {self.wer:.2%}, {alone.wer:.2%} for one stream")
        for name in ("lost", "doubled", "out_of_order", "invented"):
            if count := getattr(self, name):
                complaints.append(f"{count} words {name.replace('_', ' ')}")
        if not self.admitted:
            complaints.append("nobody was admitted")
        return complaints

    def _doubt(self, alone: Summary) -> float:
        """How far two rates of so few words differ by chance: two standard errors.

        One client says a hundred words a minute, and not the same as the others.
        """
        counts = max(self.spoken, 1), max(alone.spoken, 1)
        errors = self.wer * counts[0] + alone.wer * counts[1]
        rate = min(errors / sum(counts), 1.0)
        return 2 * math.sqrt(rate * (1 - rate) * sum(1 / count for count in counts))

    def as_json(self) -> dict[str, Any]:
        """Plain values; what never came is null beside its ``never`` count."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def summarise(sessions: Sequence[SessionFigures]) -> Summary:
    """Pool the sessions of one run; the first by number is the cold one."""
    admitted = [s for s in sessions if s.ready_s is not None]
    spoken = sum(s.spoken for s in admitted)
    shown = sum(s.shown for s in admitted)
    reasons: dict[str, int] = {}
    for each in sessions:
        if each.ended != "closed":
            reason = f"{each.ended} {each.code or ''} {each.reason}".strip()
            reasons[reason] = reasons.get(reason, 0) + 1
    return Summary(
        clients=len(sessions),
        admitted=len(admitted),
        refused=sum(s.ended == "refused" for s in sessions),
        failed=sum(s.ended in ("failed", "cut") for s in sessions),
        audio_s=sum(s.audio_s for s in admitted),
        ready=_pooled(s.ready_s for s in admitted),
        first_partial_cold_s=admitted[0].first_partial_s if admitted else None,
        first_partial=_pooled(s.first_partial_s for s in admitted[1:]),
        partial_lag=_pooled(lag for s in admitted for lag in s.partial_lags_s),
        commit_lag=_pooled(lag for s in admitted for lag in s.commit_lags_s),
        stands=_pooled(lag for s in admitted for lag in s.stands_lags_s),
        final_after_speech=_pooled(lag for s in admitted for lag in s.final_lags_s),
        flush_after_stop=_pooled(s.flush_s for s in admitted),
        erasure=sum(s.erased for s in admitted) / max(shown, 1),
        false_finals=sum(s.false_finals for s in admitted),
        spoken=spoken,
        wer=sum(s.errors for s in admitted) / max(spoken, 1),
        substituted=sum(s.substituted for s in admitted),
        missing=sum(s.missing for s in admitted),
        added=sum(s.added for s in admitted),
        lost=_accounted(admitted, "lost"),
        doubled=_accounted(admitted, "doubled"),
        out_of_order=_accounted(admitted, "out_of_order"),
        invented=_accounted(admitted, "invented"),
        dropped_s=sum(s.dropped_s for s in admitted),
        sends=sum(s.sends for s in admitted),
        late_sends=sum(s.late_sends for s in admitted),
        blocked_sends=sum(s.blocked_sends for s in admitted),
        reasons=reasons,
    )


def _pooled(values: Iterable[float | None]) -> Percentiles:
    return Percentiles.of(value for value in values if value is not None)


def _accounted(sessions: Sequence[SessionFigures], name: str) -> int | None:
    accounts = [s.account for s in sessions if s.account is not None]
    if not accounts:
        return None
    return sum(len(getattr(account, name)) for account in accounts)
