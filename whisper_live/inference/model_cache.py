"""Which further models are in memory, who uses them, and which has to go.

Decides by names, sizes and times alone; ``model_registry`` does what comes of
it.  A model is one of these: not held and not loaded (then nothing is known of it
here), awaited (held, not loaded), in use (held and loaded), idle (loaded, held by
nobody).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["ModelCache"]


@dataclass(slots=True)
class _Entry:
    sessions: int = 0  # that use the model, or wait for it
    size_bytes: int | None = None  # None: not loaded
    idle_since: float = 0.0  # when it was loaded, or its last session left it

    @property
    def is_idle(self) -> bool:
        return self.size_bytes is not None and not self.sessions


class ModelCache:
    """The further models, by name.

    ``most_bytes`` is what they may take together, ``idle_s`` how long one stays that
    nobody uses; 0 is no bound and for ever.
    """

    def __init__(self, *, most_bytes: int, idle_s: float) -> None:
        self._most_bytes = most_bytes or math.inf
        self._idle_s = idle_s or math.inf
        self._entries: dict[str, _Entry] = {}

    def hold(self, name: str) -> None:
        """One more session uses this model, or waits for it."""
        self._entries.setdefault(name, _Entry()).sessions += 1

    def release(self, name: str, *, now: float) -> None:
        """A session that held it does so no longer."""
        entry = self._entries[name]
        assert entry.sessions, "released as often as held"
        entry.sessions -= 1
        entry.idle_since = now
        self._tidy(name)

    def loaded(self, name: str, size_bytes: int, *, now: float) -> None:
        """It is in memory now; those who waited for it may have left."""
        entry = self._entries.setdefault(name, _Entry())
        entry.size_bytes, entry.idle_since = size_bytes, now

    def unloaded(self, name: str) -> None:
        """It has left memory, or is about to and is given to nobody any more."""
        self._entries[name].size_bytes = None
        self._tidy(name)

    def fits(self, size_bytes: int) -> bool:
        """Whether a model of this size can ever be loaded."""
        return size_bytes <= self._most_bytes

    def room(self, size_bytes: int) -> list[str] | None:
        """What to unload for a model of this size, least recently used first.

        None where those in use leave no room, whatever is unloaded.
        """
        free = self._most_bytes - sum(r.size_bytes or 0 for r in self._loaded.values())
        going = []
        for name in self._idle:
            if free >= size_bytes:
                break
            free += self._entries[name].size_bytes or 0
            going.append(name)
        return going if free >= size_bytes else None

    def expired(self, *, now: float) -> list[str]:
        """What nobody has used for long enough."""
        return [name for name in self._idle if self._expires_at(name) <= now]

    def deadline(self) -> float | None:
        """When ``expired`` will have something to say next, if nothing happens."""
        return min(
            (at for name in self._idle if (at := self._expires_at(name)) < math.inf),
            default=None,
        )

    @property
    def names(self) -> list[str]:
        """What is loaded."""
        return list(self._loaded)

    @property
    def size_bytes(self) -> int:
        """What the loaded models take together."""
        return sum(entry.size_bytes or 0 for entry in self._loaded.values())

    @property
    def _loaded(self) -> dict[str, _Entry]:
        return {n: r for n, r in self._entries.items() if r.size_bytes is not None}

    @property
    def _idle(self) -> list[str]:
        """Least recently used first."""
        idle = [name for name, r in self._entries.items() if r.is_idle]
        return sorted(idle, key=lambda name: self._entries[name].idle_since)

    def _expires_at(self, name: str) -> float:
        return self._entries[name].idle_since + self._idle_s

    def _tidy(self, name: str) -> None:
        entry = self._entries[name]
        if entry.size_bytes is None and not entry.sessions:
            del self._entries[name]
