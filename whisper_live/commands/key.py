"""``whisper-live key NAME``: a new key, added to the file of keys.

The key goes to standard output alone, so that it can be piped; what to do with it goes
to standard error.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path

from whisper_live.config.model import Config
from whisper_live.errors import ConfigError
from whisper_live.server.access import NO_KEYS, open_to_others, read_keys

__all__ = ["run"]

_BYTES = 16  # 128 bits, as 32 hexadecimal digits


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Make the key, append its line; 0."""
    name, path = _checked(arguments.name), Path(config.access.keys_file)
    if not config.access.keys_file:
        raise ConfigError("give --keys-file FILE, the one that serve is given")
    if name in _names(path):
        raise ConfigError(f"{path}: {name} has a key already; take its line out first")
    key = secrets.token_hex(_BYTES)
    _append(path, f"{name} {key}\n")
    print(key)
    if fault := open_to_others(path):
        print(fault, file=sys.stderr)
    print(
        f"{name} was added to {path}; a running daemon reads it on SIGHUP "
        "(systemctl reload whisper-live)",
        file=sys.stderr,
    )
    return 0


def _checked(name: str) -> str:
    if not name.isprintable() or name.split() != [name] or name.startswith("#"):
        raise ConfigError(f"{name!r} cannot be the name of a key: one word, without #")
    return name


def _names(path: Path) -> set[str]:
    if not path.exists():
        return set()
    try:
        return set(read_keys(path))
    except ConfigError as error:
        if error.kind == NO_KEYS:
            return set()
        raise


def _append(path: Path, line: str) -> None:
    """In one write, so that nobody reads half a line; a new file is its owner's."""
    try:
        with open(path, "ab", opener=_private) as file:
            file.write(line.encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
