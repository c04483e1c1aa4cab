"""Bytes that are kept for a while: in memory up to a bound, then in a nameless file.

Whoever keeps a client's audio knows neither its length nor how many others do the
same.  Knows nothing of what the bytes are.
"""

from __future__ import annotations

import io
import tempfile
from typing import BinaryIO

__all__ = ["Spool"]

_IN_MEMORY_BYTES = 8 << 20  # four minutes of 16-bit samples at 16 kHz


class Spool:
    """Bytes in memory up to a bound, then all of them in a file without a name.

    Not ``SpooledTemporaryFile``: on a full disk it loses what it had in memory, and
    its buffer fails again in whatever is done next.
    """

    def __init__(self) -> None:
        self._file: BinaryIO = io.BytesIO()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Append; if it raises ``OSError``, what was added before can be read."""
        self._size += len(data)
        if isinstance(self._file, io.BytesIO) and self._size > _IN_MEMORY_BYTES:
            self._file = _in_a_file(self._file.getvalue())
        _write(self._file, data)

    @property
    def size(self) -> int:
        """How many bytes were added."""
        return self._size

    def read(self, start: int, size: int) -> bytes:
        """Some of what was added, once no more is."""
        self._file.seek(start)
        return self._file.read(size)

    @property
    def file(self) -> BinaryIO:
        """What was added, as a file; to be read once no more is."""
        return self._file

    def close(self) -> None:
        """It is gone."""
        self._file.close()


def _in_a_file(data: bytes) -> io.FileIO:
    file = tempfile.TemporaryFile(buffering=0)
    try:
        _write(file, data)
    except OSError:
        file.close()
        raise
    return file


def _write(file: BinaryIO, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:  # of the last that the disk takes it may be a part
        left = left[file.write(left) :]
