"""Data packages made up for tests: metadata, a RECORD, and small files for weights.

``python -m tests.unit.inference.data_packages SITE CACHE`` resolves ``base`` out of
those in SITE, for tests of several processes: it prints each line of progress and waits
for a line on standard input after the half of the join, and prints the folder last.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

from whisper_live.inference import model_packages as packages
from whisper_live.inference.model_packages import Known, Part

TINY = b"tiny" * 1000
HALVES = (b"first" * (3 << 19), b"last." * (3 << 19))  # several blocks each
BESIDE = {"config.json": b"{}", "tokenizer.json": b"{}", "vocabulary.txt": b"word\n"}
RAISES = b"raise AssertionError('the code of a data package was imported')\n"

KNOWN = {
    "base": Known(
        "base",
        "base",
        (
            Part("fake-base-part1", "1.0", "fake_base_part1/data/model.bin.part1"),
            Part("fake-base-part2", "1.0", "fake_base_part2/data/model.bin.part2"),
        ),
        hashlib.sha256(b"".join(HALVES)).hexdigest(),
    ),
    "tiny.en": Known(
        "tiny.en",
        "tiny-en",
        (Part("fake-tiny", "1.0", "fake_tiny/model/model.bin"),),
        hashlib.sha256(TINY).hexdigest(),
    ),
}


def write_package(site: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Install a distribution of these files as pip would have."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    files = {**files, f"{module}/__init__.py": RAISES, f"{info}/METADATA": metadata}
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    lines = [f"{path},," for path in (*files, f"{info}/RECORD")]
    (site / info / "RECORD").write_text("\n".join(lines) + "\n")


def write_tiny(site: Path, weights: bytes = TINY) -> None:
    """The whole of ``tiny.en`` in one package."""
    files = {f"fake_tiny/model/{name}": text for name, text in BESIDE.items()}
    write_package(site, "fake-tiny", {**files, "fake_tiny/model/model.bin": weights})


def write_base(site: Path, *halves: int) -> None:
    """``base`` in its two packages, or one of them alone."""
    for half in halves or (1, 2):
        module = f"fake_base_part{half}"
        files = {f"{module}/data/model.bin.part{half}": HALVES[half - 1]}
        if half == 1:
            files |= {f"{module}/data/{name}": text for name, text in BESIDE.items()}
        write_package(site, f"fake-base-part{half}", files)


def _main(site: str, cache: str) -> None:
    sys.path.insert(0, site)
    package = packages.find("base")
    assert package is not None

    def progress(line: str) -> None:
        print(line, flush=True)
        if line.endswith(" 50 %"):
            sys.stdin.readline()

    print(package.folder(Path(cache), progress), flush=True)


if __name__ == "__main__":
    packages.KNOWN.clear()
    packages.KNOWN.update(KNOWN)
    _main(*sys.argv[1:])
