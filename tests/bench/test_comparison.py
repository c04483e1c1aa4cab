"""The comparison's plan, time and words; slowly, a whole one of the oracle."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.capacity.compare import plan, read_time
from bench.capacity.contest import Found, Leg
from bench.capacity.costs import Cost, cost_of
from bench.capacity.findings import sections, streams_text
from whisper_live.testing.load.search import Search
from whisper_live.testing.load.summary import Objective, summarise

REPOSITORY = Path(__file__).parents[2]
MODEL = Cost("demo", "a model", "sentences", {"short": (), "full": ()}, ())
ORACLE = Cost("0.1,0.1", "an oracle", "marks", {"": ()}, ())


def names(legs: list[Leg]) -> list[tuple[str, str, int, tuple[int, ...]]]:
    return [(leg.cost.key, leg.name, leg.duty, leg.streams) for leg in legs]


def test_what_matters_most_comes_first() -> None:
    legs = plan(
        [MODEL, ORACLE],
        contexts=("short", "full"),
        duties=(45, 100),
        with_upstream=True,
        curve=(4,),
    )
    assert names(legs) == [
        ("demo", "upstream", 45, (1,)),
        ("demo", "upstream batch", 45, (1,)),
        ("demo", "ours, short contexts", 45, ()),
        ("demo", "ours, full contexts", 45, ()),
        ("demo", "ours, short contexts", 100, ()),
        ("demo", "ours, full contexts", 100, ()),
        ("demo", "upstream", 45, (4,)),
        ("demo", "upstream batch", 45, (4,)),
        ("0.1,0.1", "upstream", 45, (1,)),
        ("0.1,0.1", "upstream batch", 45, (1,)),
        ("0.1,0.1", "ours", 45, ()),
    ]
    assert len({leg.slug for leg in legs}) == len(legs)  # no log over another
    longest = max(legs, key=lambda leg: leg.nominal_s)
    assert longest.name == "ours, short contexts"


def test_ours_alone_and_one_context() -> None:
    legs = plan([MODEL], contexts=("full",), duties=(100,), with_upstream=False)
    assert names(legs) == [("demo", "ours, full contexts", 100, ())]


@pytest.mark.parametrize(
    ("text", "found_s"), [("90", 90), ("90s", 90), ("25m", 1500), ("1.5h", 5400)]
)
def test_a_time_is_read(text: str, found_s: float) -> None:
    assert read_time(text) == found_s


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="25m"):
        read_time("soon")


def test_an_oracle_costs_the_same_on_both_sides() -> None:
    with cost_of("0.05,0.02", argparse.Namespace()) as cost:
        assert cost.material == "marks" and list(cost.ours) == [""]
        assert cost.ours[""][-4:] == (
            *("--oracle-call-s", "0.05"),
            *("--oracle-row-s", "0.02"),
        )
        assert cost.upstream == ("--marks", "--call-s", "0.05", "--row-s", "0.02")


# ----------------------------------------------------------------------------- search


def search_that(
    kept: int, *, most: int = 64, tries: int = 99, start: int = 8
) -> Search:
    search = Search(start=start, most=most)
    while tries and (n := search.next()) is not None:
        search.learn(n, n <= kept)
        tries -= 1
    return search


def test_a_search_says_how_sure_it_is() -> None:
    assert streams_text(None) == "-"
    assert streams_text(search_that(20)) == "20 (21 missed it)"
    assert streams_text(search_that(64)) == "64 (more were not tried)"
    assert streams_text(search_that(0)) == "0"
    assert streams_text(search_that(20, tries=1)) == "at least 8"
    assert streams_text(search_that(20, tries=3)) == "at least 16, less than 32"


def test_runs_made_for_another_search_count_and_are_not_asked_for_again() -> None:
    search = Search(start=16)
    for n, succeeded in ((1, True), (16, True), (32, True), (48, False), (64, False)):
        search.learn(n, succeeded)
    asked = []
    while (wanted := search.next()) is not None:
        asked.append(wanted)
        search.learn(wanted, wanted <= 40)
    assert search.good == 40
    assert set(asked) < set(range(33, 48)) and len(asked) == len(set(asked))


def test_a_share_of_the_result_is_precise_enough() -> None:
    search = Search(start=64, share=0.15)
    asked = 0
    while (n := search.next()) is not None:
        search.learn(n, n <= 100)
        asked += 1
    assert asked <= 5 and search.bad is not None
    assert search.good <= 100 < search.bad <= 1.15 * search.good + 1


# ---------------------------------------------------------------------------- findings


def run_of(leg: Leg, streams: int, p95_s: float, late: float = 0.0) -> dict[str, Any]:
    """One run's result as a leg keeps it."""
    summary = summarise([]).as_json()
    figures = {"count": 9, "p50": 0.2, "p95": p95_s, "p99": p95_s, "never": 0}
    summary |= {"clients": streams}
    summary |= {"partial_lag": figures, "final_after_speech": figures}
    stages = dict.fromkeys(("infer", "queue", "vad", "decode", "emit"), 1.5)
    return {
        **{"server": leg.name, "duty": leg.duty, "summary": summary, "broken": []},
        **{"server_cpu_s": 5.0, "client_cpu_s": 1.0, "wall_s": 10.0, "seconds": 30.0},
        **{"late_share": late, "rows_per_call": None, "stage_s": stages},
        "log": f"logs/{leg.slug}/clients-{streams:04}",
    }


def test_the_text_holds_both_numbers_the_ratio_and_what_is_missing() -> None:
    theirs, ours = Leg(MODEL, "upstream", 45, streams=(1,)), Leg(
        MODEL, "ours", 45, "full"
    )
    upstream = Found(theirs, objective=search_that(0, start=1))
    upstream.runs.append(run_of(theirs, 1, 4.0))
    mine = Found(ours, objective=search_that(12), reach=search_that(20), bound_s=4.0)
    mine.runs += [run_of(ours, 1, 0.5), run_of(ours, 12, 0.9, late=0.002)]
    text = "\n".join(sections([upstream, mine], [Leg(MODEL, "ours", 100)], Objective()))
    assert "| upstream | 0 (tried: 1) | - |" in text
    assert "| 12 (13 missed it) | 20 (21 missed it), within 4.00 s | 0.20% (too" in text
    assert (
        "| upstream : ours, full contexts | 4.00 : 0.50 | 4.00 : 0.50 | 8.0 |" in text
    )
    assert "- a model, 100 %, ours: not measured" in text
    assert "](logs/demo-ours-full-45/clients-0012)" in text
    assert re.search(r"a model, 45 %, ours, full contexts \| 12 \| 10.0 \| 0.50", text)


# ------------------------------------------------------------------------------- whole


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_whole_comparison_ends_within_its_budget(tmp_path: Path) -> None:
    out = tmp_path / "report"
    subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "bench.capacity.compare",
                "--out",
                str(out),
                "--no-upstream",
            ),
            *("--cost", "0.02,0.01", "--duty", "45", "--budget", "60s", "--most", "3"),
            *("--duration-s", "3", "--ramp-s", "0.3", "--start", "2"),
        ],
        check=True,
        cwd=REPOSITORY,
        timeout=240,
    )
    lines = (out / "results.jsonl").read_text().splitlines()
    runs = [json.loads(line) for line in lines]
    streams = [run["summary"]["clients"] for run in runs]
    assert streams[0] == 1 and len(set(streams)) == len(streams)
    for run in runs:
        assert (run["summary"]["lost"], run["summary"]["doubled"]) == (0, 0)
        assert (out / run["log"] / "session-0000.jsonl").exists()
        assert run["calls"] > 0 and run["revision"]
    text = (out / "report.md").read_text()
    assert "the oracle, 0.02 s a call and 0.01 s a row" in text
    assert "--out DIR" in text and str(tmp_path) not in text
