"""An event loop whose clock jumps to the next timer instead of waiting for it.

Waiting costs nothing and takes exactly as long as it says.  Not for tests in which
threads work while a timer is armed: the clock would jump past them.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

__all__ = ["VirtualLoop", "settle", "virtual_time"]

P = ParamSpec("P")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 1000 s; ``time()`` moves only when nothing else is to be done."""

    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits and no timer is armed"
        ready = super().select(0)
        if not ready:
            self._loop.advance(timeout)
        return ready


def virtual_time(
    test: Callable[P, Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run an async test on a ``VirtualLoop`` of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    # pytest-asyncio looks through the wrapper and would run the coroutine itself.
    del run.__wrapped__
    setattr(run, "__signature__", inspect.signature(test))  # for parametrize
    return run


async def settle(turns: int = 10) -> None:
    """Let everything happen that needs no time."""
    for _ in range(turns):
        await asyncio.sleep(0)
