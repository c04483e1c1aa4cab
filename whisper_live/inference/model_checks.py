"""The SHA-256 of large files, each read once and then remembered."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["HashChecks", "blocks_of", "sha256_of"]

_CHUNK_BYTES = 1 << 20


class HashChecks:
    """Remembers which files have had which hash, as long as they stay untouched.

    In a JSON file; where it cannot be read or written, files are read each time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def confirm(self, file: Path, sha256: str) -> bool:
        """Whether the file has this hash.  Reads the file only where it must.

        Raises ``OSError`` for a file that cannot be read.
        """
        if not file.is_file():
            return False
        mark = _mark(file, sha256)  # before it is read: what comes later is not known
        if self._read().get(str(file)) == mark:
            return True
        if sha256_of(file) != sha256:
            return False
        self._remember(file, mark)
        return True

    def remember(self, file: Path, sha256: str) -> None:
        """The file has just been written, has this hash and need not be read."""
        self._remember(file, _mark(file, sha256))

    def _remember(self, file: Path, mark: list[Any]) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_text(
                    json.dumps(self._read() | {str(file): mark}, indent=1)
                )
                temporary.replace(self._path)
            finally:
                temporary.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _mark(file: Path, sha256: str) -> list[Any]:
    """Changes when the file is changed or another is put in its place."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, sha256]


def sha256_of(*files: Path) -> str:
    """Of all files together, as if they were one."""
    digest = hashlib.sha256()
    for file in files:
        for block in blocks_of(file):
            digest.update(block)
    return digest.hexdigest()


def blocks_of(file: Path) -> Iterator[bytes]:
    """The file's bytes, 1 MiB at a time."""
    with file.open("rb") as stream:
        yield from iter(functools.partial(stream.read, _CHUNK_BYTES), b"")
