"""From the model's name to a folder on disk, and what that folder says about itself.

Names are ``demo`` (package data), stock sizes, hub ids and local directories.  Knows
files and the Hugging Face hub; loads no weights.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.errors
from faster_whisper.utils import _MODELS as STOCK_MODELS  # pinned below 1.3
from huggingface_hub.utils.tqdm import disable_progress_bars

from whisper_live.config.model import EngineConfig
from whisper_live.errors import ConfigError

__all__ = ["DEMO", "ModelFacts", "describe", "memory_bytes", "resolve"]

DEMO = "demo"
NEEDED = ("model.bin", "config.json", "tokenizer.json")
WANTED = [*NEEDED, "preprocessor_config.json", "vocabulary.*"]

_CALL_BYTES = 450_000_000  # that calls work in; bounded, whatever the batch size


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model folder says about itself.

    ``min_context_s``: shortest audio context it was trained for; 30 s for stock models,
    which degenerate on shorter ones.
    """

    path: Path
    mels: int
    min_context_s: float = 30.0
    is_demo: bool = False


def resolve(config: EngineConfig, progress: Callable[[str], None]) -> Path:
    """The folder of the configured model; downloads it where that is needed.

    ``progress`` is told in one line when a download starts; the bar goes to stderr.
    Raises ``ConfigError`` with one line that names the fix.
    """
    name = config.model
    folder = Path(name).expanduser()
    if config.revision and (name == DEMO or folder.is_dir()):
        raise ConfigError(f"model {name} is not on the hub: revision cannot pin it")
    if name == DEMO:
        return _demo()
    if folder.is_dir():
        return _checked(folder)
    if name.startswith((".", "~", "/")) or folder.is_absolute():
        raise ConfigError(f"model {name}: there is no such directory")
    repository = name if "/" in name else STOCK_MODELS.get(name)
    if repository is None:
        raise ConfigError(
            f"model {name!r} is neither a directory, nor owner/name on the hub, nor "
            f"one of {DEMO}, {', '.join(STOCK_MODELS)}"
        )
    return _from_hub(config, repository, progress)


def describe(path: Path) -> ModelFacts:
    """Read what a resolved folder says.  Raises ``ConfigError`` if it is damaged."""
    config = _json(path / "config.json")
    preprocessor = path / "preprocessor_config.json"
    mels = _json(preprocessor).get("feature_size", 80) if preprocessor.exists() else 80
    own = config.get("whisper_live") or {}
    try:
        return ModelFacts(
            path=path,
            mels=int(mels),
            min_context_s=float(own.get("min_audio_context_s", 30.0)),
            is_demo=bool(own.get("demo", False)),
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


def _demo() -> Path:
    folder = Path(str(resources.files("whisper_live") / "data" / "demo-model"))
    if not folder.is_dir():
        raise ConfigError(
            "the demo model is not part of this installation; reinstall "
            "whisper-live-daemon from a complete source tree, or name another --model"
        )
    return _checked(folder)


def _from_hub(
    config: EngineConfig, repository: str, progress: Callable[[str], None]
) -> Path:
    where: dict[str, Any] = {
        "repo_id": repository,
        "revision": config.revision or None,
        "cache_dir": config.model_cache or None,
        "allow_patterns": WANTED,
    }
    fix = "connect once, or give --model a local directory, or use --model demo"
    try:
        cached = Path(huggingface_hub.snapshot_download(**where, local_files_only=True))
        # an interrupted download leaves a snapshot without its weights
        if all((cached / file).exists() for file in NEEDED):
            return cached
    except huggingface_hub.errors.LocalEntryNotFoundError:
        pass
    except huggingface_hub.errors.HFValidationError:
        raise ConfigError(f"model {config.model!r} is not a valid hub id") from None
    progress(f"downloading model {config.model} ({repository})")
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return _checked(Path(huggingface_hub.snapshot_download(**where)))
    except huggingface_hub.errors.RevisionNotFoundError:
        detail = f"{repository} has no revision {config.revision!r}"
    except huggingface_hub.errors.RepositoryNotFoundError:
        detail = f"{repository} is not on the hub, or needs a login (hf auth login)"
    except huggingface_hub.errors.LocalEntryNotFoundError:
        detail = f"not in the cache, and the hub cannot be reached; {fix}"
    except (OSError, RuntimeError, ValueError) as error:
        detail = f"the download failed: {' '.join(str(error).split())}; {fix}"
    raise ConfigError(f"model {config.model}: {detail}")


def _checked(folder: Path) -> Path:
    missing = [file for file in NEEDED if not (folder / file).is_file()]
    if missing:
        hint = ""
        if missing == ["tokenizer.json"]:
            hint = " (copy it from the model that this one was converted from)"
        elif "model.bin" in missing:
            hint = " (convert it with ct2-transformers-converter)"
        raise ConfigError(f"model folder {folder} lacks {', '.join(missing)}{hint}")
    return folder


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"model folder {file.parent}: {file.name}: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"model folder {file.parent}: {file.name} is not an object")
    return content
