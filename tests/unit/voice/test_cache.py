"""What is kept, for whom, how long and how much of it."""

from __future__ import annotations

import pytest

from whisper_live.voice.cache import Cache

KIB = 1024


def test_nobody_gets_what_another_put_there() -> None:
    cache: Cache[str] = Cache(most_bytes=64 * KIB, ttl_s=60)
    cache.put("alice", "question", "her answer", 10, now=0)
    assert cache.get("alice", "question", now=1) == "her answer"
    assert cache.get("bob", "question", now=1) is None
    assert cache.get("", "question", now=1) is None


@pytest.mark.parametrize(("now", "found"), [(59.9, "answer"), (60, None), (1e9, None)])
def test_an_entry_lives_so_long_from_when_it_was_put(
    now: float, found: str | None
) -> None:
    cache: Cache[str] = Cache(most_bytes=64 * KIB, ttl_s=60)
    cache.put("me", "question", "answer", 10, now=0)
    assert cache.get("me", "question", now=min(now, 30)) is not None  # no use renews it
    assert cache.get("me", "question", now=now) == found
    assert bool(cache.bytes) is bool(found)


def test_its_bytes_are_bounded_and_the_last_used_stay() -> None:
    cache: Cache[int] = Cache(most_bytes=64 * KIB, ttl_s=60)
    for number in range(1000):
        cache.put("me", number, number, 8 * KIB, now=0)
        assert cache.bytes <= 64 * KIB
        assert cache.get("me", 0, now=0) == 0
    assert cache.get("me", 999, now=0) == 999
    assert cache.get("me", 500, now=0) is None


def test_what_is_larger_than_all_is_not_kept_and_drives_nothing_out() -> None:
    cache: Cache[str] = Cache(most_bytes=64 * KIB, ttl_s=60)
    cache.put("me", "small", "small", 10, now=0)
    cache.put("me", "large", "large", 65 * KIB, now=0)
    assert cache.get("me", "large", now=0) is None
    assert cache.get("me", "small", now=0) == "small"


def test_the_same_key_again_replaces() -> None:
    cache: Cache[str] = Cache(most_bytes=64 * KIB, ttl_s=60)
    cache.put("me", "a", "old", 10, now=0)
    before = cache.bytes
    cache.put("me", "a", "new", 10, now=30)
    assert cache.get("me", "a", now=80) == "new" and cache.bytes == before
