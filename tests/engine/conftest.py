"""Engines that tests share: loading one takes longer than most tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.engine.random_model import SHAPES, build
from tests.engine.models import model_folder, sentences
from tests.engine.requests import request, words
from whisper_live.config.model import EngineConfig
from whisper_live.inference.ctranslate2.batch import Call
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine, load


def _loaded(model: Path, audio_context: str) -> CTranslate2Engine:
    config = EngineConfig(
        model=str(model), audio_context=audio_context, workers=2, threads=1
    )
    return load(config, max_batch=4, progress=lambda line: None)


@pytest.fixture(scope="session")
def real_folder() -> Path:
    """A model with real weights."""
    return model_folder()


@pytest.fixture(scope="session")
def local(real_folder: Path) -> Iterator[CTranslate2Engine]:
    """Real weights, short audio contexts."""
    engine = _loaded(real_folder, "2")
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="session")
def alone(local: CTranslate2Engine) -> tuple[str, ...]:
    """What the model says to each sentence by itself."""

    async def ask() -> tuple[str, ...]:
        answers = [await local.transcribe([request(a)]) for _, a in sentences()]
        return tuple(words(answer[0]) for answer in answers)

    return asyncio.run(ask())


@pytest.fixture(scope="session")
def nano_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one narrow layer with random weights: quick, and never silent."""
    folder = tmp_path_factory.mktemp("models") / "nano"
    tokenizer = model_folder() / "tokenizer.json"
    return build(SHAPES["nano"], folder, tokenizer=tokenizer, quantization="int8")


@pytest.fixture(scope="session")
def loaded_nano(nano_folder: Path) -> CTranslate2Engine:
    """Loaded once; tests get engines of their own around its model."""
    return _loaded(nano_folder, "2")


@pytest.fixture
def nano(loaded_nano: CTranslate2Engine) -> Iterator[CTranslate2Engine]:
    """Its own engine for each test, to be closed or spoiled."""
    calls = [
        Call(call._model, call.prompts, to_cpu=False) for call in loaded_nano._calls
    ]
    engine = CTranslate2Engine(
        loaded_nano.info, calls, mels=80, contexts=(200, 300), trained_short=True
    )
    yield engine
    asyncio.run(engine.close())
