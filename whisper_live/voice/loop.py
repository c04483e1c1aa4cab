"""The voice loop: what is heard goes in, effects of the conversation are carried out.

Owns the tasks of the reply under way, their time limits, and the moments of its
stages.  What follows from what is ``conversation``'s affair; models, voices and players
are whatever it is given.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from whisper_live.audio import samples_to_s
from whisper_live.client.events import (
    Disconnected,
    Final,
    Heard,
    News,
    Reconnected,
    Warned,
)
from whisper_live.errors import WhisperLiveError
from whisper_live.session.updates import Segment, SpeechMoment
from whisper_live.voice.cache import Cache
from whisper_live.voice.conversation import (
    Ask,
    ChatMessage,
    Conversation,
    Done,
    Effect,
    Outcome,
    Play,
    Said,
    Speak,
    StopAsking,
    Tell,
    Withdraw,
)
from whisper_live.voice.language_model import LanguageModel
from whisper_live.voice.player import Player
from whisper_live.voice.report import Report
from whisper_live.voice.speech import Sound, Speech
from whisper_live.voice.stages import Moments
from whisper_live.voice.wording import wording

__all__ = ["NewsSource", "Limits", "Screen", "VoiceLoop"]

log = logging.getLogger("whisper_live.voice")

# The silence after which a server tells that speech has stopped (docs/wire.md), and for
# how long before it the detector still hears a voice that has ended: 30 ms in the mean
# of ten questions, 4 to 50 ms, for it judges frames of 32 ms.
PAUSE_S = 0.16 + 0.03
# For so long after its end a sound is still in the card's buffer, or in the room.
_ECHO_S = 0.3
_SOUNDS_AHEAD = 2  # made while another one is heard


class NewsSource(Protocol):
    """Whoever hears: a ``LiveClient`` whose handshake asked for ``turn_events``."""

    async def hear(self) -> News | None:
        """The next news; None at the end."""
        ...


class Screen(Protocol):
    """Who sees the conversation as text."""

    def question(self, text: str) -> None:
        """What the speaker said in a turn that is answered now."""
        ...

    def answer(self, sentence: str) -> None:
        """A sentence of the answer, as its sound begins."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the loop waits for others."""

    token_s: float = 10.0  # for the next piece of an answer
    speech_s: float = 10.0  # for the sound of a sentence


@dataclass(slots=True)
class _Reply:
    """One answer on its way: what passes between its tasks."""

    number: int
    messages: Sequence[ChatMessage]
    moments: Moments
    # Not bounded by itself: the conversation ends an answer that is too long.
    sentences: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)
    sounds: asyncio.Queue[tuple[str, Sound | None] | None] = field(
        default_factory=lambda: asyncio.Queue(_SOUNDS_AHEAD)
    )
    may_be_heard: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    asking: asyncio.Task[None] | None = None
    is_mute: bool = False  # its speech failed: the rest of it is shown


class VoiceLoop:
    """One conversation.  ``run`` it once; everything happens in its event loop."""

    def __init__(
        self,
        conversation: Conversation,
        *,
        model: LanguageModel,
        speech: Speech | None,
        player: Player,
        screen: Screen,
        report: Report,
        cache: Cache[Any] | None = None,
        owner: str = "",
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without ``speech`` answers are shown only.

        ``owner`` is who may have what the ``cache`` holds from this conversation.
        """
        self._conversation = conversation
        self._model, self._speech, self._player = model, speech, player
        self._screen, self._report = screen, report
        self._cache, self._owner = cache, owner
        self._limits = limits
        self._clock = clock
        self._reply: _Reply | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._speech_ended = 0.0
        self.live_text: list[str] = []  # completed, of the whole conversation
        self._is_playing = False
        self._played_at = -_ECHO_S

    @property
    def is_sounding(self) -> bool:
        """Whether a microphone may hear the player, now or as an echo."""
        return self._is_playing or self._clock() - self._played_at < _ECHO_S

    async def run(self, source: NewsSource) -> Final | None:
        """Until all is heard and answered; the final transcript, if it came.

        Raises what ``source`` raises.
        """
        final = None
        try:
            while (news := await source.hear()) is not None:
                match news:
                    case Heard():
                        self._take(news)
                    case Final():
                        final = news
                    case Warned(text):
                        self._report.failure("server_warning", text)
                    case Disconnected(reason, retry_s):
                        told = f"{reason}; the next try is in {retry_s:.1f} s"
                        self._report.failure("disconnected", told)
                    case Reconnected():
                        log.info("connected again")
            self._perform(self._conversation.on_end())
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        return final

    def stop_answering(self) -> None:
        """Answer nothing any more; what is heard is still written down."""
        self._perform(self._conversation.close())

    # ------------------------------------------------------------------ what is heard

    def _take(self, heard: Heard) -> None:
        update = heard.update
        if (speech := update.speech) is not None:
            at_s = samples_to_s(speech.at)
            if speech.moment is SpeechMoment.STOPPED:
                ago_s = heard.at_s - at_s + PAUSE_S
                self._speech_ended = self._clock() - ago_s
            self._perform(self._conversation.on_speech(speech.moment, at_s))
        if not heard.has_segments:
            return
        self.live_text += [segment.text.strip() for segment in update.completed]
        interim = None if update.interim is None else _said(update.interim)
        completed = [_said(segment) for segment in update.completed]
        self._perform(self._conversation.on_text(completed, interim))

    # ------------------------------------------------------------------------ effects

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Ask(number, messages):
                    self._start(number, messages)
                case Speak(number, sentence):
                    reply = self._current(number)
                    reply.moments.mark("first_sentence", self._clock())
                    reply.sentences.put_nowait(sentence)
                case Play(number, question):
                    self._screen.question(question)
                    self._current(number).may_be_heard.set()
                case StopAsking(number):
                    asking = self._current(number).asking
                    assert asking is not None, "its tokens came from there"
                    asking.cancel()
                case Withdraw(number, outcome) | Done(number, outcome):
                    self._finish(number, outcome)
                case Tell(kind, sentence):
                    self._report.failure(kind, sentence)

    def _current(self, number: int) -> _Reply:
        reply = self._reply
        assert reply is not None and reply.number == number, "effects name the current"
        return reply

    def _start(self, number: int, messages: Sequence[ChatMessage]) -> None:
        moments = Moments(self._speech_ended)
        moments.mark("asked", self._clock())
        reply = self._reply = _Reply(number, messages, moments)
        reply.task = asyncio.create_task(self._run_reply(reply))
        self._tasks.add(reply.task)
        reply.task.add_done_callback(self._tasks.discard)

    def _finish(self, number: int, outcome: Outcome) -> None:
        reply = self._current(number)
        self._reply = None
        if outcome is not Outcome.ANSWERED:
            assert reply.task is not None, "it was started"
            reply.task.cancel()
        self._report.turn(outcome, reply.moments)

    # ---------------------------------------------------------------------- one reply

    async def _run_reply(self, reply: _Reply) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                reply.asking = group.create_task(self._ask(reply))
                group.create_task(self._speak(reply))
                group.create_task(self._play(reply))
        except Exception:
            log.exception("an answer failed")
            self._perform(self._conversation.on_reply_lost(reply.number))

    async def _ask(self, reply: _Reply) -> None:
        talk, number = self._conversation, reply.number
        try:
            async for token in self._answer(reply.messages):
                reply.moments.mark("first_token", self._clock())
                self._perform(talk.on_token(number, token))
            self._perform(talk.on_answer_end(number))
        except TimeoutError:
            told = f"the language model said nothing for {self._limits.token_s:g} s"
            self._perform(talk.on_answer_failure(number, "llm_timeout", told))
        except WhisperLiveError as error:
            self._perform(talk.on_answer_failure(number, error.kind, str(error)))
        finally:
            reply.sentences.put_nowait(None)

    async def _answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[str]:
        """The model's pieces, or what the cache has of the same words."""
        said = tuple((each.role, wording(each.content)) for each in messages)
        key = ("answer", self._model.name, said)
        if (known := self._look_up("answer", key)) is not None:
            yield known
            return
        pieces = []
        async with aclosing(self._within_limit(messages)) as tokens:
            async for token in tokens:
                pieces.append(token)
                yield token
        whole = "".join(pieces)
        if self._cache is not None and whole.strip():
            size = len(whole.encode())
            self._cache.put(self._owner, key, whole, size, self._clock())

    async def _within_limit(
        self, messages: Sequence[ChatMessage]
    ) -> AsyncGenerator[str]:
        """The model's pieces; an empty one is none.  Raises ``TimeoutError``."""
        tokens = aiter(self._model.answer(messages))
        try:
            while True:
                token: str | None = ""
                async with asyncio.timeout(self._limits.token_s):
                    while token == "":
                        token = await anext(tokens, None)
                if token is None:
                    return
                yield token
        finally:
            if (close := getattr(tokens, "aclose", None)) is not None:
                await close()

    async def _speak(self, reply: _Reply) -> None:
        while (sentence := await reply.sentences.get()) is not None:
            sound = None
            if self._speech is not None and not reply.is_mute:
                sound = await self._sound_or_none(reply, self._speech, sentence)
            if sound is not None:
                reply.moments.mark("first_sound", self._clock())
            await reply.sounds.put((sentence, sound))
        await reply.sounds.put(None)

    async def _sound_or_none(
        self, reply: _Reply, speech: Speech, sentence: str
    ) -> Sound | None:
        try:
            async with asyncio.timeout(self._limits.speech_s):
                return await self._sound(speech, sentence)
        except TimeoutError:
            kind = "tts_timeout"
            told = f"a sentence had no sound after {self._limits.speech_s:g} s"
        except WhisperLiveError as error:
            kind, told = error.kind, str(error)
        self._silence(reply, kind, told)
        return None

    async def _sound(self, speech: Speech, sentence: str) -> Sound:
        # Not by its wording: a question sounds unlike a statement.
        key = ("speech", speech.name, " ".join(sentence.split()))
        known: Sound | None = self._look_up("speech", key)
        if known is not None:
            return known
        sound = await speech.synthesise(sentence)
        if self._cache is not None:
            size = sound.samples.nbytes
            self._cache.put(self._owner, key, sound, size, self._clock())
        return sound

    def _look_up(self, of: str, key: Any) -> Any:
        if self._cache is None:
            return None
        known = self._cache.get(self._owner, key, self._clock())
        self._report.metrics.looked_up(of, is_hit=known is not None)
        return known

    def _silence(self, reply: _Reply, kind: str, told: str) -> None:
        """The reply's speech failed: the rest of it is only shown."""
        reply.is_mute = True
        told = f"{told}; the answer is shown only"
        self._perform(self._conversation.on_speech_failure(reply.number, kind, told))

    async def _play(self, reply: _Reply) -> None:
        await reply.may_be_heard.wait()
        while (item := await reply.sounds.get()) is not None:
            sentence, sound = item
            self._screen.answer(sentence)
            if sound is not None and not reply.is_mute:
                await self._play_sound(reply, sound)
            else:
                self._hear(reply)
            self._perform(self._conversation.on_sentence_heard(reply.number))

    async def _play_sound(self, reply: _Reply, sound: Sound) -> None:
        self._is_playing = True
        try:
            await self._player.play(sound, lambda: self._hear(reply))
        except WhisperLiveError as error:
            self._silence(reply, error.kind, str(error))
        finally:
            self._is_playing = False
            self._played_at = self._clock()

    def _hear(self, reply: _Reply) -> None:
        reply.moments.mark("heard", self._clock())


def _said(segment: Segment) -> Said:
    start_s, end_s = samples_to_s(segment.start), samples_to_s(segment.end)
    return Said(start_s, end_s, segment.text.strip())
