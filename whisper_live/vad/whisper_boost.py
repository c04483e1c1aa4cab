"""Raises the speech probability of whispering, which Silero scores too low in noise.

Whispering has no voice and is soft.  So Silero is given all audio louder, and of what
it then doubts the probability is raised where a frame is a hiss (flat spectrum), stands
out from the background and is not ruled out.  Voices and tones keep Silero's own score;
steady noise stands out from nothing.  Whether there are words in the rest is for the
engine and the hallucination filter to say.  ``bench.quality --only missed`` has what
it is worth.

Owns the level of the background.  Knows nothing of thresholds or utterances.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import FRAME_S, FRAME_SAMPLES, Samples
from whisper_live.config.model import SpeechConfig
from whisper_live.vad.silero import Detector, SileroModel

__all__ = ["Amplified", "WhisperBoost", "speech_detectors"]

_BACKGROUND_FRAMES = round(4 / FRAME_S)  # speech has a gap in less than that
_SMOOTHED_FRAMES = 3  # a background is not as low as its lowest frame
_STANDS_OUT_DB = 10.0  # above the background: counts in full
_HIDDEN_DB = 4.0  # above the background: counts for nothing
# Below full scale, amplified; what is softer is no background to stand out from.
_QUIET_DB = -50.0
# Spectral flatness, 0 for a tone to 1 for white noise.  Of doubtful frames 95 % were
# above 0.023 in whispering, below 0.007 in music; none in 25 min of it above 0.03.
_HISS_FLATNESS = 0.03
_WINDOW = np.hanning(FRAME_SAMPLES)
_RULED_OUT, _CERTAIN = 0.02, 0.9  # probabilities beyond these stay what they are


class Amplified:
    """A detector that is given the stream louder by ``gain``, clipped at full scale.

    Clipping costs nothing: of voices 12 dB over full scale as many frames are speech.
    """

    def __init__(self, detector: Detector, gain: float) -> None:
        self._detector = detector
        self._gain = np.float32(gain)

    def score(self, frames: Samples) -> NDArray[np.float32]:
        """See ``Detector``."""
        return self._detector.score(np.clip(frames * self._gain, -1.0, 1.0))


class WhisperBoost:
    """A detector that raises the probability of doubtful hiss which stands out.

    As if so many detectors had each said ``p`` of a frame, independently, and one of
    them were enough: ``1 - (1 - p) ** weight``.  A weight of 1 changes nothing.
    """

    def __init__(self, detector: Detector, weight: float) -> None:
        self._detector = detector
        self._weight = weight
        self._background = _Background()

    def score(self, frames: Samples) -> NDArray[np.float32]:
        """See ``Detector``: any cut of a stream gives the same."""
        speech = self._detector.score(frames)
        # Frame by frame: numpy on a message's three frames takes four times as long.
        above = [self._background.below(_level_db(frame)) for frame in frames]
        raised = [
            index
            for index, (probability, db) in enumerate(zip(speech.tolist(), above))
            if db > _HIDDEN_DB and _RULED_OUT < probability < _CERTAIN
        ]
        if not raised:
            return speech
        flatness = _flatness(frames[raised])
        speech = speech.copy()
        for index, flat in zip(raised, flatness.tolist()):
            if flat >= _HISS_FLATNESS:
                share = (above[index] - _HIDDEN_DB) / (_STANDS_OUT_DB - _HIDDEN_DB)
                power = 1 + (self._weight - 1) * min(share, 1.0)
                speech[index] = 1 - (1 - speech[index]) ** power
        return speech


class _Background:
    """The lowest level of the last seconds, smoothed."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_SMOOTHED_FRAMES)
        # Frames that may yet be the lowest: later ones are louder, all are in reach.
        self._lowest: deque[tuple[int, float]] = deque()
        self._count = 0

    def below(self, level_db: float) -> float:
        """How far the background is below the next frame, dB."""
        if not self._recent:
            self._recent.extend([level_db] * _SMOOTHED_FRAMES)
        self._recent.append(level_db)
        smoothed = sum(self._recent) / _SMOOTHED_FRAMES
        while self._lowest and self._lowest[-1][1] >= smoothed:
            self._lowest.pop()
        self._lowest.append((self._count, smoothed))
        if self._lowest[0][0] < self._count - _BACKGROUND_FRAMES:
            self._lowest.popleft()
        self._count += 1
        return level_db - self._lowest[0][1]


def _level_db(frame: Samples) -> float:
    """Of one frame, below full scale; not below what counts as quiet."""
    power = float(np.dot(frame, frame)) / len(frame)
    return max(10 * math.log10(power + 1e-12), _QUIET_DB)


def _flatness(frames: Samples) -> NDArray[np.float64]:
    """Geometric over arithmetic mean of each power spectrum, 125 Hz to 7.8 kHz."""
    spectrum = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)) ** 2
    spectrum = spectrum[:, 4:250] + 1e-12
    return np.asarray(np.exp(np.log(spectrum).mean(axis=1)) / spectrum.mean(axis=1))


def speech_detectors(config: SpeechConfig) -> Callable[[], Detector]:
    """What makes one stream's detector: Silero, loaded once, with gain and boost.

    Raises ``ConfigError`` as ``SileroModel`` does.
    """
    silero = SileroModel()

    def detector() -> Detector:
        doubting = WhisperBoost(silero.detector(), config.whisper_boost)
        return Amplified(doubting, config.vad_gain)

    return detector
