"""``whisper-live models``: what is installed, cached and known, with sizes.

Looks and tells; downloads, joins and changes nothing, and asks no network.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from whisper_live.config.model import Config, EngineConfig
from whisper_live.inference import model_files as models
from whisper_live.inference import model_packages as packages

__all__ = ["run"]

# What a download of the stock sizes takes: float16, 2 bytes for each parameter.
_DOWNLOAD_MB = {
    "tiny": 76,
    "base": 145,
    "small": 484,
    "medium": 1528,
    "large": 3087,
    "large-v3-turbo": 1618,
    "turbo": 1618,
    "distil-small": 332,
    "distil-medium": 789,
    "distil-large": 1513,
}

Row = tuple[str, str, str, str]  # name, state, size, where


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Print a line for each model; 0."""
    rows = [*_installed(), *_cached(config.engine)]
    here = {name for name, *_ in rows}
    rows += [row for row in _known() if row[0] not in here]
    for name, state, size, where in [("model", "state", "size", "where"), *rows]:
        print(f"{name:<20}{state:<12}{size:>8}  {where}")
    return 0


def _installed() -> Iterator[Row]:
    """In data packages, and the demo model of this one."""
    for name in packages.KNOWN:
        package = packages.find(name)
        if package is None:
            continue
        if package.missing:
            where = f"{package.source}; there is no {' and no '.join(package.missing)}"
            yield name, "incomplete", "", where
        else:
            yield name, "installed", _mb(package.size_bytes), package.source
    for found in models.installed():
        if found.name == models.DEMO:
            size = (found.path / "model.bin").stat().st_size
            yield found.name, "installed", _mb(size), found.source


def _cached(config: EngineConfig) -> Iterator[Row]:
    """In the hub's cache."""
    for found in models.cached(config):
        size = _mb((found.path / "model.bin").stat().st_size)
        yield found.name, "cached", size, f"{found.source}: {_short(found.path)}"


def _known() -> Iterator[Row]:
    """Stock sizes that would be downloaded, and by what else they can be had."""
    for name, hub_id in models.STOCK_MODELS.items():
        family = name.partition(".")[0]
        if family not in _DOWNLOAD_MB:
            family = family.rpartition("-")[0]  # without the version
        where = f"hub: {hub_id}"
        if known := packages.KNOWN.get(name):
            where += f"; or {known.install_command}"
        yield name, "known", f"{_DOWNLOAD_MB[family]} MB", where


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


def _short(folder: Path) -> Path:
    """With ``~`` for the home directory."""
    home = Path.home()
    return (
        Path("~") / folder.relative_to(home) if folder.is_relative_to(home) else folder
    )
