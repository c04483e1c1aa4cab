"""Upstream 0.10.0 and ours in turn on the same cores, with the same audio and work.

    python -m bench.capacity.servers   upstream's environment, once
    python -m bench.capacity.compare --out DIR --budget 25m
    python -m bench.capacity.compare --out DIR --cost demo --context full --duty 45

One run measures, the most important first: upstream with one stream, with its batch
mode off and on; our streams at the objective and our streams within upstream's p95 of
finals for one stream, with short and with full audio contexts; the same at 100 %
speech; upstream with more streams; then all of it at the other costs, more hastily
(``--cost``, see ``costs``).  ``--budget`` bounds the whole: each leg has a share of
what is left, a search that runs out of it says between which numbers the answer lies.
No number of streams is run twice for one leg, nor one above a number that failed.  The
report is written after every run: Ctrl-C, SIGTERM and the end of the budget leave one.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.capacity import findings
from bench.capacity.contest import Contest, Found, Leg, Rules
from bench.capacity.costs import Cost, cost_of
from bench.capacity.servers import is_installed, versions
from bench.report import Report, model_hash, provenance
from whisper_live.testing.load.summary import Objective

__all__ = ["Comparison", "plan", "read_time"]

COSTS = ("demo", "weights:tiny", "0.05,0.02", "0.2,0.1")
_LEAST_LEG_S = 20.0  # with less left, a server is not even started
_CURVE = (2, 4, 8)  # upstream's further streams, for the pictures
_HASTE = 0.6  # of the duration, at other costs than the main one


def plan(
    costs: Sequence[Cost],
    *,
    contexts: Sequence[str],
    duties: Sequence[int],
    with_upstream: bool,
    curve: Sequence[int] = _CURVE,
    duration_s: float = 30.0,
    alone_s: float = 80.0,
) -> list[Leg]:
    """All legs, the most important first; the first cost is the main one.

    ``alone_s``: of upstream's one stream, which says few sentences and sets a bound.
    """
    legs: list[Leg] = []
    duty, *other_duties = duties
    modes = ("upstream", "upstream batch") if with_upstream else ()

    def ours(cost: Cost, duty: int, seconds: float, searches: int) -> None:
        for context in cost.ours:
            if not context or context in contexts:
                leg = Leg(cost, "ours", duty, context, (), seconds, searches)
                legs.append(leg)

    def theirs(cost: Cost, streams: Sequence[int], seconds: float) -> None:
        if streams:
            for mode in modes:
                legs.append(Leg(cost, mode, duty, "", tuple(streams), seconds))

    main, *others = costs
    theirs(main, (1,), alone_s)
    ours(main, duty, duration_s, 8)
    for other_duty in other_duties:
        ours(main, other_duty, duration_s, 4)
    theirs(main, curve, duration_s)
    for cost in others:
        theirs(cost, (1,), alone_s / 2)
        ours(cost, duty, _HASTE * duration_s, 4)
    return legs


class Comparison:
    """Runs the legs one after the other and keeps the report up to date."""

    def __init__(self, legs: Sequence[Leg], rules: Rules, report: Report) -> None:
        self.found: list[Found] = []
        self._legs, self._rules, self._report = legs, rules, report
        self._objective = Objective()

    def run(self, end_at: float) -> None:
        """All legs that the time allows; ``end_at`` is monotonic, inf for no end."""
        for index, leg in enumerate(self._legs):
            left_s = end_at - time.monotonic()
            if left_s < _LEAST_LEG_S:
                break  # the rest is shown as not measured
            ahead_s = sum(each.nominal_s for each in self._legs[index:])
            deadline = time.monotonic() + leg.nominal_s * left_s / ahead_s
            minutes = min(left_s, ahead_s) / 60
            print(
                f"{index + 1} of {len(self._legs)}, about {minutes:.0f} min left: "
                f"{leg.cost.label}, {leg.duty} % speech: {leg.name}",
                flush=True,
            )
            contest = Contest(
                leg,
                self._rules,
                self._report.logs / leg.slug,
                objective=self._objective,
                deadline=deadline,
                seen=self._seen,
            )
            self.found.append(contest.found)
            try:
                contest.run(self._bound_s(leg))
            except (RuntimeError, OSError, psutil.Error) as error:
                # a server that does not start, or did not survive: the others go on
                contest.found.stopped = f"{type(error).__name__}: {error}"
            except KeyboardInterrupt:
                contest.found.stopped = "interrupted"
                raise
            self.write(with_pictures=True)

    def _bound_s(self, leg: Leg) -> float:
        """Upstream's better p95 of finals for one stream of the same speech."""
        return min(
            (
                found.final_p95_s(1)
                for found in self.found
                if found.leg.server != "ours"
                and (found.leg.cost, found.leg.duty) == (leg.cost, leg.duty)
            ),
            default=math.inf,
        )

    def _seen(self, result: dict[str, Any]) -> None:
        self._report.add(**result)
        self.write()

    def write(self, *, with_pictures: bool = False) -> None:
        """The report of what there is so far."""
        missing = self._legs[len(self.found) :]
        self._report.write(
            *findings.sections(self.found, missing, self._objective),
            findings.pictures(self.found, self._report.folder, draw=with_pictures),
        )


def read_time(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``25m`` or ``1.5h``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 25m")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the report")
    add("--budget", type=read_time, help="such as 25m; no bound unless given")
    add("--cost", action="append", help=f"any number; unless given {', '.join(COSTS)}")
    add("--context", action="append", choices=("short", "full"), help="of ours")
    add("--duty", type=_numbers, default=[45, 100], help="per cent of speech")
    add("--no-upstream", action="store_true", help="ours alone")
    add("--upstream-streams", type=_numbers, default=_CURVE, help="beside one")
    add("--duration-s", type=float, default=30.0, help="of speech; main cost, ours")
    add("--alone-s", type=float, default=80.0, help="of speech; upstream's one stream")
    add("--hold-s", type=float, default=0.0, help="hold each result for so long")
    add("--ramp-s", type=float, default=3.0)
    add("--chunk-s", type=float, default=0.1)
    add("--seed", type=int, default=0)
    add("--start", type=int, help="streams; unless given, by what one costs")
    add("--most", type=int, default=512)
    add("--share", type=float, default=0.15, help="precision, of the result")
    add("--tokenizer-of", default="demo", help="for random weights")
    add("--quantization", default="int8", help="of random weights")
    add("--nice", type=int, default=0, help="of servers; below 0 where others work")
    add("--flag", action="append", default=[], help="for our server")
    return parser


def main() -> int:
    """Command line; 130 after Ctrl-C."""
    parser = _parser()
    args = parser.parse_args()
    end_at = time.monotonic() + (args.budget or math.inf)
    with_upstream = not args.no_upstream
    if with_upstream and not is_installed():
        parser.error("upstream is not installed: python -m bench.capacity.servers")
    rules = Rules(
        ramp_s=args.ramp_s,
        chunk_s=args.chunk_s,
        seed=args.seed,
        start=args.start,
        most=args.most,
        share=args.share,
        hold_s=args.hold_s,
        nice=args.nice,
        flags=tuple(args.flag),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        keys = args.cost or COSTS
        costs = [stack.enter_context(cost_of(key, args)) for key in keys]
        facts = provenance(
            "compare",
            **{f"model_{c.key}": model_hash(c.weights) for c in costs if c.weights},
            upstream=versions() if with_upstream else "",
            **{k: v for k, v in vars(args).items() if k != "out"},
        )
        legs = plan(
            costs,
            contexts=args.context or ("short", "full"),
            duties=args.duty,
            with_upstream=with_upstream,
            curve=args.upstream_streams,
            duration_s=args.duration_s,
            alone_s=args.alone_s,
        )
        report = Report(args.out, "Upstream and ours, side by side", facts)
        comparison, status = Comparison(legs, rules, report), 0
        try:
            comparison.run(end_at)
        except KeyboardInterrupt:
            print("interrupted; the report has what was measured")
            status = 130
        finally:
            comparison.write(with_pictures=True)
        print(report.folder / "report.md")
    return status


if __name__ == "__main__":
    sys.exit(main())
