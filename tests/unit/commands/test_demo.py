"""The demonstration, with the oracle in the model's place: it must be able to fail."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from whisper_live.audio import SAMPLE_RATE
from whisper_live.client.chunks import webm_chunks
from whisper_live.commands import demo
from whisper_live.config.model import Config, EngineConfig, ListenConfig
from whisper_live.errors import ConfigError
from whisper_live.inference import model_files
from whisper_live.inference.model_files import Located
from whisper_live.testing.marks import word_text, write_speech

CONFIG = Config(
    listen=ListenConfig(port=0, http_port=0), engine=EngineConfig(engine="oracle")
)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in place of the package's, with a recording of the words 3 and 4."""
    folder = tmp_path / "data/demo-recording"
    folder.mkdir(parents=True)
    samples, words = write_speech([[3, 4]], pause_s=0.3, variant="robust")
    times = [
        {
            "word": word_text(w.number),
            "start": w.start / SAMPLE_RATE,
            "end": w.end / SAMPLE_RATE,
        }
        for w in words
    ]
    (folder / "demo.words.json").write_text(json.dumps(times))
    webm = b"".join(chunk.data for chunk in webm_chunks([samples]))
    (folder / "demo.webm").write_bytes(webm)
    (folder / "demo.wav").write_bytes(b"")
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    return folder


def run() -> int:
    return demo.run(CONFIG, argparse.Namespace())


def test_right_words_are_success(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "demo.txt").write_text(f"{word_text(3)},{word_text(4).upper()}!\n")
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all 2 words are right"
    said = re.fullmatch(
        r"first text (\S+) s after speech began; "
        r"sentences stood (\S+) s after their last word \(worst (\S+)\)",
        lines[-2],
    )
    assert said
    first, stood, worst = map(float, said.groups())
    assert 0 < first < 5
    assert 0 < stood == worst < 5
    text = (word_text(3) + word_text(4)).strip()
    assert any(re.search(rf"final +{text}  \[", line) for line in lines)


def test_wrong_words_are_shown_and_fail(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "demo.txt").write_text(f"{word_text(3)} {word_text(5)}\n")
    assert run() == 1
    three, four, five = (word_text(number).strip() for number in (3, 4, 5))
    assert capsys.readouterr().out.endswith(
        f"not right ([-said-] {{+heard+}}): {three} [-{five}-] {{+{four}+}}\n"
    )


def test_an_installation_without_data_says_so(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"lacks data/demo-recording/demo\.txt"):
        run()


def test_real_whisper_hears_another_recording_than_the_demo_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def choice(*installed: str, model: str = "auto") -> tuple[str, str]:
        here = [Located(name, Path(), "") for name in installed]
        monkeypatch.setattr(model_files, "installed", lambda: here)
        config, recording = demo._choose(Config(engine=EngineConfig(model=model)))
        return config.engine.model, recording

    assert choice("base", "tiny.en", "demo") == ("tiny.en", "meeting")
    assert choice("demo", model="base") == ("base", "meeting")
    assert choice("tiny.en", "demo", model="demo") == ("demo", "demo")
    assert capsys.readouterr().err == ""
    assert choice("base", "demo") == ("demo", "demo")
    assert "pip install '.[tiny-en]'" in capsys.readouterr().err


def test_few_wrong_words_in_many_are_within_the_bound(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "demo.txt").write_text(f"{word_text(3)} {word_text(5)}\n")
    monkeypatch.setitem(demo._MOST_WRONG, "demo", 0.5)
    assert run() == 0
    *_, count, wrong = capsys.readouterr().out.splitlines()
    assert count == "wrong: 1 of 2 words, within the bound of 50%:"
    assert f"[-{word_text(5).strip()}-]" in wrong
