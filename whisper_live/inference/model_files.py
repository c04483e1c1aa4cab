"""From the model's name to a folder on disk, and what that folder says about itself.

Names are ``auto``, ``demo`` (package data), stock sizes, hub ids and local directories.
A stock size is looked for in the hub's cache, then among installed data packages
(``model_packages``), then on the hub (``model_hub``).  Loads no weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from faster_whisper.utils import _MODELS as STOCK_MODELS  # pinned below 1.3

from whisper_live.config.model import EngineConfig
from whisper_live.errors import ConfigError
from whisper_live.inference import model_hub as hub
from whisper_live.inference import model_packages as packages
from whisper_live.inference.model_hub import NEEDED

__all__ = [
    "AUTO",
    "DEMO",
    "Located",
    "ModelFacts",
    "STOCK_MODELS",
    "auto_wants",
    "cache_directory",
    "describe",
    "installed",
    "locate",
    "look",
    "memory_bytes",
    "resolve",
]

AUTO = "auto"
DEMO = "demo"

_SHIPPED = "ships with whisper-live"
# What auto takes where it cannot have what it wants; better ones first.
_AUTO_NEXT = ("small", "base", "tiny.en", "tiny")

_CALL_BYTES = 450_000_000  # that calls work in; bounded, whatever the batch size


@dataclass(frozen=True, slots=True)
class Located:
    """A model that can be loaded: its name (never ``auto``) and its folder.

    ``source`` says where the weights come from: ``hub cache``, ``hub``, ``package NAME
    VERSION``, ``directory`` or ``ships with whisper-live``.
    """

    name: str
    path: Path
    source: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model folder says about itself.

    ``min_context_s``: shortest audio context it was trained for; 30 s for stock models,
    which degenerate on shorter ones.  ``source`` is ``Located``'s.
    """

    path: Path
    mels: int
    min_context_s: float = 30.0
    is_demo: bool = False
    source: str = ""


def locate(
    config: EngineConfig, progress: Callable[[str], None], *, device: str | None = None
) -> Located:
    """Find the configured model; downloads it or joins its parts where that is needed.

    ``device`` is what ``auto`` chooses by, ``cpu`` or ``cuda``; found out unless given.
    ``progress`` is told in one line each what is being done, and what ``auto`` took.
    Raises ``ConfigError`` with one line that names the fix; where there is no network,
    within 5 s.
    """
    if config.model == AUTO:
        return _best(config, progress, device)
    if found := _here(config):
        return found
    repository = _repository(config.model)
    if path := hub.cached(config, repository):
        return Located(config.model, path, "hub cache")
    if package := _package(config):
        folder = package.folder(cache_directory(config), progress)
        return Located(config.model, _checked(folder), package.source)
    try:
        path = _checked(hub.download(config, repository, progress))
    except hub.Unavailable as error:
        here = ", ".join(each.name for each in installed(config))
        raise ConfigError(
            f"model {config.model}: {error}; connect once, or give --model a local "
            f"directory or one that is installed here: {here}"
        ) from None
    return Located(config.model, path, "hub")


def resolve(config: EngineConfig, progress: Callable[[str], None]) -> Path:
    """The folder of ``locate``."""
    return locate(config, progress).path


def look(config: EngineConfig) -> Located | None:
    """As ``locate`` for a named model, but fetches, joins and writes nothing.

    None where it would have to be downloaded; ``path`` is that of the first part where
    it would have to be joined.  Raises ``ConfigError`` for a name that means nothing,
    and for a package that is incomplete or has other weights than those pinned.
    """
    if found := _here(config):
        return found
    if path := hub.cached(config, _repository(config.model)):
        return Located(config.model, path, "hub cache")
    if package := _package(config):
        package.verify()
        return Located(config.model, package.weights[0].parent, package.source)
    return None


def installed(config: EngineConfig) -> list[Located]:
    """Models that need no network: in packages, the better one first, and the demo."""
    found = []
    for name in packages.KNOWN:
        package = packages.find(name)
        if package is not None and not package.missing:
            found.append(Located(name, package.weights[0].parent, package.source))
    return [*found, Located(DEMO, _demo_folder(), _SHIPPED)]


def cache_directory(config: EngineConfig) -> Path:
    """Where joined weights are kept, and what is known of checked ones.

    ``--model-cache``, else ``whisper-live`` in ``XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if config.model_cache:
        return Path(config.model_cache).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not caches.is_absolute():  # by that standard a relative one is to be ignored
        caches = Path(os.path.expanduser("~/.cache"))
    return caches / "whisper-live"


def describe(path: Path, source: str = "") -> ModelFacts:
    """Read what a resolved folder says.  Raises ``ConfigError`` if it is damaged.

    ``source`` is passed on: ``Located`` has it.
    """
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


# ----------------------------------------------------------------- auto


def auto_wants(device: str | None = None) -> str:
    """What ``auto`` takes where it can be had.

    ``device`` is ``cpu`` or ``cuda``; found out unless given.
    """
    if device is None:
        from whisper_live.inference.ctranslate2.devices import choose

        device = choose(EngineConfig()).device
    return "large-v3-turbo" if device == "cuda" else "small"


def _best(
    config: EngineConfig, progress: Callable[[str], None], device: str | None
) -> Located:
    """The model of ``auto``: the one it wants, else the best that is installed.

    ``base`` comes before ``tiny.en`` even where only English is spoken
    (``model_packages`` has the figures), and the demo model last.
    """
    if config.revision:
        raise ConfigError("revision pins a named model: give --model as well")
    wanted = auto_wants(device)
    why = "a GPU" if wanted != "small" else "no GPU"
    named = replace(config, model=wanted)
    if path := hub.cached(named, STOCK_MODELS[wanted]):
        progress(f"model auto: {why}, so {wanted}, from the hub cache")
        return Located(wanted, path, "hub cache")
    try:
        path = _checked(hub.download(named, STOCK_MODELS[wanted], progress))
        progress(f"model auto: {why}, so {wanted}, from the hub")
        return Located(wanted, path, "hub")
    except (hub.Unavailable, ConfigError) as error:
        reason = str(error)
    found = _second_best(config, wanted, progress)
    better = "connect once, or name another --model"
    if found.name in (DEMO, "tiny.en", "tiny"):
        better = f"{packages.KNOWN['base'].install_command}, {better}"
    note = ", which knows a few hundred words" if found.name == DEMO else ""
    progress(
        f"model auto: {wanted}: {reason}; using {found.name} ({found.source}){note}; "
        f"better: {better}"
    )
    return found


def _second_best(
    config: EngineConfig, wanted: str, progress: Callable[[str], None]
) -> Located:
    for name in _AUTO_NEXT:
        if name == wanted:
            continue
        named = replace(config, model=name)
        if path := hub.cached(named, STOCK_MODELS[name]):
            return Located(name, path, "hub cache")
        package = packages.find(name)
        if package is not None and not package.missing:
            folder = package.folder(cache_directory(config), progress)
            return Located(name, _checked(folder), package.source)
    return Located(DEMO, _demo(), _SHIPPED)


# ------------------------------------------------------------------- by name


def _here(config: EngineConfig) -> Located | None:
    """A model whose name says where it is; None for one of the hub's."""
    name = config.model
    folder = Path(name).expanduser()
    if config.revision and (name == DEMO or folder.is_dir()):
        raise ConfigError(f"model {name} is not on the hub: revision cannot pin it")
    if name == DEMO:
        return Located(name, _demo(), _SHIPPED)
    if folder.is_dir():
        return Located(name, _checked(folder), "directory")
    if name.startswith((".", "~", "/")) or folder.is_absolute():
        raise ConfigError(f"model {name}: there is no such directory")
    return None


def _repository(name: str) -> str:
    repository = name if "/" in name else STOCK_MODELS.get(name)
    if repository is None:
        raise ConfigError(
            f"model {name!r} is neither a directory, nor owner/name on the hub, nor "
            f"one of {AUTO}, {DEMO}, {', '.join(STOCK_MODELS)}"
        )
    return repository


def _package(config: EngineConfig) -> packages.DataPackage | None:
    """The data package of this model; a revision is one of the hub's."""
    return None if config.revision else packages.find(config.model)


def _demo_folder() -> Path:
    return Path(str(resources.files("whisper_live") / "data" / "demo-model"))


def _demo() -> Path:
    folder = _demo_folder()
    if not folder.is_dir():
        raise ConfigError(
            "the demo model is not part of this installation; reinstall "
            "whisper-live-daemon from a complete source tree, or name another --model"
        )
    return _checked(folder)


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
