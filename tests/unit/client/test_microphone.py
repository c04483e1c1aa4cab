"""A microphone's samples in order, and a sentence where there is none."""

from __future__ import annotations

import sys
from contextlib import aclosing

import numpy as np
import pytest

from tests.sound import Sound
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client.microphone import devices, microphone
from whisper_live.errors import ConfigError, WhisperLiveError


async def heard(sound: Sound, seconds: float, device: int | None = None) -> Samples:
    pieces: list[Samples] = []
    async with aclosing(microphone(device, library=sound)) as source:
        async for samples in source:
            pieces.append(samples)
            if sum(map(len, pieces)) >= seconds * SAMPLE_RATE:
                break
    return np.concatenate(pieces)


async def test_every_sample_comes_in_order_and_the_device_is_closed() -> None:
    said = np.linspace(-1, 1, SAMPLE_RATE).astype(np.float32)
    sound = Sound(said)
    assert (await heard(sound, 1.0, device=2) == said).all()
    (settings,) = sound.opened
    assert settings["device"] == 2 and settings["samplerate"] == SAMPLE_RATE
    assert sound.closed == 1


async def test_a_device_without_16_khz_is_resampled() -> None:
    times = np.arange(48_000) / 48_000
    said = np.sin(2 * np.pi * 440 * times).astype(np.float32)
    sound = Sound(said, rates=(48_000,))
    got = await heard(sound, 0.9)
    assert sound.opened[0]["samplerate"] == 48_000
    assert got == pytest.approx(said[::3][: len(got)], abs=0.05)


async def test_a_device_that_goes_away_is_an_error() -> None:
    sound = Sound(np.zeros(8000, np.float32), leaves=True)
    with pytest.raises(WhisperLiveError, match="the microphone is gone"):
        await heard(sound, 10.0)
    assert sound.closed == 1


@pytest.mark.parametrize(
    ("sound", "device", "sentence"),
    [
        (Sound(broken=True), None, "cannot open the sound device: Device unavailable"),
        (Sound(), "Line", "No input device matching 'Line'; whisper-live mic --list"),
    ],
)
async def test_no_such_device_is_one_sentence(
    sound: Sound, device: str | None, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        await anext(microphone(device, library=sound))


async def test_a_missing_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ConfigError, match=r"pip install .*\[mic\]"):
        await anext(microphone())


async def test_a_missing_portaudio_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Finder:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(ConfigError, match="PortAudio is missing.*libportaudio2"):
        await anext(microphone())


def test_devices_that_record_are_listed_with_the_default() -> None:
    assert devices(Sound()) == ["  1  Webcam  (default)", "  2  Headset"]
