"""Real Whisper weights for tests marked ``real``: those of the extras."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from whisper_live.config.model import EngineConfig
from whisper_live.inference import model_packages as packages
from whisper_live.inference.model_files import Located, locate

__all__ = ["real_model"]


def real_model(name: str, cache: Path) -> Located:
    """``tiny.en`` or ``base`` out of its data package; ``base`` is joined in ``cache``.

    Skips the test where the package is not installed, except under CI, which must
    have it.
    """
    package = packages.find(name)
    if package is None or package.missing:
        message = f"the extra [{packages.KNOWN[name].extra}] is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    # With a cache of its own the test sees no download of the same model.
    config = EngineConfig(model=name, model_cache=str(cache))
    return locate(config, lambda line: None)
