"""How many daemons a day's clients need.

    python -m bench.fleet measure tiny.en --out costs.json    what calls take
    python -m bench.fleet capacity --costs costs.json         streams of one daemon
    python -m bench.fleet capacity --call-s 0.3 --row-s 0.1   the same of the oracle
    python -m bench.fleet day --places 8                      1, 10 and 100 daemons

``capacity`` is to be held against ``whisper-live capacity`` on the same engine.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.fleet.costs import Costs
from bench.fleet.daemon import Daemon
from bench.fleet.day import Day, Outcome
from bench.report import table
from whisper_live.config.model import Config, SpeechConfig
from whisper_live.testing.load.material import Speech
from whisper_live.testing.load.search import largest
from whisper_live.testing.load.summary import Percentiles, Summary

TURNED_AWAY = 0.01  # at most, of who comes in the busiest hour
DAEMON_DAYS = 100  # simulated for each figure: one daemon has few clients a day
BUSIEST_S = 10.5 * 3600.0  # within the busiest hour


def main() -> None:
    """Run what the command line asks for."""
    arguments = _parser().parse_args()
    if arguments.command == "capacity":
        _capacity(arguments)
    elif arguments.command == "day":
        print(_days(arguments.places, arguments.session_s, arguments.out_s))
    else:
        from bench.fleet.measured import measure

        measure(arguments.model, arguments.clients, arguments.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="what a model's calls take")
    measure.add_argument("model")
    measure.add_argument("--clients", type=int, default=8)
    measure.add_argument("--out", type=Path, required=True)
    capacity = commands.add_parser("capacity", help="streams at the objective")
    capacity.add_argument("--costs", type=Path)
    capacity.add_argument("--call-s", type=float, default=0.0)
    capacity.add_argument("--row-s", type=float, default=0.0)
    capacity.add_argument("--workers", type=int, default=1)
    capacity.add_argument("--latency", default="balanced")
    capacity.add_argument("--duration-s", type=float, default=30.0)
    capacity.add_argument(
        "--alone",
        type=float,
        nargs=2,
        metavar=("PARTIAL_S", "STANDS_S"),
        help="p95 of one stream as measured: what a model hesitates",
    )
    capacity.add_argument("--duty", type=float, default=45.0)
    capacity.add_argument("--most", type=int, default=256)
    day = commands.add_parser("day", help="what a fleet carries")
    day.add_argument("--places", type=int, required=True, help="of each daemon")
    day.add_argument("--session-s", type=float, default=600.0, help="mean length")
    day.add_argument("--out-s", type=float, default=60.0, help="of each restart")
    return parser


def _capacity(arguments: argparse.Namespace) -> None:
    given = Costs(arguments.call_s, arguments.row_s)
    costs = Costs.read(arguments.costs) if arguments.costs else given
    speech = Speech(arguments.duration_s, arguments.duty / 100)
    config = Config(speech=SpeechConfig(latency=arguments.latency))
    daemon = Daemon(
        costs,
        config,
        arguments.workers,
        speech,
        alone_s=tuple(arguments.alone) if arguments.alone else None,
    )
    found = daemon.capacity(
        most=arguments.most, say=lambda n, summary: print(_line(n, summary), flush=True)
    )
    print(f"{found} streams")


def _line(clients: int, summary: Summary) -> str:
    return (
        f"{clients:4} streams, p50/p95/p99: partial lag {_three(summary.partial_lag)}, "
        f"text stands {_three(summary.stands)}, "
        f"finals {_three(summary.final_after_speech)} s"
    )


def _three(values: Percentiles) -> str:
    marks = (values.p50, values.p95, values.p99)
    return "/".join("-" if mark is None else f"{mark:.2f}" for mark in marks)


def _days(places: int, session_s: float, out_s: float) -> str:
    """A table: what 1, 10 and 100 daemons carry."""
    rows = []
    for daemons in (1, 10, 100):
        day = Day(daemons, places, 1.0, session_s=session_s, out_s=out_s)
        busiest = largest(
            lambda n: _busiest_share(_days_with(day, n)) <= TURNED_AWAY,
            start=daemons,
            most=daemons * places,
        )
        quiet = _days_with(day, busiest)
        again = dataclasses.replace(day, restart_at=BUSIEST_S)
        restarted = _days_with(again, busiest)
        more = _mean(o.turned_away for o in restarted)
        more -= _mean(o.turned_away for o in quiet)
        rows.append(
            [
                str(daemons),
                str(daemons * places),
                str(busiest),
                f"{busiest / (daemons * places):.0%}",
                f"{_mean(o.moved for o in restarted):.0f}",
                f"{_mean(o.homeless for o in restarted):.1f}",
                f"{more:.1f}",
            ]
        )
    head = ["daemons", "places", "sessions in the busiest hour", "of all places"]
    head += ["moved by a restart", "of them without a place", "more turned away"]
    return table(head, rows)


def _days_with(day: Day, busiest: int) -> list[Outcome]:
    return [
        dataclasses.replace(day, busiest=float(busiest), seed=seed).run()
        for seed in range(max(DAEMON_DAYS // day.daemons, 1))
    ]


def _busiest_share(days: Sequence[Outcome]) -> float:
    """Of who came in the busiest hour, those who were turned away."""
    came = sum(outcome.busiest_came for outcome in days)
    return sum(outcome.busiest_turned_away for outcome in days) / max(came, 1)


def _mean(counts: Iterable[int]) -> float:
    return statistics.mean(list(counts))


if __name__ == "__main__":
    main()
