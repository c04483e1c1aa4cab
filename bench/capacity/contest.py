"""One leg of a comparison: one server, one kind of work, and the runs it takes.

Starts the server, lets crowds speak to it, and finds how many streams it carries at the
objective and how many within a given latency, as far as the time for it goes.  Says
what was found as plain values; what to compare and how to show it is ``compare``'s.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.capacity.costs import Cost
from bench.capacity.servers import Contender, Running, Usage, ours, started, upstream
from bench.report import Bar
from whisper_live.commands.capacity import Trials
from whisper_live.testing.load.crowd import Crowd, Run, run_crowd
from whisper_live.testing.load.material import Speech
from whisper_live.testing.load.search import Search
from whisper_live.testing.load.speaker import Dialogue
from whisper_live.testing.load.summary import Objective

__all__ = ["Contest", "Found", "Leg", "Rules"]

# One client before the others: upstream loads its model then, and the first figure of
# a fresh server is its own.
_WARM_UP = Speech(2.0, seed=99, tail_s=1.0)
_HOPELESS_S = 20.0  # upstream is not asked for more streams after finals this late
_FLUSH_TIMEOUT_S = 12.0  # who is this late is no candidate for any result
_RUN_OVERHEAD_S = 4.0  # starting processes, making recordings, reading logs
_START_S, _AROUND_S = 12.0, 13.0  # a server's start and warm-up; a run without speech
_FULL = 0.6  # share of the cores up to which one stream's CPU time is multiplied
_STAGES = ("decode", "vad", "queue", "infer", "emit")


@dataclass(frozen=True, slots=True)
class Rules:
    """How crowds speak and how far searches go; the same for all servers."""

    ramp_s: float
    chunk_s: float
    seed: int
    start: int | None  # None: from what one stream costs
    most: int
    share: float  # how far apart, of the result, what held and what broke may stay
    hold_s: float  # how long the result is held afterwards; 0 is not at all
    nice: int
    flags: tuple[str, ...]  # further ones for our server


@dataclass(frozen=True, slots=True)
class Leg:
    """What to measure: ``streams`` as they stand, or where there are none, a search."""

    cost: Cost
    server: str  # upstream, upstream batch or ours
    duty: int
    context: str = ""
    streams: tuple[int, ...] = ()
    duration_s: float = 30.0  # of each client's speech
    searches: int = 8  # about so many runs make a search

    @property
    def nominal_s(self) -> float:
        """About how long it takes: what a budget is shared out by."""
        runs = len(self.streams) or self.searches
        return _START_S + runs * (self.duration_s + _AROUND_S)

    @property
    def name(self) -> str:
        """The server as the report calls it."""
        return (
            f"{self.server}, {self.context} contexts" if self.context else self.server
        )

    @property
    def slug(self) -> str:
        """Its name in paths."""
        streams = "-".join(map(str, self.streams))
        words = (self.cost.slug, self.server, self.context, str(self.duty), streams)
        return "-".join(word for word in words if word).replace(" ", "-")

    def contender(self, flags: tuple[str, ...]) -> Contender:
        """The server, with its flags."""
        if self.server != "ours":
            batch = ("--batch",) if self.server.endswith("batch") else ()
            return upstream(self.name, *self.cost.upstream, *batch)
        unlimited = ("--max-sessions", "1024", "--max-queue-delay-s", "0")
        flags = (*self.cost.ours[self.context], *unlimited, *flags)
        return ours(self.name, *flags, module=self.cost.module)


@dataclass(slots=True)
class Found:
    """What one leg came to; filled in while it lasts."""

    leg: Leg
    objective: Search | None = None  # streams at the objective
    reach: Search | None = None  # streams within ``bound_s``
    bound_s: float | None = None
    command: str = ""  # the server's
    cold_s: float | None = None  # first partial of its first client
    held: str = ""  # how it went when the result was held
    stopped: str = ""  # why it is not complete
    runs: list[dict[str, Any]] = field(default_factory=list)
    folders: dict[int, Path] = field(default_factory=dict)
    usage: list[Usage] = field(default_factory=list)

    def run_of(self, streams: int) -> dict[str, Any] | None:
        """The run with so many streams."""
        runs = (r for r in self.runs if r["summary"]["clients"] == streams)
        return next(runs, None)

    def final_p95_s(self, streams: int) -> float:
        """Of the run with so many streams; inf where it never came or never ran."""
        run = self.run_of(streams)
        p95 = run["summary"]["final_after_speech"]["p95"] if run else None
        return math.inf if p95 is None else float(p95)


class Contest:
    """Runs one leg.  ``deadline``: monotonic; no run begins that would pass it."""

    def __init__(
        self,
        leg: Leg,
        rules: Rules,
        folder: Path,
        *,
        objective: Objective,
        deadline: float,
        seen: Callable[[dict[str, Any]], None],
    ) -> None:
        self.found = Found(leg)
        self._leg, self._rules, self._folder = leg, rules, folder
        self._objective, self._deadline, self._seen = objective, deadline, seen

    def run(self, bound_s: float) -> None:
        """All of it, or as much as the time allows; see ``found``.

        ``bound_s``: the latency of finals for the second search; inf for none.
        """
        contender = self._leg.contender(self._rules.flags)
        self.found.command = contender.shown
        with started(
            contender, self._folder / "server.log", nice=self._rules.nice
        ) as running:
            bar = Bar(self._leg.name)
            try:
                cold = self._crowd(running, _WARM_UP)
                first = run_crowd(cold, self._folder / "warm-up").summary
                self.found.cold_s = first.first_partial_cold_s
                trials = self._trials(running, bar)
                if self._leg.streams:
                    self._try_each(trials)
                else:
                    self._search(trials, bound_s)
            finally:
                self.found.usage = running.usage
                bar.close()

    # ------------------------------------------------------------------------- steps

    def _try_each(self, trials: Trials) -> None:
        search = self.found.objective = Search()
        for streams in self._leg.streams:
            if self._has_time(needed_anyway=not trials.runs):
                search.learn(streams, not trials.broken(streams))
                if self.found.final_p95_s(streams) > _HOPELESS_S:
                    return

    def _search(self, trials: Trials, bound_s: float) -> None:
        if not self._has_time(needed_anyway=True):
            return
        rules, found = self._rules, self.found
        alone = trials.run(1)  # whose word errors and latency others are held against
        start = rules.start or self._guess(alone)
        found.objective = Search(start=start, most=rules.most, share=rules.share)
        self._pursue(found.objective, trials)
        if math.isfinite(bound_s):
            found.bound_s = bound_s
            start = max(start, found.objective.good)
            found.reach = Search(start=start, most=rules.most, share=rules.share)
            trials.objective = Objective(math.inf, math.inf, bound_s)
            self._pursue(found.reach, trials)
            trials.objective = self._objective
        self._hold(trials)

    def _pursue(self, search: Search, trials: Trials) -> None:
        """Search on; runs that were made for another objective count at once."""
        for streams, run in sorted(trials.runs.items()):
            search.learn(streams, not trials.judge(run))
        while (wanted := search.next()) is not None and self._has_time():
            search.learn(wanted, not trials.broken(wanted))

    def _hold(self, trials: Trials) -> None:
        """The result once more for long, with other recordings."""
        assert self.found.objective is not None, "it was searched for"
        streams, hold_s = self.found.objective.good, self._rules.hold_s
        if not (streams and hold_s):
            return
        if not self._has_time(speech_s=hold_s):
            self.found.held = "no time to hold it"
            return
        speech = Speech(hold_s, self._leg.duty / 100, self._rules.seed + 1)
        crowd = dataclasses.replace(trials.crowd, clients=streams, speech=speech)
        run = run_crowd(crowd, self._folder / "held", progress=trials.progress)
        trials.seen(run)
        broken = trials.judge(run)
        self.found.held = f"for {hold_s:.0f} s: " + ("; ".join(broken) or "kept")

    # ------------------------------------------------------------------------- means

    def _has_time(
        self, *, needed_anyway: bool = False, speech_s: float | None = None
    ) -> bool:
        speech = self._speech()
        if speech_s is not None:
            speech = dataclasses.replace(speech, duration_s=speech_s)
        lasts_s = speech.whole_s + self._rules.ramp_s + _RUN_OVERHEAD_S
        if needed_anyway or time.monotonic() + lasts_s <= self._deadline:
            return True
        self.found.stopped = "its time was over"
        return False

    def _speech(self) -> Speech:
        leg = self._leg
        return Speech(leg.duration_s, leg.duty / 100, self._rules.seed)

    def _crowd(self, running: Running, speech: Speech) -> Crowd:
        return Crowd(
            clients=1,
            dialogue=Dialogue(
                running.url,
                chunk_s=self._rules.chunk_s,
                flush_timeout_s=_FLUSH_TIMEOUT_S,
            ),
            speech=speech,
            material=self._leg.cost.material,
            recording="demo",  # sentences are for the demo model
            ramp_s=self._rules.ramp_s,
        )

    def _trials(self, running: Running, bar: Bar) -> Trials:
        watch = _Watch(running)

        def seen(run: Run) -> None:
            alone = trials.fewest.summary
            leg, streams = self._leg, run.crowd.clients
            result = {
                "cost": leg.cost.key,
                "server": leg.name,
                "duty": leg.duty,
                "seconds": run.crowd.speech.duration_s,
                "broken": run.summary.broken(self._objective, alone),
                "cold_first_partial_s": self.found.cold_s,
                "log": os.path.relpath(run.folder, self._folder.parents[1]),
                **watch.result(run),
            }
            self.found.runs.append(result)
            self.found.folders.setdefault(streams, Path(run.folder))
            self._seen(result)

        trials = Trials(
            self._crowd(running, self._speech()),
            self._folder,
            self._objective,
            say=bar.write,
            seen=seen,
            progress=bar.progress,
        )
        return trials

    def _guess(self, alone: Run) -> int:
        """Streams to begin with: as many as would fill the cores at one's price.

        Batches make more of it; a sleeping oracle costs nothing and tells nothing.
        """
        if self._leg.cost.weights is None:
            return 4
        cpu_s = float(self.found.runs[-1]["server_cpu_s"])
        cores = len(os.sched_getaffinity(0))
        streams = _FULL * cores * alone.wall_s / max(cpu_s, 0.01)
        return max(min(int(streams), self._rules.most), 2)


class _Watch:
    """What the server used between two runs."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._before = running.metrics()
        self._cpu_s = running.sample().cpu_s

    def result(self, run: Run) -> dict[str, Any]:
        now, usage = self._running.metrics(), self._running.sample()
        calls = self._grown(now, "whisper_live_batch_size_count")
        rows = self._grown(now, "whisper_live_batch_size_sum")
        result = {
            "summary": run.summary.as_json(),
            "server_cpu_s": round(usage.cpu_s - self._cpu_s, 2),
            "client_cpu_s": round(run.client_cpu_s, 2),
            "wall_s": round(run.wall_s, 2),
            "late_share": round(run.late_share, 5),
            "rows_per_call": round(rows / calls, 2) if calls else None,
            "calls": calls,
            "rss_mib": usage.rss_mib,
            "threads": usage.threads,
            "stage_s": {s: round(self._grown(now, _stage(s)), 2) for s in _STAGES},
        }
        self._before, self._cpu_s = now, usage.cpu_s
        return result

    def _grown(self, now: Mapping[str, float], series: str) -> float:
        return now.get(series, 0.0) - self._before.get(series, 0.0)


def _stage(name: str) -> str:
    return f'whisper_live_stage_duration_seconds_sum{{stage="{name}"}}'
