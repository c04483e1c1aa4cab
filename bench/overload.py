"""Twice as many clients as the server carries: who is refused, who suffers, how long.

    python -m bench.overload --capacity 12 --out DIR -- --model demo
    python -m bench.overload --capacity 12 --out DIR --material marks -- --engine oracle

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
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.load import add_crowd_arguments, crowd_of
from bench.report import Bar, Report, provenance, seconds, table
from bench.servers import ours, started
from whisper_live.client.load.crowd import Crowd, run_crowd
from whisper_live.client.load.measure import lags_over_time
from whisper_live.client.load.sessionlog import SessionLog, read_logs
from whisper_live.client.load.summary import Objective, Summary

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


def refuse(args: argparse.Namespace, report: Report) -> Summary:
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
    report.add(part="refuse", summary=run.summary.as_json())
    return run.summary


def recover(args: argparse.Namespace, report: Report) -> tuple[float | None, Summary]:
    """As many again for a while, on a server that refuses nobody."""
    flags = ("--max-sessions", _MOST_AT_ONCE, "--max-queue-delay-s", "0")
    with started(
        ours("ours", *args.server, *flags, module=args.module),
        report.logs / "recover.log",
    ) as server:
        stay = crowd_of(args, server.url, args.capacity)
        visit = _visitors(stay)
        with ThreadPoolExecutor(2) as threads:
            bar = Bar("a wave of as many again")
            staying = threads.submit(
                run_crowd, stay, report.logs / "stay", progress=bar.progress
            )
            time.sleep(args.ramp_s + args.duration_s / 6)
            run_crowd(visit, report.logs / "visit")
            run = staying.result()
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
    report.add(part="recover", summary=run.summary.as_json(), recovery_s=recovered_s)
    return recovered_s, run.summary


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
        "--module", default="whisper_live", help="or bench.weighted, for random weights"
    )
    parser.add_argument("server", nargs="*", help="flags of serve, after --")
    args = parser.parse_args()
    facts = provenance(
        "overload", **{k: v for k, v in vars(args).items() if k != "out"}
    )
    report = Report(args.out, "Twice the capacity", facts)
    refused = refuse(args, report)
    recovered_s, stayed = recover(args, report)
    share = refused.refused / refused.clients
    shown = "not before the end" if recovered_s is None else f"{recovered_s:.1f} s"
    partial, final = refused.partial_lag, refused.final_after_speech
    rows = [
        ("refused with WAIT", f"{share:.0%} of {refused.clients}"),
        ("failed otherwise", refused.failed),
        ("p95 of partial lag of those admitted", f"{seconds(partial.p95)} s"),
        ("p95 of finals of those admitted", f"{seconds(final.p95)} s"),
        ("words lost of those admitted", refused.lost),
        ("a wave let in: recovery after it has left", shown),
        ("a wave let in: p95 of finals", f"{seconds(stayed.final_after_speech.p95)} s"),
        ("a wave let in: speech given up", f"{stayed.dropped_s:.1f} s"),
    ]
    text = table(("what", "value"), rows)
    report.write(text)
    print(text)


if __name__ == "__main__":
    main()
