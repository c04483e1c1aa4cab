"""What the bench's scripts compute by themselves: recovery, drift, tables, reports."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from bench.capacity.overload import recovery_s
from bench.capacity.soak import slope
from bench.report import Report, model_hash, pack, provenance, seconds, table
from whisper_live.testing.load.material import SpokenWord
from whisper_live.testing.load.sessionlog import Arrived, Sent, SessionLog


def log_with_lags(*lags_s: float) -> SessionLog:
    """One word each second, from 100 on, that came after these times."""
    words = tuple(SpokenWord(f"w{i}", i - 0.3, i, 0) for i in range(1, len(lags_s) + 1))
    arrivals = sorted(
        (word.end_s + lag_s, word.text) for word, lag_s in zip(words, lags_s)
    )
    shown: list[dict[str, object]] = []
    log = SessionLog(0, words, 99.0, 100.0, started_at=100.0, is_marked=True)
    log.sends = [Sent(99.0, 99.0, 99.0)]
    for at_s, text in arrivals:
        number = float(text[1:])
        times = {"start": str(number - 0.3), "end": str(number)}
        shown.append({**times, "text": f" {text}", "completed": True})
        log.arrivals.append(Arrived(at_s, {"segments": list(shown)}))
    return log


def test_recovery_ends_with_the_last_word_that_was_late() -> None:
    log = log_with_lags(0.2, 0.3, 4.0, 3.0, 2.0, 0.4, 0.2)
    assert recovery_s([log], since_at=103.5, limit_s=1.5) == pytest.approx(1.5)


def test_who_was_never_late_has_recovered_at_once() -> None:
    assert recovery_s([log_with_lags(0.2, 0.3)], since_at=100.0, limit_s=1.5) == 0.0


def test_who_is_late_to_the_end_has_not_recovered() -> None:
    assert recovery_s([log_with_lags(0.2, 9.0)], since_at=101.0, limit_s=1.5) is None


def test_drift_is_the_slope_of_the_second_half() -> None:
    hours = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert slope(hours, [10, 80, 95, 100, 102, 104]) == pytest.approx(2.0)
    assert slope([1.0], [5.0]) == 0.0


def test_never_is_not_nothing() -> None:
    assert seconds(None, never=3) == "never"
    assert seconds(None) == "-"
    assert seconds(1.234) == "1.23"
    assert table(("a", "b"), [(1, 2)]) == "| a | b |\n|---|---|\n| 1 | 2 |\n"


def test_a_report_keeps_every_result_with_where_it_comes_from(tmp_path: Path) -> None:
    facts = provenance("test", seed=3)
    report = Report(tmp_path / "report", "A test", facts)
    report.add(streams=1)
    report.add(streams=2)
    lines = (tmp_path / "report" / "results.jsonl").read_text().splitlines()
    kept = [json.loads(line) for line in lines]
    assert [line["streams"] for line in kept] == [1, 2]
    for line in kept:
        for name in ("bench", "date", "revision", "machine", "ctranslate2", "seed"):
            assert line[name] == facts[name]
    report.write("Something was found.\n")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Something was found." in text and str(facts["machine"]) in text


def test_a_model_is_told_by_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    before = model_hash(tmp_path)
    assert len(before) == 12
    (tmp_path / "model.bin").write_bytes(b"others")
    assert model_hash(tmp_path) != before
    assert model_hash(tmp_path / "nowhere") == ""


def test_packed_logs_are_all_there_and_linked(tmp_path: Path) -> None:
    report = Report(tmp_path, "A test", {})
    folder = report.logs / "ours" / "clients-0001"
    folder.mkdir(parents=True)
    (folder / "session-0000.jsonl").write_text("{}\n")
    report.write("| [30 s](logs/ours/clients-0001) |")
    with tarfile.open(pack(tmp_path)) as archive:
        assert "logs/ours/clients-0001/session-0000.jsonl" in archive.getnames()
    assert not report.logs.exists()
    text = (tmp_path / "report.md").read_text()
    assert "| [30 s](logs.tar.xz) |" in text and "logs/" not in text
