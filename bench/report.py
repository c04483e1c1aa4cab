"""What all benches have in common: where a figure comes from, and how it is kept.

A report is a folder: ``results.jsonl`` (one line for each result, each with its
provenance), ``report.md`` with tables and plots, and ``logs/`` with the event log of
every stream.  Lines are appended as results come, so an interrupted run leaves all it
had; ``report.md`` is written again after each of them.

    python -m bench.report DIR...         pack the logs of finished reports for keeping
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

__all__ = ["Bar", "Report", "model_hash", "pack", "provenance", "seconds", "table"]

_PACKAGES = ("ctranslate2", "faster-whisper", "onnxruntime", "numpy", "websockets")


def provenance(bench: str, **settings: object) -> dict[str, object]:
    """What a figure means nothing without."""
    return {
        "bench": bench,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "revision": _revision(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
        "cpu": _cpu(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load": round(psutil.getloadavg()[0], 1),  # others' work shows here
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        **settings,
    }


def _revision() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    answer = subprocess.run(git, capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def model_hash(folder: Path) -> str:
    """The first 12 digits of the SHA-256 of a model's weights."""
    weights = folder / "model.bin"
    if not weights.is_file():
        return ""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def seconds(value: float | None, *, never: int = 0) -> str:
    """A latency in a table; what never came is said so."""
    if value is None:
        return "never" if never else "-"
    return f"{value:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


class Bar:
    """What is left of the run at hand, on a terminal; lines go above it."""

    def __init__(self, name: str) -> None:
        self._bar = tqdm(
            desc=name,
            bar_format="{desc} |{bar:20}| {n:.0f} of {total:.0f} s, {remaining} left",
            leave=False,
            total=1.0,
            disable=None,  # where standard error is no terminal
        )

    def progress(self, gone_s: float, total_s: float) -> None:
        """Take it from ``run_crowd``."""
        if gone_s < self._bar.n:
            self._bar.reset(total_s)
        self._bar.total = total_s
        self._bar.update(min(gone_s, total_s) - self._bar.n)

    def write(self, line: str) -> None:
        """A line of text."""
        self._bar.write(line)

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.close()


@dataclass(slots=True)
class Report:
    """One folder of results."""

    folder: Path
    title: str
    facts: Mapping[str, object]
    sections: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def logs(self) -> Path:
        """Where event logs go."""
        return self.folder / "logs"

    def add(self, **result: Any) -> None:
        """Keep one result."""
        with (self.folder / "results.jsonl").open("a") as file:
            file.write(json.dumps({**self.facts, **result}) + "\n")

    def write(self, *sections: str) -> None:
        """Write ``report.md``: title, facts, these sections, the way to the logs."""
        facts = table(("what", "value"), [(k, v) for k, v in self.facts.items()])
        command = " ".join(["python", "-m", *_command()])
        parts = [
            f"# {self.title}\n",
            f"    {command}\n",
            *sections,
            "## Where and with what\n",
            facts,
            "Every figure is computed from the streams' event logs in `logs/`; "
            "`results.jsonl` has them all, one run in each line.\n",
        ]
        (self.folder / "report.md").write_text("\n".join(parts))


def pack(folder: Path) -> Path:
    """Put a report's logs into one archive beside it; links lead there from then on."""
    packed = folder / "logs.tar.xz"
    with tarfile.open(packed, "w:xz") as archive:
        archive.add(folder / "logs", "logs")
    shutil.rmtree(folder / "logs")
    report = folder / "report.md"
    text = report.read_text().replace("in `logs/`", "in `logs.tar.xz`")
    report.write_text(re.sub(r"\]\(logs/[^)]*\)", "](logs.tar.xz)", text))
    return packed


def _command() -> list[str]:
    """How this was started; where the report went is nobody's concern."""
    spec = sys.modules["__main__"].__spec__
    name = spec.name if spec else Path(sys.argv[0]).stem
    arguments = [
        "DIR" if before == "--out" else argument
        for before, argument in zip(sys.argv, sys.argv[1:])
    ]
    return [name, *(shlex.quote(argument) for argument in arguments)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Pack the logs of finished reports for keeping."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    for folder in parser.parse_args().folders:
        print(pack(folder))


if __name__ == "__main__":
    main()
