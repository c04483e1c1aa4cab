"""Models and speech for tests of the engine.

Real weights are the demo model of the package, or the trial model beside the
repository; a test that needs them skips where neither is there.
"""

from __future__ import annotations

import functools
import json
import wave
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from whisper_live.audio import SAMPLE_RATE, Samples

REPOSITORY = Path(__file__).resolve().parents[2]
SPEECH = REPOSITORY / "tests" / "data" / "speech"
MARGIN_S = 0.25


def find_model() -> Path | None:
    """A folder with real weights, if there is one."""
    demo = Path(str(resources.files("whisper_live") / "data" / "demo-model"))
    trial = REPOSITORY.parent / "shared" / "models" / "trial"
    for folder in (demo, trial):
        if (folder / "model.bin").is_file():
            return folder
    return None


def model_folder() -> Path:
    """A folder with real weights; skips the test without one."""
    folder = find_model()
    if folder is None:
        pytest.skip("neither the demo model nor ../shared/models/trial is there")
    return folder


@functools.cache
def sentences() -> tuple[tuple[str, Samples], ...]:
    """Three spoken sentences with their words, each with ``MARGIN_S`` around it."""
    with wave.open(str(SPEECH / "commands.wav")) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    audio: Samples = pcm.astype(np.float32) / np.float32(32768)
    found = []
    for entry in json.loads((SPEECH / "commands.json").read_text())["sentences"]:
        start = round((entry["start"] - MARGIN_S) * SAMPLE_RATE)
        end = round((entry["end"] + MARGIN_S) * SAMPLE_RATE)
        found.append((entry["text"], audio[start:end]))
    return tuple(found)
