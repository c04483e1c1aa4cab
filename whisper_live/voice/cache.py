"""What is said again and again: answers and speech, kept for a while.

Owns the bound on their bytes, their age and who may have them.  An entry belongs to one
owner (the key that was shown to the server it came from) and is given to no other.
Reads no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Cache"]

T = TypeVar("T")

# Beside its value: the key's text and the entry itself.
_OVERHEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T
    size: int
    until: float


class Cache(Generic[T]):
    """The entries used last, up to ``most_bytes``, none older than ``ttl_s``."""

    def __init__(self, *, most_bytes: int, ttl_s: float) -> None:
        self._most_bytes = most_bytes
        self._ttl_s = ttl_s
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()
        self.bytes = 0

    def get(self, owner: str, key: Hashable, now: float) -> T | None:
        """What this owner put under the key, unless it is too old."""
        entry = self._entries.get((owner, key))
        if entry is None:
            return None
        if now >= entry.until:
            self._remove((owner, key))
            return None
        self._entries.move_to_end((owner, key))
        return entry.value

    def put(self, owner: str, key: Hashable, value: T, size: int, now: float) -> None:
        """Keep a value of ``size`` bytes; what was used longest ago makes room."""
        whole = (owner, key)
        if whole in self._entries:
            self._remove(whole)
        size += _OVERHEAD_BYTES + len(repr(key))
        if size > self._most_bytes:
            return
        self._entries[whole] = _Entry(value, size, now + self._ttl_s)
        self.bytes += size
        while self.bytes > self._most_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, whole: Hashable) -> None:
        self.bytes -= self._entries.pop(whole).size
