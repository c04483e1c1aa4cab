"""Which further models stay and which go, on a clock of the test's own."""

from __future__ import annotations

import pytest

from whisper_live.inference.model_cache import ModelCache


def cache_of(most_bytes: int = 100, idle_s: float = 60.0) -> ModelCache:
    return ModelCache(most_bytes=most_bytes, idle_s=idle_s)


def used_until(models: ModelCache, name: str, size_bytes: int, *, now: float) -> None:
    models.hold(name)
    models.loaded(name, size_bytes, now=0.0)
    models.release(name, now=now)


def test_the_least_recently_used_goes_first_and_no_more_than_needed() -> None:
    models = cache_of(100)
    used_until(models, "a", 40, now=3.0)
    used_until(models, "b", 30, now=1.0)
    used_until(models, "c", 30, now=2.0)
    assert models.room(0) == []
    assert models.room(30) == ["b"]
    assert models.room(31) == ["b", "c"]
    assert models.room(100) == ["b", "c", "a"]


def test_what_is_in_use_never_goes() -> None:
    models = cache_of(100)
    used_until(models, "a", 40, now=1.0)
    models.hold("b")
    models.loaded("b", 40, now=2.0)
    assert models.room(60) == ["a"]
    assert models.room(61) is None
    assert models.expired(now=1e9) == ["a"]
    models.release("b", now=3.0)
    assert models.room(61) == ["a", "b"]


def test_a_model_that_was_unloaded_leaves_its_room() -> None:
    models = cache_of(100)
    used_until(models, "a", 100, now=1.0)
    models.unloaded("a")
    assert models.room(100) == []
    assert (models.names, models.size_bytes) == ([], 0)


def test_what_is_larger_than_the_bound_never_fits() -> None:
    assert cache_of(100).fits(100)
    assert not cache_of(100).fits(101)
    assert cache_of(0).fits(10**15)
    assert cache_of(0).room(10**15) == []


def test_idle_time_counts_from_the_last_session() -> None:
    models = cache_of(idle_s=60.0)
    models.hold("a")
    models.hold("a")
    models.loaded("a", 1, now=0.0)
    models.release("a", now=10.0)
    assert models.deadline() is None
    models.release("a", now=20.0)
    assert models.deadline() == 80.0
    assert models.expired(now=79.9) == []
    assert models.expired(now=80.0) == ["a"]
    models.hold("a")
    assert models.expired(now=1e9) == []


def test_a_model_whose_clients_left_while_it_was_loaded_is_idle_from_then() -> None:
    models = cache_of(idle_s=60.0)
    models.hold("a")
    models.release("a", now=5.0)
    assert models.deadline() is None and models.room(100) == []
    models.loaded("a", 70, now=30.0)
    assert models.deadline() == 90.0
    assert (models.names, models.size_bytes) == (["a"], 70)


def test_one_that_is_awaited_is_neither_room_nor_in_the_way() -> None:
    models = cache_of(100)
    models.hold("a")
    assert models.room(100) == []
    assert models.expired(now=1e9) == []


def test_without_an_idle_time_models_stay() -> None:
    models = cache_of(idle_s=0.0)
    used_until(models, "a", 1, now=0.0)
    assert models.deadline() is None
    assert models.expired(now=1e12) == []


def test_a_model_is_released_as_often_as_it_was_held() -> None:
    models = cache_of()
    models.hold("a")
    models.loaded("a", 1, now=0.0)
    models.release("a", now=1.0)
    with pytest.raises(AssertionError):
        models.release("a", now=2.0)
