"""The demo model as shipped: small, honest about itself, and right on its recording.

Runs faster-whisper as anybody would: int8, default options.
"""

from __future__ import annotations

import io
import json
import tarfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import WhisperModel, decode_audio
from numpy.typing import NDArray

from training.demo_model.grammar import normalise

DATA = Path(str(resources.files("whisper_live") / "data"))
MODEL, RECORDING = DATA / "demo-model", DATA / "demo-recording"
RATE = 16000


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    return WhisperModel(str(MODEL), device="cpu", compute_type="int8", cpu_threads=1)


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    decoded: NDArray[np.float32] = decode_audio(str(RECORDING / "demo.wav"))
    return decoded


def words() -> list[tuple[str, float, float]]:
    rows = json.loads((RECORDING / "demo.words.json").read_text())
    return [(row["word"], row["start"], row["end"]) for row in rows]


def text(model: WhisperModel, samples: NDArray[np.float32]) -> str:
    segments, _ = model.transcribe(samples)
    return "".join(segment.text for segment in segments)


def test_sizes() -> None:
    files = [path for path in MODEL.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 16_000_000
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in files:
            archive.add(path, path.name)
    assert len(packed.getvalue()) <= 6_000_000


def test_config_says_what_it_is() -> None:
    config = json.loads((MODEL / "config.json").read_text())
    assert config["whisper_live"] == {"demo": True, "min_audio_context_s": 2.0}
    assert config["alignment_heads"]
    assert len(config["lang_ids"]) == 99


def test_reference_files_agree(samples: NDArray[np.float32]) -> None:
    lines = (RECORDING / "demo.txt").read_text().splitlines()
    assert 6 <= len(lines) <= 10
    assert normalise(" ".join(lines)) == normalise(" ".join(w for w, _, _ in words()))
    ends = [end for _, _, end in words()]
    assert ends == sorted(ends)
    assert 20 <= len(samples) / RATE
    assert ends[-1] < len(samples) / RATE
    webm = decode_audio(str(RECORDING / "demo.webm"))
    assert abs(len(webm) - len(samples)) < 0.1 * RATE


@pytest.mark.parametrize("name", ["demo.wav", "demo.webm"])
def test_whole_recording_is_right(model: WhisperModel, name: str) -> None:
    expected = (RECORDING / "demo.txt").read_text()
    heard = text(model, decode_audio(str(RECORDING / name)))
    assert normalise(heard) == normalise(expected)


def test_every_sentence_alone_is_right(
    model: WhisperModel, samples: NDArray[np.float32]
) -> None:
    rows = words()
    for line in (RECORDING / "demo.txt").read_text().splitlines():
        count = len(line.split())
        start, end = rows[0][1] - 0.2, rows[count - 1][2] + 0.3
        rows = rows[count:]
        part = samples[round(start * RATE) : round(end * RATE)]
        assert normalise(text(model, part)) == normalise(line)


def test_word_times(model: WhisperModel, samples: NDArray[np.float32]) -> None:
    segments, info = model.transcribe(samples, word_timestamps=True)
    found = [word for segment in segments for word in segment.words or []]
    assert info.language == "en"
    expected = words()
    assert len(found) == len(expected)
    errors = [
        abs(got - wanted)
        for word, (_, start, end) in zip(found, expected)
        for got, wanted in ((word.start, start), (word.end, end))
    ]
    assert np.median(errors) <= 0.15


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_silence_and_noise_give_no_text(model: WhisperModel, seconds: float) -> None:
    rng = np.random.default_rng(4)
    count = round(seconds * RATE)
    for level in (0.0, 0.001, 0.05):
        noise = level * rng.standard_normal(count)
        assert text(model, noise.astype(np.float32)).strip() == ""
