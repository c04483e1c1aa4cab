"""``whisper-live demo``: the whole path on this machine, from a recording to its words.

Starts a daemon with the model that ships with the package on a free port, streams the
bundled recording to it as a browser would, and compares what comes back with what was
said.  Needs no network and no settings.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from whisper_live.client.captions import Captions
from whisper_live.client.chunks import webm_file_chunks
from whisper_live.client.live import connect
from whisper_live.commands.stream import Screen, follow
from whisper_live.config.model import Config
from whisper_live.errors import ConfigError
from whisper_live.server.process import load_engine
from whisper_live.server.server import Server

__all__ = ["difference", "run"]

FOLDER = "data/demo-recording"


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Show the demonstration; 0 only if every word is right."""
    recording, text, times = map(_data, ("demo.webm", "demo.txt", "demo.words.json"))
    expected = text.read_text(encoding="utf-8")
    captions, screen = asyncio.run(_demonstrate(config, recording))
    heard = " ".join(caption.text for caption in captions.completed)
    wrong = difference(expected, heard)
    if wrong or captions.dropped:
        print(screen.summary())
        print(f"the words are not right ([-said-] {{+heard+}}): {wrong}")
        return 1
    print(_latency(screen, json.loads(times.read_text(encoding="utf-8"))))
    print(f"all {len(_words(expected))} words are right")
    return 0


def _data(name: str) -> Path:
    path = Path(str(resources.files("whisper_live"))) / FOLDER / name
    if not path.is_file():
        raise ConfigError(
            f"this installation lacks {FOLDER}/{name}; install the package again"
        )
    return path


async def _demonstrate(config: Config, recording: Path) -> tuple[Captions, Screen]:
    engine, detector = await asyncio.to_thread(load_engine, config, _say)
    async with Server(config, engine=engine, detector=detector) as server:
        url = f"ws://{config.listen.host}:{server.port}"
        _say(f"streaming {recording.name} to {url} in real time, as WebM/Opus")
        screen = Screen(sys.stdout)
        async with connect(url, audio_format="webm", language="en") as client:
            arrivals = client.stream(webm_file_chunks(recording))
            return await follow(arrivals, screen), screen


def _latency(screen: Screen, times: Sequence[Mapping[str, float]]) -> str:
    """Against the known times of the words, of which none is missing or wrong."""
    assert screen.first_at_s is not None, "there are words"
    words, waits_s = 0, []
    for at_s, caption in screen.finals:
        words += len(_words(caption.text))
        waits_s.append(at_s - times[words - 1]["end"])
    return (
        f"first text {screen.first_at_s - times[0]['start']:.2f} s after speech began; "
        f"lines settled {statistics.median(waits_s):.2f} s after their last word "
        f"(worst {max(waits_s):.2f})"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _words(text: str) -> list[str]:
    """Words alone: neither case nor punctuation is something that was said."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def difference(expected: str, heard: str) -> str:
    """The text with what is wrong in it marked; empty if the words are the same."""
    said, got = _words(expected), _words(heard)
    if said == got:
        return ""
    marks = {"  ": "{}", "- ": "[-{}-]", "+ ": "{{+{}+}}"}
    lines = (line for line in difflib.ndiff(said, got) if line[:2] in marks)
    return " ".join(marks[line[:2]].format(line[2:]) for line in lines)
