"""Where nobody speaks no text comes, whatever else sounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.real.support import Kept, hear, real_server, text_of
from whisper_live.audio import SAMPLE_RATE, Samples

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

SECONDS = 30
T = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE


def _sine(hertz: float, amplitude: float) -> Samples:
    wave = amplitude * np.sin(2 * np.pi * hertz * T)
    return np.asarray(wave, np.float32)


def silence() -> Samples:
    return np.zeros(len(T), np.float32)


def tone() -> Samples:
    return _sine(440.0, 0.3)


def hum() -> Samples:
    """Of the mains: 50 Hz and four overtones."""
    samples = silence()
    for n in range(1, 6):
        samples += _sine(50.0 * n, 0.2 / n)
    return samples


def keypad() -> Samples:
    """A telephone's keys, two a second, each two tones for 0.2 s."""
    rows, columns = (697, 770, 852, 941), (1209, 1336, 1477)
    samples = silence()
    for key in range(2 * SECONDS):
        at = key * SAMPLE_RATE // 2
        span = slice(at, at + SAMPLE_RATE // 5)
        for hertz in (rows[key % 4], columns[key % 3]):
            samples[span] += _sine(hertz, 0.25)[span]
    return samples


def white_noise() -> Samples:
    noise = np.random.default_rng(3).standard_normal(len(T), dtype=np.float32)
    return np.float32(0.1) * noise


def pink_noise() -> Samples:
    """From 20 Hz on as much power in each octave."""
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(len(T)))
    hertz = np.fft.rfftfreq(len(T), 1 / SAMPLE_RATE)
    spectrum *= (hertz >= 20) / np.sqrt(np.maximum(hertz, 20))
    noise = np.fft.irfft(spectrum, len(T))
    return (0.1 * noise / float(noise.std())).astype(np.float32)


def clicks() -> Samples:
    """Two a second, of two samples."""
    samples = np.zeros(len(T), np.float32)
    samples[:: SAMPLE_RATE // 2] = 0.9
    samples[1 :: SAMPLE_RATE // 2] = -0.9
    return samples


SOUNDS = (silence, tone, hum, keypad, white_noise, pink_noise, clicks)


@pytest.mark.parametrize("model", ["tiny", "base"])
@pytest.mark.parametrize("sound", SOUNDS)
async def test_no_text_comes_of_it(
    sound: Callable[[], Samples], model: str, request: pytest.FixtureRequest
) -> None:
    engine: Kept = request.getfixturevalue(model)
    async with real_server(engine) as server:
        peer = await hear(server, sound())
    shown = [message for message in peer.messages if "segments" in message]
    assert not shown, text_of(peer)
