"""What the folder of a converted model must hold, and what it says about itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_live.errors import ConfigError

__all__ = ["ModelFacts", "NEEDED", "checked", "describe", "memory_bytes"]

NEEDED = ("model.bin", "config.json", "tokenizer.json")  # without these nothing loads

_CALL_BYTES = 450_000_000  # that calls work in; bounded, whatever the batch size


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model folder says about itself.

    ``min_context_s``: shortest audio context it was trained for; None for stock models,
    which were trained for 30 s and say nothing.  ``source`` is ``Located``'s.
    """

    path: Path
    mels: int
    min_context_s: float | None = None
    is_demo: bool = False
    source: str = ""


def checked(folder: Path) -> Path:
    """The folder, if it is complete.  Raises ``ConfigError`` with the fix."""
    missing = [file for file in NEEDED if not (folder / file).is_file()]
    if missing:
        hint = ""
        if missing == ["tokenizer.json"]:
            hint = " (copy it from the model that this one was converted from)"
        elif "model.bin" in missing:
            hint = " (convert it with ct2-transformers-converter)"
        raise ConfigError(f"model folder {folder} lacks {', '.join(missing)}{hint}")
    return folder


def describe(path: Path, source: str = "") -> ModelFacts:
    """Read what a resolved folder says.  Raises ``ConfigError`` if it is damaged.

    ``source`` is passed on: ``Located`` has it.
    """
    config = _json(path / "config.json")
    preprocessor = path / "preprocessor_config.json"
    mels = _json(preprocessor).get("feature_size", 80) if preprocessor.exists() else 80
    own = config.get("whisper_live") or {}
    try:
        context_s = own.get("min_audio_context_s")
        return ModelFacts(
            path=path,
            mels=int(mels),
            min_context_s=None if context_s is None else float(context_s),
            is_demo=bool(own.get("demo", False)),
            source=source,
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"model folder {path}: config.json: {error}") from None


def memory_bytes(path: Path) -> int:
    """About what a resolved model will take in memory.

    Measured on a CPU with int8 and calls of 4 rows: base 532 MB from a float16 file of
    145 MB and 567 MB from an int8 one of 76 MB, small 705 MB from 483 MB, of which 600
    while it is loaded.
    """
    return round((path / "model.bin").stat().st_size * 1.25) + _CALL_BYTES


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"model folder {file.parent}: {file.name}: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"model folder {file.parent}: {file.name} is not an object")
    return content
