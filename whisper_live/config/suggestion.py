"""What was perhaps meant by a name that means nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

_ALIKE = 0.75  # of difflib's ratio; "prot" and "port" have 0.75


def nearest(wrong: str, known: Iterable[str]) -> str:
    """The name that is most like ``wrong``; "" where none is."""
    like = difflib.get_close_matches(wrong, list(known), n=1, cutoff=_ALIKE)
    return like[0] if like else ""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A suggestion to put behind a complaint; "" where nothing is like it."""
    like = nearest(wrong, known)
    return f"; did you mean {like}?" if like else ""
