"""Hours of audio in minutes: memory, descriptors, threads and lag must not drift.

    python -m bench.capacity.soak --out DIR --hours 24 -- --engine oracle

Rounds of clients that speak marks at many times real time, to a server with the flags
after ``--``.  After each round the server is as idle as before it; what it holds then
is compared.  Drift is the slope of a line through the second half of the rounds, so
that what is loaded once does not count.  Choose a ``--speed`` that the server keeps up
with: latencies are those of the client's clock, so a backlog shows as a late final.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.capacity import plots
from bench.capacity.servers import Usage, ours, started
from bench.report import Bar, Report, provenance, seconds, table
from whisper_live.testing.load.crowd import Crowd, run_crowd
from whisper_live.testing.load.material import Speech
from whisper_live.testing.load.speaker import Dialogue
from whisper_live.testing.load.summary import Summary

__all__ = ["slope"]


def slope(hours: Sequence[float], values: Sequence[float]) -> float:
    """Growth per hour of audio over the second half; 0 where there is too little."""
    half = len(hours) // 2
    if len(hours) - half < 2:
        return 0.0
    return statistics.linear_regression(hours[half:], values[half:]).slope


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=8.0, help="of audio in all")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--round-min", type=float, default=10.0, help="of each client")
    parser.add_argument("--speed", type=float, default=20.0)
    parser.add_argument("--duty", type=int, default=45)
    parser.add_argument(
        "--module",
        default="whisper_live",
        help="or bench.engine.weighted, for random weights",
    )
    parser.add_argument("server", nargs="*", help="flags of serve, after --")
    args = parser.parse_args()
    facts = provenance("soak", **{k: v for k, v in vars(args).items() if k != "out"})
    report = Report(args.out, f"{args.hours:g} hours of audio", facts)
    unlimited = ("--audio-rate", "0", "--max-sessions", "1024")
    server = ours("ours", *args.server, *unlimited, module=args.module)
    hours: list[float] = []
    held: list[Usage] = []
    rounds: list[Summary] = []
    with started(server, report.logs / "server.log") as running:
        bar = Bar("soaking")
        try:
            while not hours or hours[-1] < args.hours:
                crowd = Crowd(
                    args.clients,
                    Dialogue(running.url, audio_format="int16"),
                    Speech(60 * args.round_min, args.duty / 100, seed=len(rounds)),
                    material="marks",
                    ramp_s=1.0,
                    speed=args.speed,
                )
                folder = report.logs / f"round-{len(rounds):03}"
                run = run_crowd(crowd, folder, progress=bar.progress)
                rounds.append(run.summary)
                hours.append((hours[-1] if hours else 0) + run.summary.audio_s / 3600)
                held.append(running.sample())
                summary = run.summary.as_json()
                report.add(hours=hours[-1], summary=summary, held=asdict(held[-1]))
                bar.write(_line(hours[-1], held[-1], rounds[-1]))
                _write(report, hours, held, rounds, running.usage)
        except KeyboardInterrupt:
            pass  # the report of the rounds so far has been written
        bar.close()
    print(report.folder / "report.md")


def _line(hours: float, held: Usage, summary: Summary) -> str:
    return (
        f"{hours:6.2f} h: {held.rss_mib:.1f} MiB, {held.descriptors} descriptors, "
        f"{held.threads} threads, finals p95 "
        f"{seconds(summary.final_after_speech.p95)} s, lost {summary.lost}"
    )


def _write(
    report: Report,
    hours: Sequence[float],
    held: Sequence[Usage],
    rounds: Sequence[Summary],
    usage: Sequence[Usage],
) -> None:
    finals = [r.final_after_speech for r in rounds]
    quantities = (
        ("resident memory, MiB", [u.rss_mib for u in held]),
        ("descriptors", [float(u.descriptors) for u in held]),
        ("threads", [float(u.threads) for u in held]),
        ("p50 of finals, s", [f.p50 or 0.0 for f in finals]),
        ("p95 of finals, s", [f.p95 or 0.0 for f in finals]),
    )
    rows = [
        (name, f"{values[0]:.4g}", f"{values[-1]:.4g}", f"{slope(hours, values):+.3g}")
        for name, values in quantities
    ]
    header = ("", "after the first round", "after the last", "drift per hour of audio")
    wrong = sum(
        (r.lost or 0) + (r.doubled or 0) + (r.invented or 0) + (r.out_of_order or 0)
        for r in rounds
    )
    late = sum(r.late_sends for r in rounds) / max(sum(r.sends for r in rounds), 1)
    text = (
        f"{hours[-1]:.1f} hours of audio in {len(rounds)} rounds; "
        f"{sum(r.spoken for r in rounds)} words, {wrong} lost, doubled, out of order "
        f"or invented; {sum(r.failed + r.refused for r in rounds)} clients failed or "
        f"refused; late sends {late:.2%}.\n\n" + table(header, rows)
    )
    if plots.can_draw():
        plots.draw_memory({"ours": [asdict(u) for u in usage]}, report.folder / "m.png")
        text += "\n![memory](m.png)\n"
    report.write(text)


if __name__ == "__main__":
    main()
