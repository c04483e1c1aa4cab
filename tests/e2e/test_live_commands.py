"""``stream``, ``listen`` and ``mic``, from their sources to text, with a server."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from tests import sites
from tests.e2e.relay import Relay
from tests.e2e.support import running
from tests.sound import Sound
from whisper_live import cli
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client import microphone as microphone_module
from whisper_live.commands import listen, mic, stream
from whisper_live.testing.marks import read_numbers, write_speech


def arguments(*argv: str) -> argparse.Namespace:
    return cli.build_parser().parse_args([*argv, "--language", "en"])


def speech(*utterances: list[int]) -> Samples:
    """With marks that lossy codecs leave readable."""
    return write_speech(utterances, lead_s=0.0, variant="robust")[0]


async def pressed_when(path: Path, pattern: str) -> None:
    """Press Ctrl-C once the file has what is waited for."""
    while not (path.exists() and re.search(pattern, path.read_text(), re.DOTALL)):
        await asyncio.sleep(0.02)
    signal.raise_signal(signal.SIGINT)


def numbers(path: Path) -> list[int]:
    return read_numbers(" ".join(path.read_text().split()))


async def test_a_station_that_breaks_off_goes_on_in_the_same_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sites.encoded(tmp_path / "a.ogg", "libopus", speech([1, 2], [3]))
    out = tmp_path / "said.txt"
    with sites.site() as site:
        site.pages["/radio"] = (tmp_path / "a.ogg").read_bytes()
        site.endless.add("/radio")
        options = arguments("listen", f"{site.url}/radio", "--output", str(out))
        async with running() as server:
            place = f"ws://127.0.0.1:{server.port}"
            press = asyncio.create_task(pressed_when(out, "3.*3"))
            await listen._listen(place, options)
            await press
    heard = numbers(out)
    assert heard[:6] == [1, 2, 3, 1, 2, 3]
    shown = capsys.readouterr()
    assert "final" in shown.out
    assert f"{site.url}/radio broke off (" in shown.err
    assert "the source is there again" in shown.err


async def test_a_camera_that_breaks_off_is_heard_on(tmp_path: Path) -> None:
    """Its subtitles show how long it was away."""
    out = tmp_path / "said.vtt"
    first = speech([1, 2])
    with sites.camera(first, speech([3, 4], [5])) as url:
        options = arguments("listen", url, "--format", "vtt", "--output", str(out))
        async with running() as server:
            place = f"ws://127.0.0.1:{server.port}"
            # The newest cue is held back, so that this one is not the last.
            press = asyncio.create_task(pressed_when(out, "w3 w4"))
            await listen._listen(place, options)
            await press
    cues = re.findall(r"(\S+) --> \S+\n(.*)\n", out.read_text())
    assert [text for _, text in cues] == ["w1 w2", "w3 w4", "w5"]
    # Away for 0.25 to 0.5 s; libav may keep the last tenth of a second to itself.
    heard_again_s = len(first) / SAMPLE_RATE + 0.25 - 0.1
    assert cues[1][0] >= f"00:00:0{heard_again_s:.3f}"


async def test_a_playlist_with_an_end_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "hls"
    folder.mkdir()
    with sites.site() as site:
        url = sites.playlist(site, folder, speech([1, 2])[: -SAMPLE_RATE // 2])
        options = arguments("listen", url, "--format", "jsonl")
        async with running() as server:
            await listen._listen(f"ws://127.0.0.1:{server.port}", options)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    done = [each["text"] for line in lines for each in line.get("completed", ())]
    assert read_numbers(" ".join(done)) == [1, 2]
    assert lines[-1] == {"end": "finished"}


async def test_a_microphone_is_heard_until_ctrl_c(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = Sound(write_speech([[1, 2], [3]])[0])
    monkeypatch.setattr(microphone_module, "_library", lambda: sound)
    out = tmp_path / "said.jsonl"
    options = arguments(
        *("mic", "--device", "2", "--format", "jsonl", "--output", str(out))
    )
    async with running() as server:
        press = asyncio.create_task(pressed_when(out, '"w3"}'))
        await mic._listen(f"ws://127.0.0.1:{server.port}", options)
        await press
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    done = [each["text"] for line in lines for each in line.get("completed", ())]
    assert read_numbers(" ".join(done)) == [1, 2, 3]
    assert lines[-1] == {"end": "finished"}
    assert sound.opened[0]["device"] == 2 and sound.closed == 1
    shown = capsys.readouterr()
    assert re.findall(r"final +(.*?)  \[", shown.out) == ["w1 w2", "w3"]


async def test_a_recording_goes_on_in_the_same_file_where_the_connection_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoken, out = [[n, n + 1] for n in range(0, 12, 2)], tmp_path / "said.txt"
    sites.encoded(tmp_path / "a.wav", "pcm_f32le", write_speech(spoken)[0])
    options = arguments(
        *("stream", str(tmp_path / "a.wav"), "--output", str(out), "--speed", "16")
    )
    async with running() as server, Relay.running(server.port) as relay:

        async def cut() -> None:
            while not (out.exists() and "w1" in out.read_text()):
                await asyncio.sleep(0.02)
            relay.cut()

        cutting = asyncio.create_task(cut())
        place = f"ws://127.0.0.1:{relay.port}"
        await stream._stream(place, tmp_path / "a.wav", options)
        await cutting
    assert numbers(out) == list(range(12))
    told = capsys.readouterr().err
    assert "; trying again in " in told and "connected again" in told


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        (["listen", "ftp://x/a"], 2, "ftp://x/a begins with none of http, https, rtsp"),
        (["listen", "absent.mp3"], 2, "no such file: absent.mp3; an address begins"),
        (["mic", "--output", "/none/a.txt"], 2, "cannot write /none/a.txt: No such"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    argv: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == code
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"whisper-live: {sentence}")
    assert complaint.count("\n") == 1


def test_devices_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone_module, "_library", Sound)
    assert cli.main(["mic", "--list-devices"]) == 0
    assert capsys.readouterr().out == "  1  Webcam  (default)\n  2  Headset\n"


def test_the_meter_is_empty_at_60_db_below_full() -> None:
    sizes = [0.0, 1e-9, 10**-1.5, 1.0, 2.0]
    levels = [mic.loudness(np.full(800, size, np.float32)) for size in sizes]
    assert levels == pytest.approx([0, 0, 0.5, 1, 1])
