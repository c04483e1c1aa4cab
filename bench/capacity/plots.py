"""The report's pictures: percentiles against streams, distributions, memory.

Takes results as they stand in ``results.jsonl`` and folders of event logs.  Where
matplotlib is not installed nothing is drawn, and the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whisper_live.testing.load.crowd import together
from whisper_live.testing.load.measure import measure
from whisper_live.testing.load.sessionlog import read_logs
from whisper_live.testing.load.summary import Objective

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
except ImportError:
    pyplot = None  # type: ignore[assignment]  # the extra [bench] has it

__all__ = ["can_draw", "draw_cdf", "draw_memory", "draw_occupancy", "draw_percentiles"]

Results = Sequence[Mapping[str, Any]]
_MOST_S = 30.0  # where what never came is drawn


def can_draw() -> bool:
    """Whether there will be pictures."""
    return pyplot is not None


def draw_percentiles(results: Results, path: Path) -> None:
    """Percentiles against streams: partial lag left, finals right; grey: the objective.

    What never came is drawn at the upper edge.
    """
    objective = Objective()
    figure, both = pyplot.subplots(1, 2, figsize=(11, 4), sharey=True)
    for axes, name, title, limit_s in (
        (both[0], "partial_lag", "partial lag, s", objective.partial_p95_s),
        (both[1], "final_after_speech", "speech to final, s", objective.final_p95_s),
    ):
        for server, runs in _by_server(results).items():
            streams = [run["summary"]["clients"] for run in runs]
            color = None
            for mark, style in (("p95", "o-"), ("p50", "o:"), ("p99", "x--")):
                values = [_seconds(run["summary"][name], mark) for run in runs]
                label = f"{server}, {mark}"
                line = axes.plot(streams, values, style, color=color, label=label)[0]
                color = line.get_color()
        axes.axhline(limit_s, color="grey", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("streams")
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
    both[1].legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def draw_cdf(folders: Mapping[str, Path], path: Path) -> None:
    """How finals are distributed; one line for each folder of logs."""
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, folder in folders.items():
        logs = read_logs(folder)
        span = together(logs)
        lags = sorted(lag for log in logs for lag in measure(log, span).final_lags_s)
        shares = [(i + 1) / len(lags) for i in range(len(lags))]
        came = [(lag, share) for lag, share in zip(lags, shares) if lag < math.inf]
        if came:
            axes.step(*zip(*came), where="post", label=name)
    axes.set_xlabel("end of speech to final text, s")
    axes.set_ylabel("share of utterances")
    axes.set_ylim(0, 1.02)
    _save(figure, axes, path)


def draw_occupancy(results: Results, path: Path) -> None:
    """Rows in a call against the number of streams."""
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, runs in _by_server(results).items():
        filled = [run for run in runs if run.get("rows_per_call")]
        if filled:
            streams = [run["summary"]["clients"] for run in filled]
            axes.plot(streams, [r["rows_per_call"] for r in filled], "o-", label=name)
    axes.set_xlabel("streams")
    axes.set_ylabel("requests in one call, mean")
    _save(figure, axes, path)


def draw_memory(usage: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Resident memory over time, a line for each server."""
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, samples in usage.items():
        minutes = [sample["at_s"] / 60 for sample in samples]
        axes.plot(minutes, [sample["rss_mib"] for sample in samples], label=name)
    axes.set_xlabel("minutes")
    axes.set_ylabel("resident memory, MiB")
    axes.set_ylim(bottom=0)
    _save(figure, axes, path)


def _by_server(results: Results) -> dict[str, list[Mapping[str, Any]]]:
    servers: dict[str, list[Mapping[str, Any]]] = {}
    for result in sorted(results, key=lambda r: int(r["summary"]["clients"])):
        servers.setdefault(result["server"], []).append(result)
    return servers


def _seconds(percentiles: Mapping[str, Any], name: str) -> float:
    value = percentiles[name]
    return _MOST_S if value is None else float(value)


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
