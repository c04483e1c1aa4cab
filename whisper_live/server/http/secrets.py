"""Keys for a short time, which a page may have: they open realtime sessions alone.

Whoever holds a key of the server asks for one and gives it to a browser, with the
settings that its session begins with.  Reads the clock that it is given.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Secret", "Secrets"]

_MOST = 1_000  # then the oldest goes; the settings of each have up to 64 KiB
_PREFIX = "ek_"


@dataclass(frozen=True, slots=True)
class Secret:
    """What one stands for."""

    key_name: str | None  # of who asked for it
    update: str  # the ``session.update`` that its session begins with
    until: float


class Secrets:
    """The short-lived keys of one server."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[str, Secret] = OrderedDict()

    def issue(self, key_name: str | None, update: str, *, lifetime_s: float) -> str:
        """A new one, which nobody can guess."""
        value = _PREFIX + secrets.token_urlsafe(32)
        self._known[value] = Secret(key_name, update, self._clock() + lifetime_s)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return value

    def find(self, shown: str | None) -> Secret | None:
        """What it stands for, while it is valid."""
        # By a hash: with 256 random bits there is nothing to learn from the time.
        found = self._known.get(shown or "")
        if found is not None and found.until < self._clock():
            del self._known[shown or ""]
            return None
        return found
