"""Pools whose threads all run from the start.

An executor starts its threads when they are first needed.  By then the process may
have as many as it is allowed, or no memory for one more, and whoever needs it fails
in the middle of something.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from whisper_live.errors import ConfigError
from whisper_live.text.counted import counted

__all__ = ["started_pool"]


def started_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool of ``threads`` threads, all of them running; the caller shuts it down.

    Raises ``ConfigError`` where the machine gives no further thread.
    """
    pool = ThreadPoolExecutor(threads, name)
    together = threading.Barrier(threads + 1)  # else the first would do all the jobs
    try:
        for _ in range(threads):
            pool.submit(together.wait)
    except RuntimeError as error:
        together.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise ConfigError(
            f"cannot start {counted(threads, 'thread')} ({name}): {error}; raise the "
            "limit on processes or on memory"
        ) from error
    together.wait()
    return pool
