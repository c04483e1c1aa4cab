"""README.md says what is true: settings, commands, exit codes, and its client runs."""

from __future__ import annotations

import asyncio
import re
import sys
import wave
from pathlib import Path

import pytest

from whisper_live import cli
from whisper_live.audio import SAMPLE_RATE
from whisper_live.config.model import Config, ListenConfig
from whisper_live.config.sources import settings_table
from whisper_live.server.server import Server
from whisper_live.testing.marks import word_text, write_speech
from whisper_live.testing.oracle import OracleDetector, build_oracle

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def between(start: str, end: str) -> str:
    """The text of README.md between two markers, the rest of their lines left out."""
    text = README.partition(start)[2].partition("\n")[2]
    found, mark, _ = text.partition(end)
    assert mark, f"README.md has no {start!r} … {end!r}"
    return found


def test_settings_table_is_the_one_that_the_program_prints() -> None:
    printed = settings_table()
    assert between("<!-- settings:", "<!-- end of settings") == printed


def test_every_command_is_described() -> None:
    described = re.findall(r"^\| `whisper-live ([a-z][\w-]*)", README, re.MULTILINE)
    assert sorted(described) == sorted(cli.COMMANDS)


def test_every_exit_code_is_described() -> None:
    rows = re.findall(r"^\| (\d+) \| \S", between("| exit code |", "## "), re.MULTILINE)
    assert [int(row) for row in rows] == sorted(cli.ExitCode)


def test_ci_runs_the_two_commands() -> None:
    """Each part of README's commands is a step of .ci/run, with the same words."""
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    commands = re.findall(r"^    (.*&&.*)$", between("## Two commands", "## "), re.M)
    assert len(commands) == 2
    for command in commands:
        for part in command.replace("[test]", "[test,lint]").split(" && "):
            words = part.replace("-m venv .venv", "-m venv --clear .venv")
            words = words.replace("pip install", "pip install --quiet")
            assert f" {words}\n" in re.sub(r" \|\| exit 1\n", "\n", ci)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(#([\w-]+)\)", README))))
def test_links_within_the_page_lead_somewhere(link: str) -> None:
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
    assert link in anchors


async def test_the_python_client_prints_what_was_said(tmp_path: Path) -> None:
    """The quick start's own words, against a server with the oracle as its model."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    samples, _ = write_speech([[1, 2], [3]])
    path = tmp_path / "said.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    config = Config(listen=ListenConfig(port=0))
    engine = build_oracle(config)
    async with Server(config, engine=engine, detector=OracleDetector) as server:
        client = code.replace(":9090", f":{server.port}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", client, str(path), stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
    assert process.returncode == 0
    words = "".join(word_text(number) for number in (1, 2, 3))
    assert printed.decode() == f"{words}\n"
