"""What a comparison says: its tables and pictures, from what the legs found.

Knows no clock, no server and no file but the pictures'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.capacity import plots
from bench.capacity.contest import Found, Leg
from bench.report import seconds, table
from whisper_live.testing.load.search import Search
from whisper_live.testing.load.summary import Objective

__all__ = ["pictures", "sections", "streams_text"]

_LATE_SHARE = 0.001  # above this the bench measured itself


def sections(
    found: Sequence[Found], missing: Sequence[Leg], objective: Objective
) -> list[str]:
    """The text: the numbers asked for, then every run, then where time went."""
    parts = [_objective_text(objective), _found_table(found), _one_stream(found)]
    stopped = [f"- {_title(f.leg)}: {f.stopped}\n" for f in found if f.stopped]
    stopped += [f"- {_title(leg)}: not measured\n" for leg in missing]
    if stopped:
        parts.append("Not complete:\n\n" + "".join(stopped))
    for (label, duty), group in _grouped(found).items():
        runs = [run for each in group for run in each.runs]
        if runs:
            parts.append(f"## {label}, {duty} % speech\n\n" + _runs_table(runs))
    times = [row for each in found for row in _time_rows(each)]
    if times:
        header = (
            *("", "streams", "seconds", "CPU, cores", "in calls", "queueing"),
            *("speech detection", "decoding", "sending"),
        )
        parts.append(
            "## Where our server's time goes\n\nSeconds of each stage over the run; "
            "queueing and calls overlap, calls of several workers add up.\n\n"
            + table(header, times)
        )
    commands = [f"- {_title(f.leg)}: `{f.command}`\n" for f in found if f.command]
    if commands:
        parts.append("## How the servers were started\n\n" + "".join(commands))
    return parts


def _objective_text(objective: Objective) -> str:
    return (
        f"Objective: p95 of partial lag at most {objective.partial_p95_s:g} s, p95 "
        f"until an utterance's text stands at most {objective.stands_p95_s:g} s, p95 "
        f"of finals after the end of speech at most {objective.final_p95_s:g} s, "
        "nobody refused or failed, no speech given up, word errors as for one stream; "
        "of marks none lost, doubled, out of order or invented.\n"
    )


def _found_table(found: Sequence[Found]) -> str:
    header = (
        *("work", "speech", "server", "streams at the objective"),
        *("streams with finals within upstream's p95 for one", "late sends there"),
        "first partial, s: cold; warm p50 / p95",
    )
    rows = []
    for each in found:
        leg, reach = each.leg, streams_text(each.reach)
        if each.bound_s is not None:
            reach += f", within {each.bound_s:.2f} s"
        streams = streams_text(each.objective)
        if leg.streams and each.objective is not None:
            tried = ", ".join(str(run["summary"]["clients"]) for run in each.runs)
            streams = f"{each.objective.good} (tried: {tried or 'none'})"
        if each.held:
            streams += f"; {each.held}"
        rows.append(
            (
                leg.cost.label,
                f"{leg.duty} %",
                leg.name,
                streams,
                reach,
                _late(each),
                _first_partial(each),
            )
        )
    return table(header, rows) if rows else "Nothing was measured.\n"


def streams_text(search: Search | None) -> str:
    """A search's result; one that could not end says between which numbers it lies."""
    if search is None:
        return "-"
    if search.next() is None:
        if search.bad is None:
            return f"{search.good} (more were not tried)"
        return f"{search.good} ({search.bad} missed it)" if search.good else "0"
    least = f"at least {search.good}"
    return least if search.bad is None else f"{least}, less than {search.bad}"


def _first_partial(each: Found) -> str:
    """Of the server's first client, and of those of the largest run that held."""
    streams = each.objective.good if each.objective else 0
    run = each.run_of(streams) or (each.runs[-1] if each.runs else None)
    cold = seconds(each.cold_s if each.cold_s != math.inf else None)
    if run is None:
        return cold
    warm = run["summary"]["first_partial"]
    return f"{cold}; {seconds(warm['p50'])} / {seconds(warm['p95'])}"


def _late(each: Found) -> str:
    """The bench's own lateness at the numbers that are reported."""
    wanted = {s.good for s in (each.objective, each.reach) if s is not None}
    shares = [
        run["late_share"] for run in each.runs if run["summary"]["clients"] in wanted
    ]
    if not shares:
        return "-"
    worst = max(shares)
    return f"{worst:.2%}" + (" (too many)" if worst > _LATE_SHARE else "")


def _one_stream(found: Sequence[Found]) -> str:
    """Latencies side by side where both served one stream."""
    rows = []
    for (label, duty), group in _grouped(found).items():
        theirs = [f for f in group if f.leg.server != "ours" and f.run_of(1)]
        for mine in (f for f in group if f.leg.server == "ours" and f.run_of(1)):
            for other in theirs:
                ratio = other.final_p95_s(1) / mine.final_p95_s(1)
                rows.append(
                    (
                        *(label, f"{duty} %", f"{other.leg.name} : {mine.leg.name}"),
                        f"{_p95(other, 'partial_lag')} : {_p95(mine, 'partial_lag')}",
                        f"{_p95(other, 'final_after_speech')} : "
                        f"{_p95(mine, 'final_after_speech')}",
                        f"{ratio:.1f}" if math.isfinite(ratio) else "-",
                    )
                )
    if not rows:
        return ""
    header = ("work", "speech", "one stream each", "partial lag p95, s")
    return table((*header, "finals p95, s", "times as long"), rows)


def _p95(found: Found, name: str) -> str:
    run = found.run_of(1)
    assert run is not None, "the caller looked"
    figures = run["summary"][name]
    return seconds(figures["p95"], never=figures["never"])


def _runs_table(runs: Sequence[dict[str, Any]]) -> str:
    header = (
        *("server", "streams", "partial p50", "p95", "p99", "final p50", "p95", "p99"),
        *(
            "no final",
            "flush p95",
            "words lost, doubled, invented",
            "WER",
            "wrong, missing, added",
            "refused",
        ),
        *("failed", "rows/call", "server CPU, cores", "client CPU, cores"),
        *("late sends", "objective", "logs"),
    )
    rows = []
    for run in runs:
        s = run["summary"]
        partial, final = s["partial_lag"], s["final_after_speech"]
        wrong = (s["lost"], s["doubled"], s["invented"])
        marks = ("p50", "p95", "p99")
        rows.append(
            (
                run["server"],
                s["clients"],
                *(seconds(partial[p], never=partial["never"]) for p in marks),
                *(seconds(final[p], never=final["never"]) for p in marks),
                f"{final['never']} of {final['count']}",
                seconds(s["flush_after_stop"]["p95"]),
                "-" if s["lost"] is None else ", ".join(map(str, wrong)),
                f"{s['wer']:.1%}",
                f"{s['substituted']}, {s['missing']}, {s['added']}",
                s["refused"],
                s["failed"],
                run["rows_per_call"] or "-",
                f"{run['server_cpu_s'] / run['wall_s']:.2f}",
                f"{run['client_cpu_s'] / run['wall_s']:.2f}",
                f"{run['late_share']:.2%}",
                "; ".join(run["broken"]) or "kept",
                f"[{run['seconds']:.0f} s]({run['log']})",
            )
        )
    return "All latencies in seconds.\n\n" + table(header, rows)


def _time_rows(found: Found) -> Iterable[tuple[object, ...]]:
    """Of what held and of what broke next."""
    if found.leg.server != "ours" or found.objective is None:
        return
    for streams in (found.objective.good, found.objective.bad):
        run = found.run_of(streams) if streams else None
        if run:
            stages = (run["stage_s"][s] for s in _STAGES)
            cores = f"{run['server_cpu_s'] / run['wall_s']:.2f}"
            yield (_title(found.leg), streams, run["wall_s"], cores, *stages)


_STAGES = ("infer", "queue", "vad", "decode", "emit")


def _title(leg: Leg) -> str:
    return f"{leg.cost.label}, {leg.duty} %, {leg.name}"


def _grouped(found: Sequence[Found]) -> dict[tuple[str, int], list[Found]]:
    groups: dict[tuple[str, int], list[Found]] = {}
    for each in found:
        groups.setdefault((each.leg.cost.label, each.leg.duty), []).append(each)
    return groups


# --------------------------------------------------------------------------- pictures


def pictures(found: Sequence[Found], folder: Path, *, draw: bool) -> str:
    """Markdown of the pictures; drawn anew where wanted, which takes some seconds."""
    if not plots.can_draw():
        return "No pictures: `pip install '.[bench]'` brings matplotlib.\n"
    lines = []
    for (label, duty), group in _grouped(found).items():
        results = [run for each in group for run in each.runs]
        if not results:
            continue
        stem = f"{group[0].leg.cost.slug}-{duty}"
        if draw:
            _draw(group, results, folder, stem)
        names = (f"{stem}-{kind}.png" for kind in _KINDS)
        lines += [f"### {label}, {duty} % speech\n"]
        lines += [f"![{name}]({name})" for name in names if (folder / name).exists()]
        lines += [""]
    return "## Pictures\n\n" + "\n".join(lines) if lines else ""


_KINDS = ("percentiles", "cdf", "occupancy", "memory")


def _draw(
    group: Sequence[Found], results: list[dict[str, Any]], folder: Path, stem: str
) -> None:
    plots.draw_percentiles(results, folder / f"{stem}-percentiles.png")
    plots.draw_cdf(
        {
            f"{each.leg.name}, {streams} streams": each.folders[streams]
            for each in group
            if each.folders
            for streams in sorted({min(each.folders), max(each.folders)})
        },
        folder / f"{stem}-cdf.png",
    )
    if any(result["rows_per_call"] for result in results):
        plots.draw_occupancy(results, folder / f"{stem}-occupancy.png")
    usage: dict[str, list[dict[str, float]]] = {}
    for each in group:
        name = each.leg.name + (" with more streams" if each.leg.name in usage else "")
        usage[name] = [asdict(sample) for sample in each.usage]
    plots.draw_memory(usage, folder / f"{stem}-memory.png")
