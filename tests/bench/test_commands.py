"""Each bench starts: its imports, and the files of the repository that it names."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "bench").rglob("*.py")
    if path.name not in ("__main__.py", "upstream.py")  # one runs, one is upstream's
)


@pytest.mark.parametrize("name", BENCHES)
def test_what_a_bench_names_is_there(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:  # an extra that is not installed
        missing = (error.name or "").split(".")[0]
        assert missing not in ("bench", "tests", "training", "whisper_live"), error
        pytest.skip(f"needs {missing}")
    for value in vars(module).values():
        if isinstance(value, Path) and ROOT in value.parents:
            assert value.exists(), value
