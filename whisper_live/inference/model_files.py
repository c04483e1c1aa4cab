"""From the model's name to a folder on disk.

Names are ``auto``, ``demo`` (package data), stock sizes, hub ids and local directories.
A stock size is looked for in the hub's cache, then among installed data packages
(``model_packages``), then on the hub (``model_hub``).  Loads no weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from faster_whisper.utils import _MODELS as STOCK_MODELS  # pinned below 1.3

from whisper_live.config.model import EngineConfig
from whisper_live.config.suggestion import did_you_mean
from whisper_live.errors import ConfigError
from whisper_live.inference import model_hub as hub
from whisper_live.inference import model_packages as packages
from whisper_live.inference.model_folder import checked

__all__ = [
    "AUTO",
    "DEMO",
    "Located",
    "STOCK_MODELS",
    "auto_wants",
    "cached",
    "check_name",
    "cache_directory",
    "installed",
    "locate",
    "look",
    "look_auto",
    "resolve",
]

AUTO = "auto"
DEMO = "demo"

_SHIPPED = "ships with whisper-live"
# What auto takes where it cannot have what it wants; better ones first.
_AUTO_NEXT = ("small", "base", "tiny.en", "tiny")

_OpenPackage = Callable[[packages.DataPackage], Path]


@dataclass(frozen=True, slots=True)
class Located:
    """A model that can be loaded: its name (never ``auto``) and its folder.

    ``source`` says where the weights come from: ``hub cache``, ``hub``, ``package NAME
    VERSION``, ``directory`` or ``ships with whisper-live``.
    """

    name: str
    path: Path
    source: str


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
    if found := _local(config, repository, _opened(config, progress)):
        return found
    try:
        path = checked(hub.download(config, repository, progress))
    except hub.Unavailable as error:
        raise ConfigError(
            f"model {config.model}: {error}; connect once, or give --model a local "
            f"directory, or what is here: {', '.join(_names_here(config))}"
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
    return _local(config, _repository(config.model), _verified)


def check_name(config: EngineConfig) -> None:
    """Raises ``ConfigError`` for a name, not ``auto``, that means nothing.

    A directory is looked into; neither network nor weights are.
    """
    if _here(config) is None:
        hub.cached(config, _repository(config.model))


def look_auto(config: EngineConfig, device: str) -> Located:
    """What ``auto`` would take without the hub; fetches, joins and writes nothing."""
    return _best_local(config, (auto_wants(device), *_AUTO_NEXT), _verified)


def installed() -> list[Located]:
    """Models that need no network: in packages, the better one first, and the demo."""
    found = []
    for name in packages.KNOWN:
        package = packages.find(name)
        if package is not None and not package.missing:
            found.append(Located(name, package.weights[0].parent, package.source))
    if _demo_folder().is_dir():
        found.append(Located(DEMO, _demo_folder(), _SHIPPED))
    return found


def cached(config: EngineConfig) -> list[Located]:
    """Models in the hub's cache, under the names by which ``--model`` takes them."""
    stock = {hub_id: name for name, hub_id in reversed(STOCK_MODELS.items())}
    return [
        Located(stock.get(hub_id, hub_id), folder, "hub cache")
        for hub_id, folder in hub.cached_ids(config)
    ]


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


# ----------------------------------------------------------------- auto


def auto_wants(device: str) -> str:
    """What ``auto`` takes on a ``cpu`` or ``cuda``, where it can be had."""
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
    if device is None:
        from whisper_live.inference.ctranslate2.devices import choose

        device = choose(config).device
    wanted = auto_wants(device)
    named = replace(config, model=wanted)
    if path := hub.cached(named, STOCK_MODELS[wanted]):
        progress(f"model auto: {wanted} on {device}, from the hub cache")
        return Located(wanted, path, "hub cache")
    try:
        path = checked(hub.download(named, STOCK_MODELS[wanted], progress))
        progress(f"model auto: {wanted} on {device}, from the hub")
        return Located(wanted, path, "hub")
    except (hub.Unavailable, ConfigError) as error:
        reason = str(error)
    found = _best_local(config, _AUTO_NEXT, _opened(config, progress))
    better = "connect once, or name another --model"
    if found.name in (DEMO, "tiny.en", "tiny"):
        better = f"{packages.KNOWN['base'].install_command}, {better}"
    note = ", which knows a few hundred words" if found.name == DEMO else ""
    progress(
        f"model auto: {wanted} for {device}: {reason}; "
        f"using {found.name} ({found.source}){note}; better: {better}"
    )
    return found


def _best_local(
    config: EngineConfig, names: Iterable[str], open_package: _OpenPackage
) -> Located:
    for name in names:
        package = packages.find(name)
        if package is None or not package.missing:  # half of one counts as none
            named = replace(config, model=name)
            if found := _local(named, STOCK_MODELS[name], open_package):
                return found
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
        return Located(name, checked(folder), "directory")
    if name.startswith((".", "~", "/")) or folder.is_absolute():
        raise ConfigError(f"model {name}: there is no such directory")
    return None


def _repository(name: str) -> str:
    repository = name if "/" in name else STOCK_MODELS.get(name)
    if repository is None:
        raise ConfigError(
            f"model {name!r} is neither a directory, nor owner/name on the hub, nor "
            f"one of {AUTO}, {DEMO}, {', '.join(STOCK_MODELS)}"
            f"{did_you_mean(name, (AUTO, DEMO, *STOCK_MODELS))}"
        )
    return repository


def _local(
    config: EngineConfig, repository: str, open_package: _OpenPackage
) -> Located | None:
    """What needs no network: the hub's cache, then a data package."""
    if path := hub.cached(config, repository):
        return Located(config.model, path, "hub cache")
    # A revision is one of the hub's, no package is known to be it.
    package = None if config.revision else packages.find(config.model)
    if package is None:
        return None
    return Located(config.model, open_package(package), package.source)


def _opened(config: EngineConfig, progress: Callable[[str], None]) -> _OpenPackage:
    return lambda package: checked(package.folder(cache_directory(config), progress))


def _verified(package: packages.DataPackage) -> Path:
    package.verify()
    return package.weights[0].parent


def _names_here(config: EngineConfig) -> list[str]:
    return list(dict.fromkeys(m.name for m in (*installed(), *cached(config))))


def _demo_folder() -> Path:
    return Path(str(resources.files("whisper_live") / "data" / "demo-model"))


def _demo() -> Path:
    folder = _demo_folder()
    if not folder.is_dir():
        raise ConfigError(
            "the demo model is not part of this installation; reinstall "
            "whisper-live-daemon from a complete source tree, or name another --model"
        )
    return checked(folder)
