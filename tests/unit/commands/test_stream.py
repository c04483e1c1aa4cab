"""How text appears, and what is sent for which file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from whisper_live import cli
from whisper_live.client.captions import Caption
from whisper_live.commands.screen import Screen
from whisper_live.commands.stream import recording_chunks

DATA = Path(__file__).parents[2] / "data"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(screen: Screen) -> None:
    screen.show_partial(Caption(0.5, 1.0, "turn on"), 1.5)
    screen.show_partial(Caption(0.5, 1.5, "turn on the light"), 2.25)
    screen.show_final(Caption(0.5, 1.5, "Turn on the light."), 2.75)


def test_lines_tell_time_kind_text_and_latency() -> None:
    out = io.StringIO()
    screen = Screen(out)
    show(screen)
    assert out.getvalue() == (
        "   1.50  partial  turn on\n"
        "   2.25  partial  turn on the light\n"
        "   2.75  final    Turn on the light.  [+1.25 s]\n"
    )
    assert screen.summary() == (
        "first text at 1.50 s; partials 0.62 s after their last word (worst 0.75); "
        "finals 1.25 s after their last word (worst 1.25)"
    )


def test_a_terminal_shows_one_partial_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    out = Terminal()
    show(Screen(out))
    assert out.getvalue() == (
        "\r\x1b[K   1.50  partial  turn on"
        "\r\x1b[K   2.25  partial  turn on the"  # cut, or it would wrap
        "\r\x1b[K   2.75  final    Turn on the light.  [+1.25 s]\n"
    )


def test_latency_at_higher_speed_is_measured_from_the_scheduled_time() -> None:
    screen = Screen(io.StringIO(), speed=2.0)
    screen.show_final(Caption(0, 4.0, "x"), 2.5)
    assert list(screen.final_lags_s) == [0.5]


def test_a_terminal_shows_the_level_beside_the_open_line() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.show_level(0.5)
    screen.show_partial(Caption(0.5, 1.0, "turn on"), 1.5)
    screen.say("connected again", out)
    screen.show_final(Caption(0.5, 1.0, "Turn on."), 2.0)
    screen.close()
    meter = "#####      "
    open_line = f"\r\x1b[K{meter}   1.50  partial  turn on"
    assert out.getvalue() == (
        f"\r\x1b[K{meter}{open_line}"
        f"\r\x1b[Kconnected again\n{open_line}"
        "\r\x1b[K   2.00  final    Turn on.  [+1.00 s]\n\r\x1b[K"
    )


def test_a_pipe_gets_no_level() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.show_level(0.5)
    screen.say("connected again", out)
    screen.close()
    assert out.getvalue() == "connected again\n"


def test_no_text_is_said_so() -> None:
    assert Screen(io.StringIO()).summary() == "no text"


@pytest.mark.parametrize(
    ("send", "audio_format", "first"),
    [
        ("auto", "float32", None),
        ("float32", "float32", None),
        ("int16", "int16", None),
        ("webm", "webm", b"\x1a\x45\xdf\xa3"),
    ],
)
def test_a_wav_is_sent_as_asked(
    send: str, audio_format: str, first: bytes | None
) -> None:
    named, chunks = recording_chunks(DATA / "speech/commands.wav", send)
    assert named == audio_format
    data = b"".join(chunk.data for chunk in chunks)
    if first:
        assert data.startswith(first)
    else:
        width = {"float32": 4, "int16": 2}[audio_format]
        assert len(data) == pytest.approx(7.4 * 16000 * width, rel=0.01)


@pytest.mark.parametrize("send", ["auto", "webm"])
def test_a_webm_file_is_sent_as_it_is(send: str, tmp_path: Path) -> None:
    media = (DATA / "browser/firefox_webm_250/media.bin").read_bytes()
    path = tmp_path / "recorded.WEBM"
    path.write_bytes(media)
    named, chunks = recording_chunks(path, send)
    assert named == "webm"
    assert b"".join(chunk.data for chunk in chunks) == media


def test_a_missing_file_is_found_before_a_server_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["stream", "absent.wav"]) == 2
    assert capsys.readouterr().err == "whisper-live: no such file: absent.wav\n"


def test_a_file_that_is_no_audio_is_found_before_a_server_is_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("not audio at all\n" * 100)
    argv = ["stream", str(path), "--url", "ws://127.0.0.1:1"]
    assert cli.main(argv) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"whisper-live: {path}: The file is not audio or video")
    assert complaint.count("\n") == 1
