"""The man page and what else is installed beside the package."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.docs.man import PAGE, man_page
from tests.docs.pages import ROOT, read
from whisper_live import cli
from whisper_live.config.sources import all_settings

# Where each shell, man and an administrator look, under the prefix.
BESIDE = {
    "share/man/man1/whisper-live.1",
    "share/bash-completion/completions/whisper-live.bash",
    "share/fish/vendor_completions.d/whisper-live.fish",
    *(
        f"share/whisper-live/{path.relative_to(ROOT)}"
        for path in ROOT.glob("systemd/*")
    ),
}


def test_the_man_page_is_up_to_date() -> None:
    assert read(PAGE) == man_page(), "python -m tests.docs.man"


def test_it_has_every_command_and_setting() -> None:
    page = read(PAGE).replace("\\-", "-")
    for name in cli.COMMANDS:
        assert f"\n.SS {name}\n" in page
    for each in all_settings():
        assert f"\n.B {each.flag} VALUE\n" in page
        assert f"({each.variable}" in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_troff_has_nothing_to_say_about_it() -> None:
    command = ["groff", "-ww", "-man", "-Tutf8", "-z", str(ROOT / PAGE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_file_that_is_installed_beside_the_package_is_here() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    installed = {
        f"{folder}/{path.name}"
        for folder, patterns in setup["options.data_files"].items()
        for pattern in patterns.split()
        for path in ROOT.glob(pattern)
    }
    assert installed == BESIDE


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CI"), reason="needs a package index")
def test_they_are_in_the_wheel(tmp_path: Path) -> None:
    command = ["pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run([sys.executable, "-m", *command], check=True)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/data/")[2] for name in names} >= BESIDE


def completions(line: str, tmp_path: Path) -> list[str]:
    """What a shell would be told at the end of ``line``."""
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    command = [sys.executable, "-m", "whisper_live"]
    subprocess.run(command, env=environment, check=True, cwd=tmp_path)
    return [word.strip() for word in answer.read_text().split("\n")]


def test_a_shell_completes_commands_settings_and_choices(tmp_path: Path) -> None:
    assert completions("whisper-live se", tmp_path) == ["serve", "settings"]
    assert completions("whisper-live serve --vad-g", tmp_path) == ["--vad-gain"]
    latencies = completions("whisper-live serve --latency ", tmp_path)
    assert latencies == ["fast", "balanced", "accurate"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_given_its_code(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    assert "whisper-live" in capsys.readouterr().out
