"""Upstream 0.10.0 and ours in turn on the same cores, with the same audio and costs.

    python -m bench.servers                                   upstream's environment
    python -m bench.compare --out DIR                         the demo model
    python -m bench.compare --out DIR --cost weights:tiny --audio-context full
    python -m bench.compare --out DIR --cost 0.1,0.05         the oracle: call, row in s

For each server: streams 1, 2, 4, ... until the objective breaks, then bisection.  For
ours a second search follows: streams up to which finals come within the p95 that
upstream needs for a single one.  Upstream runs at ``--upstream-streams`` only.

``--cost demo`` (default) and ``--cost model:DIR`` run a real model on both sides, and
clients speak the sentences of the demo recording.  With ``weights:SHAPE`` both spend
real calls on random weights, with ``CALL,ROW`` they sleep; clients then send the
oracle's marks, of which each single word is accounted for.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import plots, random_model
from bench.report import Bar, Report, model_hash, provenance, seconds, table
from bench.servers import (
    Contender,
    Running,
    is_installed,
    ours,
    put_first,
    started,
    upstream,
    versions,
)
from whisper_live import models
from whisper_live.client.capacity import Trials
from whisper_live.client.load.crowd import Crowd, Run, run_crowd
from whisper_live.client.load.material import Speech
from whisper_live.client.load.speaker import Dialogue
from whisper_live.client.load.summary import Objective
from whisper_live.config import EngineConfig

WARM_UP_S = 6.0
_BATCH_ROWS, _BATCH_CALLS = (
    "whisper_live_batch_size_sum",
    "whisper_live_batch_size_count",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call costs, as flags of both servers."""

    label: str
    material: str  # marks or sentences
    ours: tuple[str, ...]
    upstream: tuple[str, ...]
    module: str = "whisper_live"
    weights: Path | None = None  # a folder with a model, for its hash


@dataclass(slots=True)
class Outcome:
    """One server's runs and what was found."""

    server: str
    streams: int = 0  # at the objective
    reach: int | None = None  # within upstream's p95 for one stream
    runs: list[dict[str, Any]] = field(default_factory=list)
    usage: list[dict[str, float]] = field(default_factory=list)
    folders: dict[int, Path] = field(default_factory=dict)

    def final_p95_s(self, streams: int) -> float:
        """Of the run with so many streams; inf where it never came or never ran."""
        for run in self.runs:
            if run["summary"]["clients"] == streams:
                p95 = run["summary"]["final_after_speech"]["p95"]
                return math.inf if p95 is None else float(p95)
        return math.inf


@contextmanager
def cost_of(args: argparse.Namespace) -> Iterator[Cost]:
    """Flags for both servers; random weights are made where they are wanted."""
    context = ("--audio-context", args.audio_context)
    kind, _, name = args.cost.partition(":")
    if kind == "weights":
        borrowed = models.resolve(EngineConfig(model=args.tokenizer_of), print)
        with tempfile.TemporaryDirectory() as scratch:
            folder = random_model.build(
                random_model.SHAPES[name],
                Path(scratch) / name,
                tokenizer=borrowed / "tokenizer.json",
                quantization=args.quantization,
            )
            yield Cost(
                f"random {args.quantization} weights of {name}'s shape, "
                f"audio context {args.audio_context}",
                "marks",
                ("--engine", "local", "--model", str(folder), *context),
                ("--marks", "--weights", str(folder)),
                module="bench.weighted",
                weights=folder,
            )
    elif kind in ("demo", "model"):
        folder = models.resolve(EngineConfig(model=name or "demo"), print)
        yield Cost(
            f"the {kind if kind == 'demo' else folder.name} model",
            "sentences",
            ("--model", name or "demo", *context),
            ("--model", str(folder)),
            weights=folder,
        )
    else:
        call_s, row_s = args.cost.split(",")
        yield Cost(
            f"the oracle, {call_s} s a call and {row_s} s a row",
            "marks",
            (
                *("--engine", "oracle", "--oracle-call-s", call_s),
                *("--oracle-row-s", row_s),
            ),
            ("--marks", "--call-s", call_s, "--row-s", row_s),
        )


class Comparison:
    """Runs the contenders one after the other and keeps the report up to date."""

    def __init__(self, args: argparse.Namespace, cost: Cost, report: Report) -> None:
        self._args, self._cost, self._report = args, cost, report
        self.outcomes: list[Outcome] = []
        self.objective = Objective()

    def run(self) -> None:
        """All contenders; upstream first, for ours is held against it."""
        for contender in self._contenders():
            outcome = Outcome(contender.name)
            self.outcomes.append(outcome)
            folder = self._report.logs / contender.name.replace(" ", "-")
            nice = self._args.nice
            with started(contender, folder / "server.log", nice=nice) as running:
                try:
                    self._measure(running, outcome, folder)
                finally:
                    outcome.usage = [asdict(sample) for sample in running.usage]
            self.write()

    def _contenders(self) -> Iterator[Contender]:
        cost = self._cost
        if self._args.upstream_streams:
            yield upstream("upstream", *cost.upstream)
            yield upstream("upstream batch", *cost.upstream, "--batch")
        flags = [*cost.ours, "--max-sessions", "1024", "--max-queue-delay-s", "0"]
        yield ours("ours", *flags, *self._args.flag, module=cost.module)

    def _measure(self, running: Running, outcome: Outcome, folder: Path) -> None:
        args = self._args
        crowd = Crowd(
            clients=1,
            dialogue=Dialogue(running.url, chunk_s=args.chunk_s),
            speech=Speech(args.duration_s, args.duty / 100, args.seed),
            material="marks" if self._cost.material == "marks" else "sentences",
            ramp_s=args.ramp_s,
        )
        warm_up = dataclasses.replace(crowd, speech=Speech(WARM_UP_S, seed=99))
        cold = run_crowd(warm_up, folder / "warm-up")
        self._report.add(
            server=outcome.server, warm_up=True, summary=cold.summary.as_json()
        )
        watch = _Watch(running)

        def seen(run: Run) -> None:
            result = watch.result(run)
            outcome.runs.append(result)
            outcome.folders[run.crowd.clients] = Path(run.folder)
            self._report.add(**result)
            self.write()

        bar = Bar(outcome.server)
        trials = Trials(
            crowd,
            folder,
            self.objective,
            say=bar.write,
            seen=seen,
            progress=bar.progress,
        )
        if outcome.server.startswith("upstream"):
            for streams in args.upstream_streams:
                trials.run(streams)
            kept = [n for n in args.upstream_streams if not trials.broken(n)]
            outcome.streams = max(kept, default=0)
        else:
            self._search(trials, outcome)
        bar.close()

    def _search(self, trials: Trials, outcome: Outcome) -> None:
        start, most, step = self._args.start, self._args.most, self._args.step
        outcome.streams = trials.capacity(start=start, most=most, step=step)
        self.write()
        bound_s = self.upstream_alone_s()
        if math.isfinite(bound_s):
            trials.objective = Objective(math.inf, bound_s)
            start = max(outcome.streams, 1)
            outcome.reach = trials.capacity(start=start, most=most, step=step)

    def upstream_alone_s(self) -> float:
        """Its best p95 of finals for one stream, of this run or as it was given."""
        if self._args.within_s:
            return float(self._args.within_s)
        alone = [o.final_p95_s(1) for o in self.outcomes if o.server != "ours"]
        return min(alone, default=math.inf)

    # ------------------------------------------------------------------------ report

    def write(self) -> None:
        """The report of what there is so far."""
        results = [run for outcome in self.outcomes for run in outcome.runs]
        self._report.write(self._findings(), _figures(results), self._pictures(results))

    def _findings(self) -> str:
        limits = f"p95 of partial lag <= {self.objective.partial_p95_s:g} s, of finals "
        limits += f"<= {self.objective.final_p95_s:g} s, nothing lost"
        rows = [
            (o.server, o.streams, "-" if o.reach is None else o.reach)
            for o in self.outcomes
        ]
        alone = seconds(_or_none(self.upstream_alone_s()))
        header = ("server", "streams at the objective", f"finals within {alone} s")
        return (
            f"{self._cost.label}; {self._args.duty} % speech. Objective: {limits}. "
            f"{alone} s is the best p95 that upstream reached with one stream.\n\n"
            + table(header, rows)
        )

    def _pictures(self, results: list[dict[str, Any]]) -> str:
        if not plots.can_draw() or not results:
            return "No pictures: `pip install .[bench]` brings matplotlib.\n"
        folder = self._report.folder
        limit_s = self.objective.final_p95_s
        plots.draw_percentiles(results, folder / "percentiles.png", objective_s=limit_s)
        plots.draw_occupancy(results, folder / "occupancy.png")
        plots.draw_cdf(
            {
                f"{o.server}, {n} streams": o.folders[n]
                for o in self.outcomes
                for n in _first_and_last(o.folders)
            },
            folder / "cdf.png",
        )
        usage = {o.server: o.usage for o in self.outcomes if o.usage}
        plots.draw_memory(usage, folder / "memory.png")
        names = ("percentiles", "cdf", "occupancy", "memory")
        return "\n".join(f"![{name}]({name}.png)" for name in names) + "\n"


class _Watch:
    """What the server used between two runs."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._before = running.metrics()
        self._cpu_s = running.sample().cpu_s

    def result(self, run: Run) -> dict[str, Any]:
        now, usage = self._running.metrics(), self._running.sample()
        calls = self._grown(now, _BATCH_CALLS)
        rows = self._grown(now, _BATCH_ROWS)
        result = {
            "server": self._running.contender.name,
            "summary": run.summary.as_json(),
            "server_cpu_s": round(usage.cpu_s - self._cpu_s, 2),
            "client_cpu_s": round(run.client_cpu_s, 2),
            "wall_s": round(run.wall_s, 2),
            "late_share": round(run.late_share, 5),
            "rows_per_call": round(rows / calls, 2) if calls else None,
            "calls": calls,
            "rss_mib": usage.rss_mib,
            "threads": usage.threads,
            "stage_s": {
                stage: round(self._grown(now, f'{_STAGE}_sum{{stage="{stage}"}}'), 2)
                for stage in ("decode", "vad", "queue", "infer", "emit")
            },
        }
        self._before, self._cpu_s = now, usage.cpu_s
        return result

    def _grown(self, now: Mapping[str, float], series: str) -> float:
        return now.get(series, 0.0) - self._before.get(series, 0.0)


_STAGE = "whisper_live_stage_duration_seconds"


def _figures(results: list[dict[str, Any]]) -> str:
    header = (
        *("server", "streams", "partial p50", "p95", "final p50", "p95"),
        *("no final", "flush p95", "words lost", "WER", "refused", "rows/call"),
        *("server CPU, cores", "client CPU, cores", "late sends"),
    )
    rows = []
    for run in results:
        s = run["summary"]
        partial, final = s["partial_lag"], s["final_after_speech"]
        rows.append(
            (
                run["server"],
                s["clients"],
                *(seconds(partial[p], never=partial["never"]) for p in ("p50", "p95")),
                *(seconds(final[p], never=final["never"]) for p in ("p50", "p95")),
                f"{final['never']} of {final['count']}",
                seconds(s["flush_after_stop"]["p95"]),
                "-" if s["lost"] is None else s["lost"],
                f"{s['wer']:.1%}",
                s["refused"] + s["failed"],
                run["rows_per_call"] or "-",
                f"{run['server_cpu_s'] / run['wall_s']:.2f}",
                f"{run['client_cpu_s'] / run['wall_s']:.2f}",
                f"{run['late_share']:.2%}",
            )
        )
    return "All latencies in seconds.\n\n" + table(header, rows)


def _first_and_last(folders: Mapping[int, Path]) -> list[int]:
    return sorted({min(folders), max(folders)}) if folders else []


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--cost", default="demo")
    parser.add_argument("--audio-context", default="auto", help="of ours")
    parser.add_argument("--tokenizer-of", default="demo", help="for random weights")
    parser.add_argument("--quantization", default="int8", help="of random weights")
    parser.add_argument("--duty", type=int, default=45, help="per cent of speech")
    parser.add_argument("--duration-s", type=float, default=60.0)
    parser.add_argument("--ramp-s", type=float, default=4.0)
    parser.add_argument("--chunk-s", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=256)
    parser.add_argument("--start", type=int, default=1, help="after 1, try this")
    parser.add_argument("--step", type=int, default=1, help="precision of the search")
    parser.add_argument(
        "--upstream-streams", type=_counts, default=[1, 2, 4, 8], help="'' for none"
    )
    parser.add_argument(
        "--within-s", type=float, help="upstream's p95 for one stream, from another run"
    )
    parser.add_argument(
        "--nice", type=int, default=0, help="of all servers; below 0 where others work"
    )
    parser.add_argument("--flag", action="append", default=[], help="for our server")
    args = parser.parse_args()
    if args.upstream_streams and not is_installed():
        parser.error("upstream is not installed: python -m bench.servers")
    if args.nice:
        put_first(os.getpid(), args.nice - 5)  # clients go before the server
    with cost_of(args) as cost:
        facts = provenance(
            "compare",
            cost=cost.label,
            model_sha256=model_hash(cost.weights) if cost.weights else "",
            upstream=versions() if args.upstream_streams else "",
            **{k: v for k, v in vars(args).items() if k not in ("out", "cost")},
        )
        report = Report(args.out, "Upstream and ours, side by side", facts)
        comparison = Comparison(args, cost, report)
        try:
            comparison.run()
        except KeyboardInterrupt:
            comparison.write()
        print(report.folder / "report.md")


if __name__ == "__main__":
    main()
