"""The units: what systemd thinks of them, and what they do under a real one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.boot import boot, why_not
from whisper_live.config.sources import settings_table

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as shipped, but for a program that is there."""
    for unit in UNITS.glob("whisper-live.*"):
        text = unit.read_text("utf-8")
        program = "/opt/whisper-live/bin/whisper-live serve"
        if unit.suffix == ".service":
            assert f"ExecStart={program}\n" in text
        (tmp_path / unit.name).write_text(text.replace(program, "/bin/true"))
    return tmp_path


def analyze(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@needs_analyze
@pytest.mark.parametrize("unit", ["whisper-live.service", "whisper-live.socket"])
def test_systemd_has_nothing_to_say_about_the_units(unit: str, installed: Path) -> None:
    # It returns 0 for keys that it does not know: only silence is consent.
    assert analyze("verify", "--man=no", f"./{unit}", cwd=installed).stdout == ""


@needs_analyze
def test_a_wrong_key_would_be_seen(installed: Path) -> None:
    unit = installed / "whisper-live.service"
    unit.write_text(unit.read_text() + "Protect=yes\n")
    assert (
        "Protect"
        in analyze("verify", "--man=no", f"./{unit.name}", cwd=installed).stdout
    )


@needs_analyze
def test_exposure_is_two_at_most(installed: Path) -> None:
    command = ["security", "--offline=true", "--threshold=20", "--no-pager"]
    done = analyze(*command, "./whisper-live.service", cwd=installed)
    assert done.returncode == 0, done.stdout
    assert "Overall exposure level" in done.stdout


def test_what_the_files_set_are_settings() -> None:
    known = settings_table()
    for file in UNITS.iterdir():
        for line in file.read_text("utf-8").splitlines():
            for word in line.replace("=", " ").split():
                if word.lstrip("#").startswith("WHISPER_LIVE_"):
                    assert f"`{word.lstrip('#')}`" in known, f"{file.name}: {word}"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_service_under_a_real_systemd(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    seen = json.loads(boot("tests.faults.booted", tmp_path).splitlines()[-1])
    print(seen)
    assert seen["uid"] >= 61184 and seen["ready"] == 200  # a dynamic user's
    assert (seen["stop_code"], seen["stop_words"]) == (1012, [1, 2, 3])
    assert seen["stop_result"] == "success"
    assert seen["kill_to_ready_s"] < 60
    assert seen["hang_restarts"] >= 1 and seen["hang_to_kill_s"] < 30
    assert seen["reload_same_process"]
    assert (seen["reload_old_words"], seen["reload_new_words"]) == ([1, 2], [3])
    assert seen["credential_words"] == [5]
    assert seen["activated"] == 60
    if (ROOT / "whisper_live" / "data" / "demo-model").is_dir():
        assert {"gpu_sandbox_to_ready_s", "cpu_sandbox_to_ready_s"} <= seen.keys()
