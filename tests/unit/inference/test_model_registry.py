"""Which model a session gets, by what it asks for and by its language."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from whisper_live.config.model import BatchConfig, Config, EngineConfig
from whisper_live.errors import ConfigError
from whisper_live.inference.engine import Engine
from whisper_live.inference.model_registry import Model, ModelRegistry
from whisper_live.inference.worker import Worker
from whisper_live.observability.metrics import Metrics
from whisper_live.testing.oracle import OracleEngine


class Shelf:
    """The loader: engines of these languages by name, and what was loaded."""

    def __init__(self, **languages: tuple[str, ...]) -> None:
        self.loads: list[str] = []
        self._languages = languages

    def size_bytes(self, name: str) -> int:
        if name not in self._languages:
            raise ConfigError(f"model {name}: there is none")
        return 0

    def load(self, name: str) -> Engine:
        self.loads.append(name)
        return OracleEngine(languages=self._languages[name])


def registry(shelf: Shelf | None, **settings: Any) -> ModelRegistry:
    """One whose main model is called ``main`` and knows English and German."""
    metrics = Metrics()
    engine = OracleEngine(languages=("en", "de"))
    main = Model("", Worker(engine, BatchConfig(), metrics=metrics), ("en", "de"))
    config = Config(engine=EngineConfig(model="main", **settings))
    return ModelRegistry(config, main=main, metrics=metrics, loader=shelf)


@pytest.mark.parametrize(
    ("asked", "language", "given"),
    [
        (None, None, ""),
        ("offered", None, "offered"),
        ("offered", "de", "offered"),  # who asks by name means it
        ("small", None, ""),
        ("small", "de", "german"),  # as WhisperLive's clients do who ask for nothing
        (None, "de", "german"),
        (None, "en", ""),
        (None, "it", ""),  # the operator says: the main one
        ("german", None, ""),  # not offered by name
        ("", "", ""),
    ],
)
async def test_a_name_that_is_offered_comes_before_the_language(
    asked: str | None, language: str | None, given: str
) -> None:
    models = registry(Shelf(), models="offered", model_for_language="de=german,it=main")
    assert models.choose(asked, language) == given
    without = registry(None, models="offered", model_for_language="de=german")
    assert without.choose(asked, language) == ""


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    yield Shelf(accurate=("en", "de", "fr"), english=("en",))


async def final_model(models: ModelRegistry, language: str | None) -> str:
    own = await models.hold("")
    async with models.for_final_pass(own, session="s", language=language) as model:
        name = model.name
    models.release(own)
    await models.close()
    return name


async def test_the_final_pass_has_a_model_of_its_own_while_it_lasts(
    shelf: Shelf,
) -> None:
    models = registry(shelf, final_model="accurate")
    own = await models.hold("")
    async with models.for_final_pass(own, session="s", language=None) as model:
        assert model.name == "accurate" and model is not own
        assert models._cache._entries["accurate"].sessions == 1
    assert models._cache._entries["accurate"].sessions == 0
    assert shelf.loads == ["accurate"]
    await models.close()


@pytest.mark.parametrize(
    ("final", "language", "reads"),
    [
        ("", "en", ""),
        ("main", "en", ""),
        ("english", "en", "english"),
        ("english", "de", ""),
        ("english", None, ""),  # nobody knows yet what will be spoken
        ("accurate", None, "accurate"),
        ("accurate", "de", "accurate"),
        ("unknown", "en", ""),  # cannot be loaded
    ],
)
async def test_the_sessions_own_model_reads_where_the_other_cannot(
    final: str, language: str | None, reads: str, shelf: Shelf
) -> None:
    assert await final_model(registry(shelf, final_model=final), language) == reads


async def test_a_final_pass_that_is_given_up_releases_its_model(shelf: Shelf) -> None:
    models = registry(shelf, final_model="accurate")
    own = await models.hold("")
    entered = asyncio.Event()

    async def read() -> None:
        async with models.for_final_pass(own, session="s", language="en"):
            entered.set()
            await asyncio.Event().wait()

    reading = asyncio.create_task(read())
    await entered.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert models._cache._entries["accurate"].sessions == 0
    await models.close()
