"""How long after a question's last word its answer is first heard, over many turns.

``python -m bench.voice_loop --turns 20``: one conversation in real time, all on this
machine. With ``--barge-in`` each question is spoken into the answer before it, and it
is measured how long that is still heard. Questions are spoken by Piper and heard by the
model of ``--model``; answers are spoken by Piper. The language model is a stand-in: an
OpenAI-compatible server that says the same sentences to everything, its first token
after ``--first-token-s`` and then ``--tokens-per-s``. Sounds are timed where a
loudspeaker would take them, words where they begin and end in the samples that were
sent.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from bench.voice_picture import picture
from whisper_live.audio import FRAME_SAMPLES, SAMPLE_RATE, Samples, samples_to_s
from whisper_live.client import LiveClient
from whisper_live.config.model import Config, EngineConfig, ListenConfig, SpeechConfig
from whisper_live.server.process import load_engine
from whisper_live.server.server import Server
from whisper_live.testing.chat import Chat, serving
from whisper_live.voice.conversation import Conversation, Outcome
from whisper_live.voice.language_model import ChatEndpoint
from whisper_live.voice.loop import VoiceLoop
from whisper_live.voice.player import BLOCK_S, PacedPlayer
from whisper_live.voice.report import Report
from whisper_live.voice.source import recording
from whisper_live.voice.speech import PiperSpeech, Sound, Speech
from whisper_live.voice.stages import Moments, Stage

__all__ = ["Turn", "interrupt", "main", "measure", "questions"]

QUESTIONS = (
    "What will the weather be like tomorrow?",
    "How far is it from here to the station?",
    "Can you tell me when the museum opens?",
    "Which train should I take in the morning?",
    "Who wrote the book on the table?",
    "How many people live in this town?",
    "Where can I buy fresh bread around here?",
    "What is the best way to cook rice?",
    "Is the library open on Sunday afternoon?",
    "How long does it take to learn to swim?",
)
ANSWER = "That is a good question. I will look it up for you."
_BEFORE_S = 1.0  # silence before a question
_QUIET = 0.02  # of the loudest sample: what is below is no word any more


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer; seconds."""

    question: str
    response_s: float  # from the last word's last sample to the first sound
    stages: tuple[Stage, ...]  # as the loop counts them

    @property
    def parts_s(self) -> float:
        """All stages together."""
        return sum(stage.duration_s for stage in self.stages)


@dataclass(frozen=True, slots=True)
class _Spoken:
    """When a question was said, by the loop's clock."""

    began: float
    ended: float


class _Kept(Report):
    """Keeps the moments of each answer that was heard, and when its sound was."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self.turns: list[Moments] = []
        self.sounds: dict[int, list[float]] = {}  # by the number of turns before

    def turn(self, outcome: Outcome, moments: Moments) -> None:
        super().turn(outcome, moments)
        if moments.heard is not None:
            self.turns.append(moments)

    def sink(self, pcm: bytes, rate: int) -> None:
        """A block of sound is heard."""
        self.sounds.setdefault(len(self.turns), []).append(self._clock())


Pieces = Callable[[_Kept], Iterator[Samples]]


class _Silent:
    """Shows nothing."""

    def question(self, text: str) -> None:
        """Not shown."""

    def answer(self, sentence: str) -> None:
        """Not shown."""


def questions(sounds: Sequence[Sound]) -> list[Samples]:
    """The questions as a microphone hears them, from first word to last."""
    heard = []
    for sound in sounds:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        frame = av.AudioFrame.from_ndarray(
            sound.samples[None], format="flt", layout="mono"
        )
        frame.sample_rate = sound.rate
        frames = [*resampler.resample(frame), *resampler.resample(None)]
        samples = np.concatenate([each.to_ndarray()[0] for each in frames])
        loud = np.flatnonzero(np.abs(samples) > _QUIET * np.abs(samples).max())
        heard.append(samples[loud[0] : loud[-1] + 1])
    return heard


@asynccontextmanager
async def _talk(
    config: Config, chat: Chat, speech: Speech
) -> AsyncIterator[Callable[[Pieces], Awaitable[_Kept]]]:
    """What holds one conversation, with everything around it."""
    engine, detector = await asyncio.to_thread(load_engine, config, print)
    async with (
        serving({"/v1/chat/completions": chat.answer}) as llm_url,
        Server(config, engine=engine, detector=detector) as server,
    ):

        async def talk(pieces: Pieces) -> _Kept:
            report = _Kept(asyncio.get_running_loop().time)
            model = ChatEndpoint(llm_url, model="stand-in")
            loop = VoiceLoop(
                Conversation(),
                model=model,
                speech=speech,
                player=PacedPlayer(report.sink),
                screen=_Silent(),
                report=report,
                clock=asyncio.get_running_loop().time,
            )
            client = LiveClient(
                f"ws://127.0.0.1:{server.port}",
                audio_format="int16",
                language="en",
                latency=config.speech.latency,
                turn_events=True,
            )
            async with client, client.feeding(recording(pieces(report))):
                await loop.run(client)
            await model.close()
            return report

        yield talk


async def measure(
    config: Config, chat: Chat, speech: Speech, texts: Sequence[str]
) -> list[Turn]:
    """One conversation of these questions; each waits for the answer before it."""
    spoken = questions([await speech.synthesise(text) for text in texts])
    times: list[_Spoken] = []

    def pieces(report: _Kept) -> Iterator[Samples]:
        return _pieces(spoken, times, lambda n: len(report.turns) >= n)

    async with _talk(config, chat, speech) as talk:
        report = await talk(pieces)
    return [
        Turn(text, report.sounds[n][0] - times[n].ended, tuple(moments.stages()))
        for n, (text, moments) in enumerate(zip(texts, report.turns, strict=True))
    ]


async def interrupt(
    config: Config, chat: Chat, speech: Speech, texts: Sequence[str]
) -> list[float]:
    """For how long each answer is heard into which the next question is spoken.

    Seconds from the question's first word.
    """
    spoken = questions([await speech.synthesise(text) for text in texts])
    times: list[_Spoken] = []

    def pieces(report: _Kept) -> Iterator[Samples]:
        return _pieces(spoken, times, lambda n: bool(report.sounds.get(n - 1)))

    async with _talk(config, chat, speech) as talk:
        report = await talk(pieces)
    return [
        report.sounds[n][-1] + BLOCK_S - times[n + 1].began
        for n in range(len(texts) - 1)
    ]


def _pieces(
    spoken: Sequence[Samples], times: list[_Spoken], may_go_on: Callable[[int], bool]
) -> Iterator[Samples]:
    """A question, silence until the next may be said, a second more, and so on.

    ``times`` are when they are heard; ``may_go_on`` is told how many were said.
    """
    start = asyncio.get_running_loop().time()
    position = 0

    def quiet() -> Samples:
        nonlocal position
        position += FRAME_SAMPLES
        return np.zeros(FRAME_SAMPLES, np.float32)

    for number, samples in enumerate(spoken, 1):
        for _ in range(int(_BEFORE_S * SAMPLE_RATE) // FRAME_SAMPLES):
            yield quiet()
        began = start + samples_to_s(position)
        position += len(samples)
        times.append(_Spoken(began, start + samples_to_s(position)))
        yield samples
        while not may_go_on(number):
            yield quiet()


# -------------------------------------------------------------------------- the command


def main(argv: Sequence[str] | None = None) -> None:
    """Run a conversation and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--draw", metavar="FILE.svg", help="where the time went")
    parser.add_argument("--barge-in", action="store_true")
    parser.add_argument("--model", default="tiny.en")
    parser.add_argument("--latency", default="balanced")
    parser.add_argument("--first-token-s", type=float, default=0.3)
    parser.add_argument("--tokens-per-s", type=float, default=30.0)
    arguments = parser.parse_args(argv)
    print("the language model is a stand-in; speech, hearing and voice are real")
    config = Config(
        listen=ListenConfig(port=0, http_port=0),
        engine=EngineConfig(model=arguments.model),
        speech=SpeechConfig(latency=arguments.latency),
    )
    chat = Chat(
        [f"{word} " for word in ANSWER.split()],
        first_s=arguments.first_token_s,
        pace_s=1 / arguments.tokens_per_s,
    )
    texts = [QUESTIONS[n % len(QUESTIONS)] for n in range(arguments.turns)]
    speech = PiperSpeech.load()
    if arguments.barge_in:
        heard = asyncio.run(interrupt(config, chat, speech, texts))
        print(f"an answer is heard into the next question: {_spread(heard)}")
        return
    turns = asyncio.run(measure(config, chat, speech, texts))
    print("\n".join(_lines(turns)))
    if arguments.draw:
        title = (
            f"From the last word to the first sound, {arguments.model}, p50 of turns"
        )
        Path(arguments.draw).write_text(picture(_median(turns), title))


def _median(turns: Sequence[Turn]) -> list[Stage]:
    """Stages of median length, one after the other."""
    lengths: dict[str, list[float]] = {}
    for turn in turns:
        for stage in turn.stages:
            lengths.setdefault(stage.name, []).append(stage.duration_s)
    found, end = [], 0.0
    for name, seconds in lengths.items():
        begin, end = end, end + statistics.median(seconds)
        found.append(Stage(name, begin, end))
    return found


def _spread(times: Sequence[float]) -> str:
    p95 = sorted(times)[min(int(len(times) * 0.95), len(times) - 1)]
    return (
        f"{len(times)} turns, p50 {statistics.median(times):.3f} s, p95 {p95:.3f} s, "
        f"worst {max(times):.3f} s"
    )


def _lines(turns: Sequence[Turn]) -> Iterator[str]:
    for turn in turns:
        parts = ", ".join(f"{s.name} {s.duration_s:.3f}" for s in turn.stages)
        yield f"{turn.response_s:.3f} s = {turn.parts_s:.3f} s ({parts})"
    off = max(abs(turn.response_s - turn.parts_s) for turn in turns)
    yield f"last word to first sound: {_spread([turn.response_s for turn in turns])}"
    yield f"stages add up to it within {off:.3f} s"


if __name__ == "__main__":
    main()
