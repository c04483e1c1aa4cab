"""README.md is short and says what is true: commands that run, a client that works."""

from __future__ import annotations

import asyncio
import re
import sys
import wave
from pathlib import Path

from tests.docs.pages import ROOT, between, read
from whisper_live import cli
from whisper_live.audio import SAMPLE_RATE
from whisper_live.config.model import Config, ListenConfig
from whisper_live.server.server import Server
from whisper_live.testing.marks import word_text, write_speech
from whisper_live.testing.oracle import OracleDetector, build_oracle

README = read("README.md")


def test_it_is_read_in_minutes() -> None:
    assert len(README.encode()) <= 8192


def test_every_command_is_described() -> None:
    described = re.findall(r"^\| `whisper-live ([a-z][\w-]*)", README, re.MULTILINE)
    assert sorted(described) == sorted(cli.COMMANDS)


def test_ci_runs_the_two_commands() -> None:
    """Each part of README's commands is a step of .ci/run, with the same words."""
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    steps = ci.replace(" || exit 1\n", "\n").replace("[test,lint]", "[test]")
    section = between("README.md", "## Two commands", "## ")
    commands = re.findall(r"^    (.*&&.*)$", section, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        for part in command.split(" && "):
            words = part.replace("-m venv .venv", "-m venv --clear .venv")
            words = words.replace("pip install", "pip install --quiet")
            assert f" {words}\n" in steps


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
    config = Config(listen=ListenConfig(port=0, http_port=0))
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
