"""One loaded engine per model for all tests here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.support import Kept
from tests.weights import real_model
from whisper_live.config.model import EngineConfig
from whisper_live.inference.ctranslate2.engine import load


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the halves of ``base`` are joined, once."""
    return tmp_path_factory.mktemp("weights")


def _kept(name: str, cache: Path) -> Iterator[Kept]:
    real_model(name, cache)
    config = EngineConfig(model=name, model_cache=str(cache), device="cpu")
    engine = load(config, max_batch=4, progress=lambda line: None)
    yield Kept(engine)
    asyncio.run(engine.close())


@pytest.fixture(scope="session")
def tiny(model_cache: Path) -> Iterator[Kept]:
    """``tiny.en``."""
    yield from _kept("tiny.en", model_cache)


@pytest.fixture(scope="session")
def base(model_cache: Path) -> Iterator[Kept]:
    """``base``, which knows 99 languages."""
    yield from _kept("base", model_cache)
