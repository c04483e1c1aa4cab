"""Stand-ins for everything around the loop, all on the loop's own clock."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console

from whisper_live.audio import s_to_samples
from whisper_live.client.events import Final, Heard, News
from whisper_live.session.updates import Segment, SpeechEvent, SpeechMoment, Update
from whisper_live.voice.cache import Cache
from whisper_live.voice.conversation import ChatMessage, Conversation
from whisper_live.voice.language_model import AnswerError
from whisper_live.voice.loop import PAUSE_S, Limits, VoiceLoop
from whisper_live.voice.player import PacedPlayer
from whisper_live.voice.report import Report
from whisper_live.voice.speech import Sound, SpeechError

RATE = 16000
Script = Sequence[str | float | Exception]  # tokens, pauses in seconds, a failure


class Model:
    """Says a script for each question; the last one again and again."""

    name = "stand-in"

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.asked: list[tuple[ChatMessage, ...]] = []
        self.under_way = 0

    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[str]:
        script = self.script(messages[-1].content)
        self.asked.append(tuple(messages))
        self.under_way += 1
        try:
            for step in script:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.under_way -= 1

    def script(self, question: str) -> Script:
        return self._scripts[min(len(self.asked), len(self._scripts) - 1)]

    @property
    def questions(self) -> list[str]:
        return [messages[-1].content for messages in self.asked]


class Voice:
    """``sound_s`` of sound for each sentence, after ``takes_s``."""

    name = "stand-in"

    def __init__(
        self,
        takes_s: float = 0.1,
        error: SpeechError | None = None,
        *,
        sound_s: float = 1.0,
    ) -> None:
        self._takes_s, self._error = takes_s, error
        self._sound = Sound(np.full(int(RATE * sound_s), 0.5, np.float32), RATE)
        self.said: list[str] = []

    async def synthesise(self, sentence: str) -> Sound:
        self.said.append(sentence)
        await asyncio.sleep(self._takes_s)
        if self._error is not None:
            raise self._error
        return self._sound


@dataclass
class Seen:
    """What was shown and heard, and when."""

    lines: list[str] = field(default_factory=list)  # both sides, in order
    answers: list[str] = field(default_factory=list)
    blocks_at_s: list[float] = field(default_factory=list)  # of sound, as they began

    def question(self, text: str) -> None:
        self.lines.append(text)

    def answer(self, sentence: str) -> None:
        self.answers.append(sentence)
        self.lines.append(sentence)


class NewsSource:
    """News at set seconds of the audio."""

    def __init__(self, *news: tuple[float, News]) -> None:
        self._news = list(news)
        self.started = asyncio.get_running_loop().time()

    async def hear(self) -> News | None:
        if not self._news:
            return None
        at_s, news = self._news.pop(0)
        wait = self.started + at_s - asyncio.get_running_loop().time()
        await asyncio.sleep(max(wait, 0))
        return news


def speech(
    moment: SpeechMoment, at_s: float, told_s: float | None = None
) -> tuple[float, News]:
    """A turn event, told when it happened or at ``told_s``."""
    told_s = at_s if told_s is None else told_s
    event = SpeechEvent(moment, s_to_samples(at_s))
    return told_s, Heard(Update(speech=event), told_s, has_segments=False)


def text(
    at_s: float, words: str, start_s: float, end_s: float, *, completed: bool = False
) -> tuple[float, News]:
    """Text of a stretch of the audio, told at ``at_s``."""
    segment = Segment(
        s_to_samples(start_s), s_to_samples(end_s), f" {words}", completed
    )
    update = Update(completed=(segment,)) if completed else Update(interim=segment)
    return at_s, Heard(update, at_s, has_segments=True)


def turn(
    words: str, start_s: float, end_s: float, *, text_s: float, silence_s: float = 1.0
) -> list[tuple[float, News]]:
    """A whole turn: its last word ends at ``end_s``, its text comes at ``text_s``."""
    probably_s = max(text_s, end_s + PAUSE_S)
    return [
        speech(SpeechMoment.STARTED, start_s, start_s + 0.1),
        speech(SpeechMoment.STOPPED, end_s + PAUSE_S),
        text(probably_s, words, start_s, end_s),
        speech(SpeechMoment.TURN_PROBABLY_OVER, end_s + PAUSE_S, probably_s),
        speech(SpeechMoment.TURN_ENDED, end_s + 0.2, end_s + silence_s),
        text(end_s + silence_s, words, start_s, end_s, completed=True),
    ]


def never() -> tuple[float, News]:
    """So much later that everything else is over."""
    return 1000.0, Final("", (), 0.0, 0.0)


@dataclass
class Bench:
    """A loop with stand-ins around it."""

    model: Model
    voice: Voice | None = field(default_factory=Voice)
    cache: Cache[object] | None = None
    owner: str = ""
    limits: Limits = Limits()
    most_characters: int = 2000
    seen: Seen = field(default_factory=Seen)
    output: io.StringIO = field(default_factory=io.StringIO)
    sink: Callable[[bytes, int], None] | None = None

    def __post_init__(self) -> None:
        clock = asyncio.get_running_loop().time

        def heard(pcm: bytes, rate: int) -> None:
            self.seen.blocks_at_s.append(clock() - self.news.started)

        self.report = Report(console=Console(file=self.output, width=100))
        self.loop = VoiceLoop(
            Conversation(most_characters=self.most_characters),
            model=self.model,
            speech=self.voice,
            player=PacedPlayer(self.sink or heard),
            screen=self.seen,
            report=self.report,
            cache=self.cache,
            owner=self.owner,
            limits=self.limits,
            clock=clock,
        )

    async def hears(self, *news: tuple[float, News]) -> Final | None:
        """Run the loop on these news."""
        self.news = NewsSource(*news)
        return await self.loop.run(self.news)

    def count(self, name: str, **labels: str) -> float:
        """A sample of the metrics."""
        value = self.report.metrics.registry.get_sample_value(
            f"whisper_live_voice_{name}", labels
        )
        return 0.0 if value is None else value

    @property
    def told(self) -> str:
        """What stands on the console, line breaks aside."""
        return " ".join(self.output.getvalue().split())


def refuses() -> AnswerError:
    """As an endpoint that is not there."""
    return AnswerError("the language model at URL cannot be reached: is it running?")
