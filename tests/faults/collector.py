"""The garbage collector switched off, to see what is freed without it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["no_collector"]


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Collect once, then not until the end."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
