"""Doubtful frames count for more where they stand out, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from whisper_live.audio import FRAME_SAMPLES, Samples
from whisper_live.vad.whisper_boost import Amplified, WhisperBoost


class Doubting:
    """Says the same of every frame."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def score(self, frames: Samples) -> NDArray[np.float32]:
        return np.full(len(frames), self.probability, np.float32)


def at(*levels_db: float) -> Samples:
    """Frames of white noise, of these levels below full scale."""
    hiss = np.random.default_rng(1).choice([1.0, -1.0], FRAME_SAMPLES)
    frames = [10 ** (level / 20) * hiss for level in levels_db]
    return np.array(frames, dtype=np.float32).reshape(-1, FRAME_SAMPLES)


def test_what_stands_out_counts_so_many_times() -> None:
    speech = WhisperBoost(Doubting(0.2), 4.0).score(at(*[-40] * 20, -20, -29, -37, -40))
    assert speech[:20] == pytest.approx(0.2)
    assert speech[20] == speech[21] == pytest.approx(1 - 0.8**4)
    assert speech[22] == speech[23] == pytest.approx(0.2)  # 3 dB are the background's


def test_the_share_grows_with_the_level() -> None:
    # 7 dB: half of the way from what counts for nothing to what counts in full
    speech = WhisperBoost(Doubting(0.2), 3.0).score(at(*[-40] * 20, -33))
    assert speech[20] == pytest.approx(1 - 0.8**2, abs=1e-5)


def test_a_weight_of_one_leaves_it_to_the_detector() -> None:
    speech = WhisperBoost(Doubting(0.2), 1.0).score(at(*[-40] * 20, -10))
    assert speech == pytest.approx(0.2)


def test_a_voice_or_a_tone_is_left_to_the_detector() -> None:
    tone = np.sin(2 * np.pi * 440 / 16_000 * np.arange(FRAME_SAMPLES))
    frames = np.concatenate([at(*[-40] * 20), 0.3 * tone[None].astype(np.float32)])
    assert WhisperBoost(Doubting(0.2), 4.0).score(frames) == pytest.approx(0.2)


def test_certainty_stays_what_it_is() -> None:
    loud = at(*[-40] * 20, -10)
    assert WhisperBoost(Doubting(0.01), 4.0).score(loud) == pytest.approx(0.01)
    assert WhisperBoost(Doubting(1.0), 4.0).score(loud) == pytest.approx(1.0)


def test_in_a_quiet_room_soft_sounds_do_not_stand_out() -> None:
    speech = WhisperBoost(Doubting(0.2), 4.0).score(at(*[-90] * 20, -47, -30))
    assert speech[20] == pytest.approx(0.2)
    assert speech[21] == pytest.approx(1 - 0.8**4)


def test_what_lasts_becomes_the_background() -> None:
    speech = WhisperBoost(Doubting(0.2), 4.0).score(at(*[-40] * 9, *[-20] * 200))
    assert speech[9:130] == pytest.approx(1 - 0.8**4)
    assert speech[140:] == pytest.approx(0.2)


@pytest.mark.parametrize("size", [1, 2, 3, 50, 400])
def test_any_cut_gives_what_one_call_gives(size: int) -> None:
    levels = np.random.default_rng(3).normal(-35, 8, 400)
    frames = at(*levels)
    whole = WhisperBoost(Doubting(0.2), 4.0).score(frames)
    assert len(set(whole.tolist())) > 50
    one = WhisperBoost(Doubting(0.2), 4.0)
    cut = [one.score(frames[i : i + size]) for i in range(0, 400, size)]
    assert np.array_equal(np.concatenate(cut), whole)
    assert not len(one.score(frames[:0]))


def test_what_is_heard_louder_is_clipped() -> None:
    class Listening:
        def score(self, frames: Samples) -> NDArray[np.float32]:
            self.heard = frames
            return np.full(len(frames), 0.5, np.float32)

    detector = Listening()
    frames = np.array([[0.1, -0.2], [0.4, -0.9]], np.float32)
    assert Amplified(detector, 4.0).score(frames).tolist() == [0.5, 0.5]
    assert detector.heard == pytest.approx(np.array([[0.4, -0.8], [1.0, -1.0]]))
    assert detector.heard.dtype == np.float32
    assert frames[1, 1] == np.float32(-0.9)  # the session reads its own samples
