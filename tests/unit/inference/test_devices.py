"""Choice of device and workers, and operators' lines out of library errors."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import ctranslate2
import pytest

from whisper_live.config.model import EngineConfig
from whisper_live.errors import ConfigError, EngineUnavailable
from whisper_live.inference.ctranslate2 import devices

CUDA_TYPES = {"float16", "int8_float16", "float32"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four cores, no GPU; tests change it."""
    monkeypatch.setattr(devices, "_usable_cores", lambda: 4)
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)
    supported = {"cpu": {"int8", "float32"}, "cuda": CUDA_TYPES}
    monkeypatch.setattr(
        ctranslate2, "get_supported_compute_types", lambda device: supported[device]
    )
    return monkeypatch


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "expected", "reason"),
    [
        (2, 0, 0, (2, 1), "2 usable cores: 2 workers of 1 thread"),
        (1, 0, 0, (1, 1), "1 usable core: 1 worker of 1 thread"),
        (16, 0, 0, (8, 2), "16 usable cores: 8 workers of 2 threads"),
        (4, 1, 0, (1, 4), "4 usable cores: 1 worker of 4 threads"),
        (4, 0, 4, (1, 4), "4 usable cores: 1 worker of 4 threads"),
        (4, 3, 2, (3, 2), "4 usable cores: 3 workers of 2 threads"),
    ],
)
def test_workers_and_threads_on_a_cpu(
    machine: pytest.MonkeyPatch,
    cores: int,
    workers: int,
    threads: int,
    expected: tuple[int, int],
    reason: str,
) -> None:
    machine.setattr(devices, "_usable_cores", lambda: cores)
    place = devices.choose(EngineConfig(workers=workers, threads=threads))
    assert (place.workers, place.threads) == expected
    assert (place.device, place.compute_type) == ("cpu", "int8")
    assert place.reason == reason


def test_gpus_are_used_where_there_are_any(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    place = devices.choose(EngineConfig(device_index="0,1"))
    assert (place.device, place.devices, place.workers) == ("cuda", (0, 1), 2)
    assert (place.compute_type, place.reason) == ("float16", "2 workers on 2 GPUs")
    assert devices.choose(EngineConfig(device="cpu")).device == "cpu"


def test_one_gpu_is_one(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    assert devices.choose(EngineConfig()).reason == "1 worker on 1 GPU"
    with pytest.raises(ConfigError, match="device-index 1: there is 1 GPU, 0$"):
        devices.choose(EngineConfig(device_index="1"))


def test_a_broken_driver_counts_as_no_gpu(machine: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise RuntimeError("CUDA failed with error no CUDA-capable device is detected")

    machine.setattr(ctranslate2, "get_cuda_device_count", broken)
    assert devices.choose(EngineConfig()).device == "cpu"
    with pytest.raises(ConfigError, match="nvidia-smi"):
        devices.choose(EngineConfig(device="cuda"))


@pytest.mark.usefixtures("machine")
def test_impossible_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="float16.*one of float32, int8"):
        devices.choose(EngineConfig(compute_type="float16"))


@pytest.mark.parametrize("index", ["0,9", "x", "-1", ""])
def test_impossible_gpus_are_named(machine: pytest.MonkeyPatch, index: str) -> None:
    machine.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    with pytest.raises(ConfigError, match="device-index"):
        devices.choose(EngineConfig(device_index=index))


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            "Library libcublas.so.12 is not found or cannot be loaded",
            EngineUnavailable,
            "pip install nvidia-cublas-cu12",
        ),
        (
            "CUDA failed with error CUDA driver version is insufficient for CUDA",
            EngineUnavailable,
            "update it",
        ),
        ("CUDA failed with error out of memory", EngineUnavailable, "does not fit"),
        ("CUDA failed with error an illegal address", EngineUnavailable, "GPU failed"),
        ("Unable to open file\n'model.bin'", ConfigError, "open file 'model.bin'"),
    ],
)
def test_library_errors_become_one_line(
    said: str, kind: type[Exception], words: str
) -> None:
    error = devices.explain(RuntimeError(said), "small")
    assert isinstance(error, kind)
    assert words in str(error) and "\n" not in str(error)


def test_which_failures_a_smaller_batch_may_cure() -> None:
    memory = RuntimeError("CUDA failed with error out of memory")
    assert devices.out_of_memory(memory) and not devices.is_lost(memory)
    assert devices.out_of_memory(MemoryError("std::bad_alloc"))
    fault = RuntimeError("CUDA failed with error an illegal memory access")
    assert devices.is_lost(fault) and not devices.out_of_memory(fault)
    # The worker ends the process for this kind: a restart may bring the device back.
    assert devices.explain(fault, "small").kind == "device_lost"
    row = ValueError("prompts must have the same index")
    assert not devices.is_lost(row) and not devices.out_of_memory(row)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority there")
def test_what_is_made_at_a_nice_level_starts_threads_that_give_way() -> None:
    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def from_a_thread_of_its_own() -> int:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(nice).result()

    before = nice()
    assert devices.run_nice(from_a_thread_of_its_own, 10) == min(before + 10, 19)
    assert nice() == before and from_a_thread_of_its_own() == before
