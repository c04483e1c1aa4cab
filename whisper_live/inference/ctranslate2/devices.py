"""Where a model runs: device, compute type, workers, and what its errors mean.

Owns the choice of device and the process settings that must be made before a model is
loaded.  Knows CTranslate2 but no requests.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import ctranslate2

from whisper_live.config.model import EngineConfig
from whisper_live.errors import ConfigError, EngineUnavailable
from whisper_live.text.counted import counted

__all__ = [
    "Placement",
    "run_nice",
    "choose",
    "explain",
    "is_lost",
    "out_of_memory",
    "tune_process",
]

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Placement:
    """One model's place: ``devices`` indices, ``workers`` calls at the same time."""

    device: str
    devices: tuple[int, ...]
    compute_type: str
    workers: int
    threads: int  # of one call, CPU only
    reason: str  # for the log


def choose(config: EngineConfig) -> Placement:
    """Resolve the ``auto`` settings.  Raises ``ConfigError`` for what cannot be."""
    gpus = _gpu_count()
    device = config.device
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device == "cuda" and not gpus:
        raise ConfigError(
            "device cuda: no usable NVIDIA GPU or driver was found; check nvidia-smi, "
            "or use --device cpu"
        )
    compute = config.compute_type
    if compute == "auto":
        compute = "float16" if device == "cuda" else "int8"
    supported = ctranslate2.get_supported_compute_types(device)
    if compute not in supported | {"default"}:
        raise ConfigError(
            f"compute-type {compute} does not work on this {device}; "
            f"use one of {', '.join(sorted(supported))}"
        )
    if device == "cuda":
        indices = _indices(config.device_index, gpus)
        number = len(indices)
        reason = f"{counted(number, 'worker')} on {counted(number, 'GPU')}"
        return Placement(device, indices, compute, len(indices), 1, reason)
    return _place_on_cpu(config, compute)


def _place_on_cpu(config: EngineConfig, compute: str) -> Placement:
    # Two workers of one thread carry 1.8 times one worker's load even on a busy
    # machine, two threads in one worker nothing then: they wait for each other at
    # every layer.  Above eight calls at a time memory bandwidth is the limit.
    cores = _usable_cores()
    workers = config.workers or min(max(cores // max(config.threads, 1), 1), 8)
    threads = config.threads or max(cores // workers, 1)
    reason = (
        f"{counted(cores, 'usable core')}: {counted(workers, 'worker')} of "
        f"{counted(threads, 'thread')}"
    )
    return Placement("cpu", (0,), compute, workers, threads, reason)


def _gpu_count() -> int:
    try:
        return int(ctranslate2.get_cuda_device_count())
    except (RuntimeError, ValueError):  # a driver that is broken or too old
        return 0


def _indices(text: str, gpus: int) -> tuple[int, ...]:
    try:
        indices = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"device-index must be like 0 or 0,1, not {text!r}") from None
    for index in indices:
        if not 0 <= index < gpus:
            there = "is 1 GPU, 0" if gpus == 1 else f"are {gpus} GPUs, from 0"
            raise ConfigError(f"device-index {index}: there {there}")
    return indices


def _usable_cores() -> int:
    """Cores that this process may use: affinity mask and container quota."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max" (no quota)
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores or 1, -(-int(quota) // int(period)))
    return max(cores or 1, 1)


def tune_process() -> None:
    """Settings that keep memory flat under changing shapes; before the first model.

    oneDNN keeps one compiled primitive for each shape, 1024 by default, which looks
    like a leak (142 -> 600 MB).  glibc returns every freed block above 128 KB to the
    kernel, and a third of a 30 s encode is then spent on page faults.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
        libc.mallopt(arena_max, 1)


def run_nice(make: Callable[[], Made], nice: int) -> Made:
    """Call ``make`` so that the threads it starts give way to all others of ours.

    For a model on a CPU.  A call may wait a few ms for a core, the threads that take
    audio in may not: whichever of them holds the interpreter's lock while a call has
    its core stops all the others with it.  At ``nice`` 10 they have a tenth of the
    others' share of a core that both want; with 100 streams on two cores the median of
    finals came down from 1.10 to 0.68 s.
    """

    def lowered() -> Made:
        if sys.platform == "linux":  # of this thread, and of those it starts
            os.nice(nice)
        return make()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lowered).result()


def out_of_memory(error: BaseException) -> bool:
    """Whether a call failed for lack of memory, so that a smaller one may succeed."""
    return isinstance(error, MemoryError) or bool(
        re.search(r"out of memory|bad_alloc|ALLOC_FAILED", str(error))
    )


def is_lost(error: BaseException) -> bool:
    """Whether no later call can succeed: a CUDA context does not survive a fault."""
    return not out_of_memory(error) and bool(
        re.search(r"CUDA failed|CUBLAS_STATUS|cuBLAS failed|libcublas", str(error))
    )


def explain(error: Exception, model: str) -> ConfigError | EngineUnavailable:
    """One line for the operator out of what CTranslate2 said."""
    text = " ".join(str(error).split())
    if match := re.search(r"Library (lib\S+) is not found", text):
        return EngineUnavailable(
            f"{match[1]} is missing: pip install nvidia-cublas-cu12 and add its lib "
            "folder to LD_LIBRARY_PATH (CTranslate2 wants CUDA 12), or use --device cpu"
        )
    if "driver version is insufficient" in text:
        return EngineUnavailable(
            "the NVIDIA driver is older than CUDA 12; update it, or use --device cpu"
        )
    if out_of_memory(error):
        return EngineUnavailable(
            f"model {model} does not fit into memory: choose a smaller one, or "
            "--compute-type int8_float16"
        )
    if is_lost(error):
        return EngineUnavailable(f"the GPU failed: {text}", kind="device_lost")
    return ConfigError(f"model {model} cannot be loaded: {text}")
