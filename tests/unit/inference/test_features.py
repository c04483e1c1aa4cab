"""Log-mel features: equal to faster-whisper's, and cheap for growing windows."""

from __future__ import annotations

import time

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.inference.ctranslate2.features import FeatureCache, Features

TOLERANCE = 1e-4


def noise(samples: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    loudness = 0.2 * np.abs(np.sin(np.arange(samples) / 3000)) + 1e-4
    return (rng.standard_normal(samples) * loudness).astype(np.float32)


def reference(audio: Samples, mels: int = 80) -> Features:
    """What faster-whisper computes, without the last column, which it never uses."""
    features: Features = FeatureExtractor(feature_size=mels)(audio)
    return features[:, :-1]


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("samples", [201, 400, 1600, 16_077, 320_000, 480_000])
def test_equal_to_faster_whisper(mels: int, samples: int) -> None:
    audio = noise(samples)
    ours = FeatureCache(mels).features("a", 0, audio)
    theirs = reference(audio, mels)
    assert ours.shape == theirs.shape == (mels, samples // 160)
    assert np.abs(ours - theirs).max() <= TOLERANCE


def test_silence_and_clipping_are_equal_too() -> None:
    for audio in (np.zeros(8000, np.float32), np.ones(8000, np.float32)):
        ours = FeatureCache(80).features("a", 0, audio)
        assert np.abs(ours - reference(audio)).max() <= TOLERANCE


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(201, 40_000), min_size=1, max_size=6))
def test_growing_and_shrinking_windows_equal_fresh_ones(lengths: list[int]) -> None:
    audio = noise(40_000)
    cache = FeatureCache(80)
    for length in lengths:
        ours = cache.features("a", 7, audio[:length])
        assert np.abs(ours - reference(audio[:length])).max() <= TOLERANCE


def test_other_samples_at_a_known_position_are_noticed() -> None:
    cache = FeatureCache(80)
    cache.features("a", 0, noise(16_000, seed=1))
    other = noise(20_000, seed=2)
    assert np.abs(cache.features("a", 0, other) - reference(other)).max() <= TOLERANCE


def test_sessions_and_starts_are_kept_apart() -> None:
    cache = FeatureCache(80)
    for session, start, seed in [("a", 0, 1), ("b", 0, 2), ("a", 160, 3), ("b", 0, 2)]:
        audio = noise(9_000, seed)
        ours = cache.features(session, start, audio)
        assert np.abs(ours - reference(audio)).max() <= TOLERANCE
    assert len(cache) == 2


def test_the_cache_is_bounded_and_forgets() -> None:
    cache = FeatureCache(80, capacity=3)
    for session in "abcde":
        cache.features(session, 0, noise(1000))
    assert len(cache) == 3
    cache.forget("e")
    cache.forget("unknown")
    assert len(cache) == 2


def test_half_a_second_more_costs_a_fifth_at_most() -> None:
    audio = noise(int(20.5 * SAMPLE_RATE))
    before = audio[: 20 * SAMPLE_RATE]

    def whole() -> float:
        cache = FeatureCache(80)
        started = time.perf_counter()
        cache.features("a", 0, audio)
        return time.perf_counter() - started

    def extension() -> float:
        cache = FeatureCache(80)
        cache.features("a", 0, before)
        started = time.perf_counter()
        cache.features("a", 0, audio)
        return time.perf_counter() - started

    # the best of several: other processes only ever add time
    assert min(whole() for _ in range(9)) >= 5 * min(extension() for _ in range(9))
