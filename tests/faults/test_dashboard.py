"""Every series that the dashboard asks for is one that the daemon has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from whisper_live.observability.metrics import Metrics

DASHBOARD = Path(__file__).parents[2] / "systemd" / "grafana-dashboard.json"
SERIES = re.compile(r"\b(?:whisper_live|process)_[a-z_]+\b")
LABELS = re.compile(r"by \(([a-z_, ]+)\)")


def rendered() -> dict[str, set[str]]:
    """Labels by series, of a daemon that has had some of everything."""
    metrics = Metrics()
    metrics.session_rejected("capacity")
    metrics.audio_decoded("webm", 1.0)
    metrics.audio_dropped("closing", 1.0)
    metrics.suppressed("repetition")
    metrics.error("internal")
    metrics.session_detached()
    metrics.session_attached("resumed")
    metrics.room_reader_dropped("stalled")
    metrics.describe(version="1", engine="e", model="m", device="d", compute_type="c")
    page = metrics.render().decode()
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_every_series_and_label_exists() -> None:
    known = rendered()
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    assert len(queries) >= 18
    for query in queries:
        names = SERIES.findall(query)
        assert names and set(names) <= known.keys(), query
        for labels in LABELS.findall(query):
            wanted = {label.strip() for label in labels.split(",")} - {"instance"}
            assert wanted <= known[names[0]], query


def test_ids_and_places_are_distinct() -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24
