"""Speech probabilities: the same for any cut, and those of faster-whisper."""

from __future__ import annotations

import json
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from whisper_live.audio import FRAME_S, FRAME_SAMPLES, Samples
from whisper_live.errors import ConfigError
from whisper_live.vad import silero as vad
from whisper_live.vad.silero import SileroModel

SPEECH = Path(__file__).parents[2] / "data" / "speech"


@pytest.fixture(scope="module")
def model() -> SileroModel:
    return SileroModel()


@pytest.fixture(scope="module")
def frames() -> Samples:
    """The committed recording as ``[n, 512]``."""
    with wave.open(str(SPEECH / "commands.wav")) as file:
        integers = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    samples: Samples = integers.astype(np.float32) / np.float32(32768)
    whole = len(samples) // FRAME_SAMPLES * FRAME_SAMPLES
    return samples[:whole].reshape(-1, FRAME_SAMPLES)


def _in_pieces(
    model: SileroModel, frames: Samples, sizes: list[int]
) -> NDArray[np.float32]:
    detector = model.detector()
    cuts = np.cumsum(sizes)
    return np.concatenate([detector.score(piece) for piece in np.split(frames, cuts)])


def test_sentences_are_speech_and_pauses_are_not(
    model: SileroModel, frames: Samples
) -> None:
    speech = model.detector().score(frames)
    truth = json.loads((SPEECH / "commands.json").read_text())
    begin = np.arange(len(frames)) * FRAME_S
    quiet = np.ones(len(frames), dtype=bool)
    for sentence in truth["sentences"]:
        start, end = sentence["start"], sentence["end"]
        inside = (begin >= start + 0.15) & (begin + FRAME_S <= end - 0.05)
        assert np.mean(speech[inside] > 0.4) > 0.9, sentence["text"]
        quiet &= (begin + FRAME_S < start - 0.05) | (begin > end + 0.2)
    assert quiet.sum() > 60
    assert speech[quiet].max() < 0.25


@pytest.mark.parametrize("sizes", [[1] * 231, [8] * 28, [0, 3, 100, 0, 1, 60]])
def test_any_cut_gives_what_one_call_gives(
    model: SileroModel, frames: Samples, sizes: list[int]
) -> None:
    whole = model.detector().score(frames)
    assert whole.shape == (len(frames),)
    assert whole.dtype == np.float32
    pieces = _in_pieces(model, frames, sizes)
    # Rows of a call go through differently shaped products: rounding, no more.
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=2e-6)


def test_same_probabilities_as_faster_whisper(
    model: SileroModel, frames: Samples
) -> None:
    from faster_whisper.vad import get_vad_model

    # faster-whisper zeroes the end of the last frame it is given (its context array
    # is a view of the audio), so it gets a copy with one frame more, not compared.
    more = np.concatenate([frames.reshape(-1), np.zeros(FRAME_SAMPLES, np.float32)])
    theirs = get_vad_model()(more)[:-1]
    ours = model.detector().score(frames)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_streams_do_not_share_state(model: SileroModel, frames: Samples) -> None:
    alone = model.detector().score(frames)
    noise = np.random.default_rng(1).normal(0, 0.3, frames.shape).astype(np.float32)
    one, other = model.detector(), model.detector()
    mixed = []
    for begin in range(0, len(frames), 10):
        mixed.append(one.score(frames[begin : begin + 10]))
        other.score(noise[begin : begin + 10])
    np.testing.assert_allclose(np.concatenate(mixed), alone, rtol=0, atol=2e-6)


def test_threads_share_one_model(model: SileroModel, frames: Samples) -> None:
    alone = model.detector().score(frames)
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda _: _in_pieces(model, frames, [8] * 28), range(8))
        )
    for result in results:
        np.testing.assert_allclose(result, alone, rtol=0, atol=2e-6)


def test_given_frames_are_left_as_they_were(
    model: SileroModel, frames: Samples
) -> None:
    given = frames.copy()
    given.flags.writeable = False
    model.detector().score(given)
    np.testing.assert_array_equal(given, frames)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing.*nowhere.onnx"):
        SileroModel(tmp_path / "nowhere.onnx")


def test_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="bad.onnx cannot be loaded"):
        SileroModel(path)


def test_other_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "_INPUTS", {"input", "state", "sr"})
    with pytest.raises(ConfigError, match="it takes c, h, input"):
        SileroModel()


def test_faster_whisper_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="faster-whisper.*not installed"):
        SileroModel()
