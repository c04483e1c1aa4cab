"""The container and add-on for Home Assistant start what there is."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, between
from whisper_live import __version__
from whisper_live.config.sources import all_settings

FOLDER = ROOT / "home-assistant"
COMMAND = runpy.run_path(str(FOLDER / "run.py"))["command"]


def test_every_flag_that_it_gives_is_a_setting() -> None:
    options = {"model": "small", "silence_ms": 500, "allow": "10.0.0.0/8"}
    program, command, *flags = COMMAND(options)
    assert (program, command) == ("whisper-live", "serve")
    known = {each.flag for each in all_settings()}
    assert {flag.partition("=")[0] for flag in flags} <= known
    assert {"--model=small", "--wyoming-silence-ms=500"} <= set(flags)
    assert "--wyoming-port=10300" in COMMAND({})


def test_the_add_ons_options_are_those_that_it_reads() -> None:
    manifest = (FOLDER / "config.yaml").read_text("utf-8")
    options, schema = (
        set(re.findall(r"^  (\w+):", part.partition("\nnext:")[0], re.MULTILINE))
        for part in re.findall(r"^(?:options|schema):\n((?:  .*\n)+)", manifest, re.M)
    )
    assert options == schema == {"model", "silence_ms", "allow"}
    assert f'version: "{__version__}"' in manifest


def test_the_options_of_the_supervisor_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "options.json").write_text(json.dumps({"model": "tiny.en"}), "utf-8")
    script = (FOLDER / "run.py").read_text("utf-8")
    copy = tmp_path / "run.py"
    copy.write_text(script.replace("/data/", f"{tmp_path}/"), "utf-8")
    ran: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda program, line: ran.append(line))
    monkeypatch.setattr(sys, "argv", [str(copy)])
    runpy.run_path(str(copy), run_name="__main__")
    assert "--model=tiny.en" in ran[0]


def test_every_code_of_an_error_is_described() -> None:
    """Those of this wire's own; the others are the server's."""
    told = set(
        re.findall(r"`(\w+)`", between("docs/home-assistant.md", "| `code`", "Several"))
    )
    own: set[str] = set()
    for folder in ("protocols/wyoming", "server/wyoming"):
        for path in (ROOT / "whisper_live" / folder).glob("*.py"):
            own |= set(re.findall(r'kind="(\w+)"', path.read_text("utf-8")))
    assert own <= told
