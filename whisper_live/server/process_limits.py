"""What the system lets this process have, where that keeps it from starting.

Libraries in C end the process without a word where memory is refused to them in a call,
so there must be room before the first one; what Python is refused becomes one sentence.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from whisper_live.errors import ConfigError

__all__ = [
    "allow_open_files",
    "check_room",
    "check_room_to_start",
    "explain",
    "most_open_files",
    "session_files",
]

_MB = 1_000_000
# Address space that calls and the threads of sessions take beyond a loaded model:
# warm-up alone 230 MB with the demo model, 320 with tiny.en, 280 with base (2 cores).
_ROOM_MB = 450
# With less no model is loaded: the demo model, the smallest, is at 1602 on two cores
# when there is room for its calls.  Below 1100 or so a thread of CTranslate2's that
# finds no room ends the process with SIGABRT.
_LEAST_MB = 1400


def check_room_to_start() -> None:
    """Raise ``ConfigError`` where the address space is too small for any model."""
    limit_mb = _limit_mb()
    if limit_mb is not None and limit_mb < _LEAST_MB:
        raise ConfigError(
            f"{_limited(limit_mb)}, and the smallest model takes more than "
            f"{_LEAST_MB}: allow more, or limit memory itself (MemoryMax= in the unit)"
        )


def check_room() -> None:
    """Raise ``ConfigError`` where the address space is too small for the first call."""
    limit_mb, taken_mb = _limit_mb(), _taken_mb()
    if limit_mb is not None and limit_mb - taken_mb < _ROOM_MB:
        raise ConfigError(
            f"{_limited(limit_mb)}, of which {taken_mb} are taken and {_ROOM_MB} more "
            f"are needed: allow {taken_mb + _ROOM_MB}, or limit memory itself "
            "(MemoryMax= in the unit)"
        )


def allow_open_files(needed: int) -> None:
    """Let this process open so many files, as far as the system allows it.

    1024 are many a shell's default, from times in which more broke ``select``.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = min(needed, most_open_files())
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def most_open_files() -> int:
    """How many files ``allow_open_files`` can allow."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def session_files(max_sessions: int) -> int:
    """How many the server needs for itself and its sessions, those refused included."""
    return 2 * max_sessions + 64


def explain(error: Exception) -> ConfigError | None:
    """The error as one sentence, if a limit of the system is the likely reason."""
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return ConfigError(
            f"{error}: allow more tasks (ulimit -u, TasksMax= in the unit) or address "
            "space (ulimit -v)"
        )
    limit_mb = _limit_mb()
    if limit_mb is not None and isinstance(error, ImportError | MemoryError):
        return ConfigError(f"{str(error) or 'out of memory'}; {_limited(limit_mb)}")
    return None


def _limited(limit_mb: int) -> str:
    return f"the address space is limited to {limit_mb} MB (ulimit -v, LimitAS=)"


def _limit_mb() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft // _MB


def _taken_mb() -> int:
    """0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize() // _MB
