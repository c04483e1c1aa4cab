"""Twice as many clients as the server carries: who is refused, who suffers, how long.

    python -m bench.capacity.overload --capacity 12 --out DIR -- --model demo
    python -m bench.capacity.overload --capacity 12 --out DIR --material marks \
        -- --engine oracle

Two parts, each on a server of its own with the flags after ``--``.  In the first the
server knows its capacity (``max-sessions``) and twice as many come.  In the second it
lets everybody in: as many as it carries stay, as many again come for a third of the
time.  Recovery is counted from the moment the last of these has left to the last word
of those who stayed that came later than the objective allows.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.capacity.load import add_crowd_arguments, crowd_of
from bench.capacity.servers import ours, started
from bench.report import Bar, Report, provenance, seconds, table
from whisper_live.testing.load.crowd import Crowd, Run, run_crowd
from whisper_live.testing.load.measure import lags_over_time
from whisper_live.testing.load.sessionlog import SessionLog, read_logs
from whisper_live.testing.load.summary import Objective, Percentiles

__all__ = ["recovery_s"]

_MOST_AT_ONCE = "1024"


def recovery_s(logs: list[SessionLog], since_at: float, limit_s: float) -> float | None:
    """Seconds from ``since_at`` until words came within the limit again, for good.

    0 if they always did; None if they never did again.
    """
    words = sorted(pair for log in logs for pair in lags_over_time(log))
    late = [at for at, lag_s in words if at >= since_at and lag_s > limit_s]
    if not late:
        return 0.0
    if late[-1] >= words[-1][0]:
        return None
    return late[-1] - since_at


def refuse(args: argparse.Namespace, report: Report) -> Run:
    """Twice the capacity against a server that knows it."""
    flags = ("--max-sessions", str(args.capacity))
    with started(
        ours("ours", *args.server, *flags, module=args.module),
        report.logs / "refuse.log",
    ) as server:
        crowd = crowd_of(args, server.url, 2 * args.capacity)
        bar = Bar("twice the capacity")
        run = run_crowd(crowd, report.logs / "refuse", progress=bar.progress)
        bar.close()
    report.add(part="refuse", **_as_json(run))
    return run


def recover(args: argparse.Namespace, report: Report) -> tuple[float | None, Run]:
    """As many again for a while, on a server that refuses nobody."""
    flags = ("--max-sessions", _MOST_AT_ONCE, "--max-queue-delay-s", "0")
    with started(
        ours("ours", *args.server, *flags, module=args.module),
        report.logs / "recover.log",
    ) as server:
        stay = crowd_of(args, server.url, args.capacity)
        bar, interrupted = Bar("a wave of as many again"), threading.Event()

        def progress(gone_s: float, total_s: float) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt  # into the thread that waits for the crowd
            bar.progress(gone_s, total_s)

        with ThreadPoolExecutor(1) as thread:
            staying = thread.submit(
                run_crowd, stay, report.logs / "stay", progress=progress
            )
            try:
                time.sleep(args.ramp_s + args.duration_s / 6)
                run_crowd(_visitors(stay), report.logs / "visit")
                run = staying.result()
            finally:
                interrupted.set()
        bar.close()
    left_at = max(
        (
            log.started_at + log.ended_s
            for log in read_logs(report.logs / "visit")
            if log.started_at is not None and log.ended_s is not None
        ),
        default=math.inf,
    )
    limit_s = Objective().partial_p95_s
    recovered_s = recovery_s(read_logs(report.logs / "stay"), left_at, limit_s)
    report.add(part="recover", **_as_json(run), recovery_s=recovered_s)
    return recovered_s, run


def _as_json(run: Run) -> dict[str, Any]:
    return {
        "summary": run.summary.as_json(),
        "client_cores": round(run.client_cores, 3),
        "late_share": round(run.late_share, 5),
    }


def _visitors(stay: Crowd) -> Crowd:
    speech = dataclasses.replace(
        stay.speech, duration_s=stay.speech.duration_s / 3, seed=stay.speech.seed + 1
    )
    return dataclasses.replace(stay, speech=speech, first=stay.clients)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--capacity", type=int, required=True, help="as was measured")
    parser.add_argument("--out", type=Path, required=True)
    add_crowd_arguments(parser)
    parser.add_argument(
        "--module",
        default="whisper_live",
        help="or bench.engine.weighted, for random weights",
    )
    parser.add_argument("server", nargs="*", help="flags of serve, after --")
    args = parser.parse_args()
    facts = provenance(
        "overload", **{k: v for k, v in vars(args).items() if k != "out"}
    )
    report = Report(args.out, "Twice the capacity", facts)
    rows: list[tuple[str, object]] = []
    try:
        rows += _refusal_rows(refuse(args, report))
        report.write(table(("what", "value"), rows))
        rows += _recovery_rows(*recover(args, report))
    except KeyboardInterrupt:
        rows.append(("the rest", "not measured: interrupted"))
    report.write(table(("what", "value"), rows))
    print(table(("what", "value"), rows))


def _refusal_rows(run: Run) -> list[tuple[str, object]]:
    summary = run.summary
    partial, final = summary.partial_lag, summary.final_after_speech
    return [
        (
            "refused with WAIT",
            f"{summary.refused / summary.clients:.0%} of {summary.clients}",
        ),
        ("failed otherwise", summary.failed),
        ("partial lag of those admitted, p50 / p95 / p99", _marks(partial)),
        ("finals of those admitted, p50 / p95 / p99", _marks(final)),
        ("words lost of those admitted", "-" if summary.lost is None else summary.lost),
        ("WER of those admitted", f"{summary.wer:.1%}"),
        *_cost_rows(run),
    ]


def _recovery_rows(recovered_s: float | None, run: Run) -> list[tuple[str, object]]:
    shown = "not before the end" if recovered_s is None else f"{recovered_s:.1f} s"
    summary = run.summary
    wave = "a wave let in:"
    return [
        (f"{wave} recovery after it has left", shown),
        (f"{wave} finals of those who stayed", _marks(summary.final_after_speech)),
        (f"{wave} speech given up", f"{summary.dropped_s:.1f} s"),
        (f"{wave} words lost", "-" if summary.lost is None else summary.lost),
        *((f"{wave} {name}", value) for name, value in _cost_rows(run)),
    ]


def _cost_rows(run: Run) -> list[tuple[str, object]]:
    return [
        ("clients, cores", f"{run.client_cores:.2f}"),
        ("late sends", f"{run.late_share:.2%}"),
    ]


def _marks(values: Percentiles) -> str:
    marks = (values.p50, values.p95, values.p99)
    shown = (
        seconds(None if m is None or math.isinf(m) else m, never=values.never)
        for m in marks
    )
    return " / ".join(shown) + " s"


if __name__ == "__main__":
    main()
