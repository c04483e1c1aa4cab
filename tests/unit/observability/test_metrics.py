"""The metrics page: names, values, buckets, and labels that stay few."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from whisper_live.inference.types import RequestKind
from whisper_live.observability.metrics import CONTENT_TYPE, MOST_VALUES, Metrics


def page(metrics: Metrics) -> dict[str, float]:
    """Every series on the page, as it is written there, with its value."""
    series: dict[str, float] = {}
    for line in metrics.render().decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name not in series, f"{name} stands twice"
            series[name] = float(value)
    return series


def test_page_is_prometheus_text() -> None:
    metrics = Metrics()
    families = list(text_string_to_metric_families(metrics.render().decode()))
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
    names = [family.name for family in families]
    ours = [name for name in names if not name.startswith("process_")]
    assert all(re.fullmatch(r"whisper_live_[a-z_]+", name) for name in ours)
    assert all(family.documentation for family in families)
    assert not re.search(rb"_created\b", metrics.render())


def test_sessions_are_counted_now_and_in_all() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.session_opened()
    metrics.session_closed()
    metrics.session_rejected("capacity")
    metrics.options_ignored(2)
    series = page(metrics)
    assert series["whisper_live_sessions"] == 2
    assert series["whisper_live_sessions_total"] == 3
    assert series['whisper_live_sessions_rejected_total{reason="capacity"}'] == 1
    assert series["whisper_live_ignored_options_total"] == 2


def test_audio_and_text_are_counted_by_reason() -> None:
    metrics = Metrics()
    metrics.audio_decoded("webm", 1.5)
    metrics.audio_decoded("webm", 0.5)
    metrics.audio_decoded("float32", 1.0)
    metrics.audio_dropped("engine_timeout", 2.5)
    metrics.suppressed("no_speech", 3)
    metrics.decoder_event("gap")
    metrics.error("decode")
    series = page(metrics)
    assert series['whisper_live_audio_seconds_total{codec="webm"}'] == 2
    assert series['whisper_live_audio_seconds_total{codec="float32"}'] == 1
    dropped = "whisper_live_dropped_audio_seconds_total"
    assert series[dropped + '{reason="engine_timeout"}'] == 2.5
    assert series['whisper_live_suppressed_total{reason="no_speech"}'] == 3
    assert series['whisper_live_decoder_events_total{event="gap"}'] == 1
    assert series['whisper_live_errors_total{type="decode"}'] == 1


def test_requests_and_stages_stand_on_the_page_before_the_first() -> None:
    series = page(Metrics())
    for kind in RequestKind:
        for outcome in ("hypothesis", "failed", "cancelled"):
            labels = f'{{kind="{kind.value}",outcome="{outcome}"}}'
            assert series["whisper_live_requests_total" + labels] == 0
    for stage in ("decode", "vad", "queue", "infer", "emit"):
        name = f'whisper_live_stage_duration_seconds_count{{stage="{stage}"}}'
        assert series[name] == 0


def test_processing_is_measured() -> None:
    metrics = Metrics()
    metrics.request_done("final", "hypothesis")
    metrics.stage("infer", 0.3)
    metrics.stage("infer", 0.7)
    metrics.batch_started(3)
    metrics.queue(5, 0.25)
    metrics.engine_up(True)
    series = page(metrics)
    assert series['whisper_live_requests_total{kind="final",outcome="hypothesis"}'] == 1
    stage = "whisper_live_stage_duration_seconds"
    assert series[stage + '_sum{stage="infer"}'] == 1.0
    assert series[stage + '_bucket{le="0.5",stage="infer"}'] == 1
    assert series['whisper_live_batch_size_bucket{le="2.0"}'] == 0
    assert series['whisper_live_batch_size_bucket{le="3.0"}'] == 1
    assert series["whisper_live_queue_depth"] == 5
    assert series["whisper_live_queue_delay_seconds"] == 0.25
    assert series["whisper_live_engine_up"] == 1
    metrics.engine_up(False)
    assert page(metrics)["whisper_live_engine_up"] == 0


@pytest.mark.parametrize("target", [1.0, 1.5])
def test_lag_buckets_tell_either_side_of_the_target(target: float) -> None:
    metrics = Metrics()
    metrics.lag(target - 0.01)
    metrics.lag(target + 0.01)
    assert page(metrics)[f'whisper_live_lag_seconds_bucket{{le="{target}"}}'] == 1


def test_build_info() -> None:
    metrics = Metrics()
    metrics.describe(version="1.2.3", model="demo")
    name = 'whisper_live_build_info{model="demo",version="1.2.3"}'
    assert page(metrics)[name] == 1


@pytest.mark.parametrize(
    "value", ["", "A canary sang", "a" * 41, 'x"} 1\nfake 1', "<script>", "ünicode"]
)
def test_what_is_no_name_becomes_other(value: str) -> None:
    metrics = Metrics()
    metrics.error(value)
    metrics.error(value)
    errors = {name: v for name, v in page(metrics).items() if "errors_total" in name}
    assert errors == {'whisper_live_errors_total{type="other"}': 2}


def test_labels_stay_few() -> None:
    metrics = Metrics()
    for number in range(MOST_VALUES + 100):
        metrics.audio_decoded(f"codec{number}", 1)
    metrics.audio_decoded("codec0", 1)
    found = [name for name in page(metrics) if "audio_seconds_total" in name]
    assert len(found) == MOST_VALUES + 1
    series = page(metrics)
    assert series['whisper_live_audio_seconds_total{codec="other"}'] == 100
    assert series['whisper_live_audio_seconds_total{codec="codec0"}'] == 2


def test_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.session_opened()
    assert page(other)["whisper_live_sessions_total"] == 0
