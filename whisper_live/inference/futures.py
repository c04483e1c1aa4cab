"""Results of other threads, brought back to whoever awaits them on the loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

__all__ = ["settle"]


def settle(
    future: asyncio.Future[Any], result: Any, error: BaseException | None
) -> None:
    """Give a future its result or error; called in any thread.

    One that is done or cancelled stays as it is, and a loop that is gone has taken
    whoever waited with it.
    """

    def set_it() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    with contextlib.suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(set_it)
