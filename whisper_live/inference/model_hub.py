"""The Hugging Face hub and its cache: what is there, what can be had, and downloads.

Knows repositories by their ids.  What a model's name stands for is ``model_files``'
business.
"""

from __future__ import annotations

import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.errors
from huggingface_hub.utils.tqdm import disable_progress_bars

from whisper_live.config.model import EngineConfig
from whisper_live.errors import ConfigError
from whisper_live.inference.model_folder import NEEDED

__all__ = ["Unavailable", "cached", "cached_ids", "download", "is_reachable"]

_WANTED = [*NEEDED, "preprocessor_config.json", "vocabulary.*"]

# The hub's own client waits 10 s for a connection and tries again; a name server that
# does not answer holds it for up to 30 s.  An answer takes well under a second.
_REACH_S = 3.0


class Unavailable(Exception):
    """The hub does not give the model; the text says why, in half a sentence."""


def cached(config: EngineConfig, repository: str) -> Path | None:
    """The repository's folder in the hub's cache, if it is there and complete.

    Asks no network.  Raises ``ConfigError`` for what is no hub id at all.
    """
    try:
        found = huggingface_hub.snapshot_download(
            **_where(config, repository), local_files_only=True
        )
    except huggingface_hub.errors.LocalEntryNotFoundError:
        return None
    except huggingface_hub.errors.HFValidationError:
        raise ConfigError(f"model {config.model!r} is not a valid hub id") from None
    # an interrupted download leaves a snapshot without its weights
    folder = Path(found)
    return folder if all((folder / file).exists() for file in NEEDED) else None


def download(
    config: EngineConfig, repository: str, progress: Callable[[str], None]
) -> Path:
    """The repository's folder, after a download into the hub's cache.

    ``progress`` is told in one line when it starts; the bar goes to stderr.  Raises
    ``Unavailable``, within 5 s where there is no network.
    """
    if not is_reachable():
        raise Unavailable("not in the cache, and the hub cannot be reached")
    progress(f"downloading model {config.model} ({repository})")
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return Path(huggingface_hub.snapshot_download(**_where(config, repository)))
    except huggingface_hub.errors.RevisionNotFoundError:
        detail = f"{repository} has no revision {config.revision!r}"
    except huggingface_hub.errors.RepositoryNotFoundError:
        detail = f"{repository} is not on the hub, or needs a login (hf auth login)"
    except huggingface_hub.errors.LocalEntryNotFoundError:
        detail = "not in the cache, and the hub cannot be reached"
    except (OSError, RuntimeError, ValueError) as error:
        detail = f"the download failed: {' '.join(str(error).split())}"
    raise Unavailable(detail)


def is_reachable(within_s: float = _REACH_S) -> bool:
    """Whether the hub answers at all, through the proxy that is configured, if any.

    Any answer will do, an error's too: what it means is the download's to find out.
    Blocking, for ``within_s`` seconds at most.
    """
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return False
    proxies = urllib.request.getproxies()
    if "all" in proxies or any(url.startswith("socks") for url in proxies.values()):
        return True  # the hub's client can use these, urllib cannot
    reached = threading.Event()
    ended = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(
            huggingface_hub.constants.ENDPOINT, method="HEAD"
        )
        try:
            with urllib.request.urlopen(request, timeout=within_s):
                reached.set()
        except urllib.error.HTTPError as answer:
            answer.close()
            reached.set()
        except (OSError, ValueError) as error:
            if isinstance(getattr(error, "reason", error), ssl.SSLError):
                reached.set()  # somebody answered; the client has certificates too
        finally:
            ended.set()

    # In a thread, for a name server that does not answer heeds no timeout of ours.
    threading.Thread(target=ask, name="is the hub there", daemon=True).start()
    ended.wait(within_s)
    return reached.is_set()


def cached_ids(config: EngineConfig) -> Iterator[tuple[str, Path]]:
    """All repositories in the hub's cache that hold a converted model, and where."""
    cache = Path(config.model_cache or huggingface_hub.constants.HF_HUB_CACHE)
    for weights in sorted(cache.expanduser().glob("models--*/snapshots/*/model.bin")):
        folder = weights.parent
        if all((folder / file).exists() for file in NEEDED):
            name = folder.parent.parent.name.removeprefix("models--")
            yield name.replace("--", "/"), folder


def _where(config: EngineConfig, repository: str) -> dict[str, Any]:
    return {
        "repo_id": repository,
        "revision": config.revision or None,
        "cache_dir": config.model_cache or None,
        "allow_patterns": _WANTED,
    }
