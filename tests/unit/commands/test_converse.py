"""What the arguments of ``converse`` come to, and what its screen shows."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import pytest

from whisper_live import cli
from whisper_live.client import Final
from whisper_live.client.events import Gap
from whisper_live.commands import converse
from whisper_live.commands.converse import Screen
from whisper_live.errors import ConfigError
from whisper_live.voice.report import Report
from whisper_live.voice.speech import SpeechEndpoint


def arguments(*argv: str) -> argparse.Namespace:
    return cli.build_parser().parse_args(["converse", *argv])


def shown(final: Final | None, live: str) -> list[str]:
    out = io.StringIO()
    Screen(out).end(final, live)
    return out.getvalue().splitlines()


def test_both_sides_are_shown_as_they_speak() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.question("Is it warm?")
    screen.answer("Yes.")
    assert out.getvalue() == "you     Is it warm?\nanswer  Yes.\n"


def test_the_final_text_comes_with_its_difference_to_the_live_one() -> None:
    gap = Gap(3.0, 4.5, "too_long")
    final = Final("Is it warm, Tom?", (), 5.0, 0.25, (gap,))
    assert shown(final, "is it worn tom") == [
        "",
        "final   Is it warm, Tom?",
        "live    1 of 4 words wrong",
        "        ([-final-] {+live+}) Is it [-warm,-] {+worn+} Tom?",
        "        no text for 3.000 to 4.500 s: too_long",
    ]
    assert shown(None, "is it") == []


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--input", "absent.wav"], "no such file: absent.wav"),
        (["--input", __file__], f"{__file__}: The file is not audio or video"),
        (["--cache-mb", "-1"], "--cache-mb"),
        (["--llm-url", "localhost:11434/v1"], "is no http:// or https:// URL"),
        (["--llm-url", "https://"], "is no http:// or https:// URL"),
        (["--tts", "Piper"], "is no http:// or https:// URL"),
    ],
)
def test_bad_arguments_are_found_before_a_server_is_asked(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main(["converse", *argv])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code in (1, 2) and told in capsys.readouterr().err


def test_without_the_extra_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import whisper_live.commands

    monkeypatch.delattr(whisper_live.commands, "converse")
    for name in ("commands.converse", "voice.report", "voice.loop"):
        monkeypatch.delitem(sys.modules, f"whisper_live.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "rich.bar", None)
    assert cli.main(["converse"]) == 2
    told = "whisper-live: rich is not installed: pip install '.[converse]'\n"
    assert capsys.readouterr().err == told


def test_an_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        with converse._player(arguments("--output", str(tmp_path / "no/a.wav"))):
            pass


async def test_a_missing_voice_leaves_the_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    report = Report()
    given = arguments("--tts-voice", "absent.onnx")
    assert await converse._speech(given, report) is None
    assert "answers are shown only" in caplog.text
    errors = report.metrics.registry.get_sample_value(
        "whisper_live_voice_errors_total", {"kind": "tts_missing"}
    )
    assert errors == 1


async def test_a_url_is_a_speech_server() -> None:
    given = arguments("--tts", "http://127.0.0.1:1/v1", "--tts-voice", "bella")
    speech = await converse._speech(given, Report())
    assert isinstance(speech, SpeechEndpoint)
    assert speech.name == "http://127.0.0.1:1/v1 tts-1 bella"
    await speech.close()


def test_no_speech_is_asked_for_with_none() -> None:
    assert arguments("--tts", "none").tts == "none"
    assert converse._cache(arguments()) is None
    assert converse._cache(arguments("--cache-mb", "1")) is not None


@pytest.mark.parametrize(
    ("name", "device"), [(None, None), ("3", 3), ("usb", "usb"), ("3d", "3d")]
)
def test_a_sound_card_has_a_name_or_a_number(
    name: str | None, device: str | int | None
) -> None:
    assert converse._device(name) == device
