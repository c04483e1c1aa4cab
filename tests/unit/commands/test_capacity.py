"""What ``capacity`` leaves behind, and what it finds out before it measures."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from whisper_live import cli
from whisper_live.commands import capacity

FOUND = "3 streams\nserve with --max-sessions 3, or let --write FILE set it\n"

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The folders that were measured in; each then holds a log."""
    folders: list[Path] = []

    async def measure(config: object, arguments: object, logs: Path) -> int:
        (logs / "session-0.jsonl").write_text("{}\n")
        folders.append(logs)
        return 3

    monkeypatch.setattr(capacity, "_measure", measure)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return folders


def test_it_leaves_nothing_in_the_temporary_directory(
    measured: list[Path], tmp_path: Path, capsys: Capture
) -> None:
    assert cli.main(["capacity"]) == 0
    assert capsys.readouterr().out == FOUND
    assert measured[0].parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_logs_are_kept_where_that_was_asked_for(
    measured: list[Path], tmp_path: Path, capsys: Capture
) -> None:
    logs = tmp_path / "a" / "b"
    assert cli.main(["capacity", "--logs", str(logs)]) == 0
    assert [path.name for path in logs.iterdir()] == ["session-0.jsonl"]
    out = capsys.readouterr().out
    assert out == f"event logs of all streams: {logs}\n{FOUND}"


@pytest.mark.parametrize("flag", ["--logs", "--write"])
def test_what_cannot_be_written_is_found_before_measuring(
    flag: str, measured: list[Path], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("")
    wrong = str(tmp_path / "file" / "x")
    assert cli.main(["capacity", flag, wrong]) == 2
    assert wrong in capsys.readouterr().err
    assert measured == []


def test_a_settings_file_is_made_only_with_the_result(
    measured: list[Path], tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    capacity.check_writable(settings)
    assert not settings.exists()
    assert cli.main(["capacity", "--write", str(settings)]) == 0
    assert settings.read_text().startswith("max-sessions = 3  # measured on ")
