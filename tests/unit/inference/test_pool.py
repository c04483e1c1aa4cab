"""A pool has all its threads from the start, or says that it cannot have them."""

from __future__ import annotations

import threading

import pytest

from whisper_live.errors import ConfigError
from whisper_live.inference.pool import started_pool


def named(name: str) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(name)]


def test_all_threads_run_before_the_first_job_and_do_the_jobs() -> None:
    with started_pool(3, "three") as pool:
        before = named("three")
        assert len(before) == 3
        names = {pool.submit(lambda: threading.current_thread()) for _ in range(9)}
        assert {future.result() for future in names} <= set(before)


def test_a_machine_without_a_thread_to_give_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, started = threading.Thread.start, 0

    def limited(thread: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started > 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(ConfigError, match="cannot start 3 threads .limited.: can't"):
        started_pool(3, "limited")
    for thread in named("limited"):  # those that did start end again
        thread.join(10)
    assert named("limited") == []
