"""Whose turn it is, and what becomes of an answer: the voice loop's state machine.

Owns the turn's text, the one reply that may be under way, and what was said before.
Events go in, effects come out; there is no clock in it and nothing that waits.

    LISTENING --turn probably over, there is text--> PREPARING: Ask
        ^  ^                                          |     |
        |  '--speech goes on: Withdraw----------------'     | turn ended: Play
        |                                                   v
        '--all is said: Done; or speech: Withdraw------- ANSWERING

A turn's text is joined over its pauses.  While no sentence of the answer was heard
to its end, speech that goes on belongs to the same turn, so that a speaker who pauses
and goes on gets one answer, to the whole.  Later it is a turn of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from whisper_live.session.updates import SpeechMoment
from whisper_live.voice.sentences import Sentences
from whisper_live.voice.wording import wording

__all__ = [
    "Ask",
    "ChatMessage",
    "Conversation",
    "Done",
    "Effect",
    "Outcome",
    "Phase",
    "Play",
    "Said",
    "Speak",
    "StopAsking",
    "Tell",
    "Withdraw",
]


class Phase(enum.Enum):
    """Whose turn it is."""

    LISTENING = "listening"  # there is no reply
    PREPARING = "preparing"  # one is made and not yet heard: the speaker may go on
    ANSWERING = "answering"  # the turn is over: it is heard as soon as it is there


class Outcome(enum.Enum):
    """What became of a reply."""

    ANSWERED = "answered"  # said to its end
    INTERRUPTED = "interrupted"  # the speaker spoke into it
    WITHDRAWN = "withdrawn"  # before a sentence of it was heard: the turn went on
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the conversation, as language models take them."""

    role: str  # "system", "user" or "assistant"
    content: str


@dataclass(frozen=True, slots=True)
class Said:
    """A stretch of the speaker's text; times in seconds of the audio."""

    start_s: float
    end_s: float
    text: str

    def is_behind(self, at_s: float) -> bool:
        """Whether it is said behind this position, its limits being a little vague."""
        return (self.start_s + self.end_s) / 2 > at_s


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the language model; its answer comes as tokens of this reply."""

    reply: int
    messages: tuple[ChatMessage, ...]


@dataclass(frozen=True, slots=True)
class StopAsking:
    """The answer is long enough: no more tokens; what there is of it is still said."""

    reply: int


@dataclass(frozen=True, slots=True)
class Speak:
    """Turn this sentence, the reply's next one, into sound."""

    reply: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Play:
    """The reply may be heard from now on; the turn that it answers is over."""

    reply: int
    question: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Stop everything of this reply, its sound first."""

    reply: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Done:
    """The reply is over by itself."""

    reply: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Tell:
    """Show the person a sentence about what went wrong; ``kind`` is for counters."""

    kind: str
    sentence: str


Effect = Ask | StopAsking | Speak | Play | Withdraw | Done | Tell


@dataclass(slots=True)
class _Turn:
    """What the speaker says until it is answered."""

    from_s: float = 0.0  # text up to here belongs to an earlier turn
    to_s: float = 0.0  # where the speaker last paused or ended
    completed: list[Said] = field(default_factory=list)
    interim: Said | None = None
    is_settled: bool = False  # no word of the text will change, as far as is known
    has_ended: bool = False
    given_up: tuple[str, ...] | None = None  # words that no answer was to be had to

    @property
    def text(self) -> str:
        parts = [*self.completed, *([self.interim] if self.interim else [])]
        return " ".join(filter(None, (part.text.strip() for part in parts)))


@dataclass(slots=True)
class _Reply:
    """One answer on its way."""

    number: int
    question: str
    divider: Sentences = field(default_factory=Sentences)
    sentences: list[str] = field(default_factory=list)
    characters: int = 0
    heard: int = 0  # sentences, to their end
    is_written: bool = False  # no more tokens come
    has_failed_speech: bool = False  # and the person was told


class Conversation:
    """One speaker and one language model, taking turns."""

    def __init__(
        self, *, system: str = "", most_characters: int = 2000, remembered: int = 10
    ) -> None:
        """``remembered`` questions with their answers are sent with the next one."""
        self._system = system
        self._most_characters = most_characters
        self._remembered = remembered
        self._history: list[ChatMessage] = []
        self._turn = _Turn()
        self._reply: _Reply | None = None
        self._replies = 0
        self._is_closed = False
        self.phase = Phase.LISTENING

    # --------------------------------------------------------------- what is heard

    def on_speech(self, moment: SpeechMoment, at_s: float) -> list[Effect]:
        """The speaker began, paused or ended, at this second of the audio."""
        match moment:
            case SpeechMoment.STARTED | SpeechMoment.RESUMED:
                return self._speech_goes_on(at_s)
            case SpeechMoment.STOPPED:
                return []
            case SpeechMoment.TURN_PROBABLY_OVER:
                self._turn.to_s = at_s
                self._turn.is_settled = True
                return self._ask_if_new()
            case SpeechMoment.TURN_ENDED:
                self._turn.to_s = at_s
                self._turn.has_ended = True
                self._turn.is_settled |= self._turn.interim is None
                return self._answer()

    def on_text(
        self, completed: Sequence[Said], interim: Said | None = None
    ) -> list[Effect]:
        """Text that is new and will not change, and the text that may."""
        turn = self._turn
        turn.completed += [each for each in completed if each.is_behind(turn.from_s)]
        is_ours = interim is not None and interim.is_behind(turn.from_s)
        turn.interim = interim if is_ours else None
        if not turn.has_ended:
            return []
        turn.is_settled |= turn.interim is None
        return self._answer()

    def _speech_goes_on(self, at_s: float) -> list[Effect]:
        if self._turn.given_up is not None and self._turn.has_ended:
            self._turn = _Turn(from_s=at_s)  # who asks again is answered only once
        self._turn.is_settled = self._turn.has_ended = False
        reply = self._reply
        if reply is None:
            return []
        if not reply.heard:
            return self._end_reply(Outcome.WITHDRAWN)
        # The sentence that was cut off is taken for said: the model must not repeat it.
        self._remember(reply.question, reply.sentences[: reply.heard + 1])
        self._turn = _Turn(from_s=at_s)
        return self._end_reply(Outcome.INTERRUPTED)

    def _answer(self) -> list[Effect]:
        """The turn has ended: its text, if it is known, is to be answered aloud."""
        if not self._turn.is_settled:
            return []
        effects = self._ask_if_new()
        if self._reply is not None and self.phase is Phase.PREPARING:
            self.phase = Phase.ANSWERING
            effects.append(Play(self._reply.number, self._reply.question))
        return effects

    def _ask_if_new(self) -> list[Effect]:
        """Ask for an answer to the turn's text, unless one to these words is made."""
        question = self._turn.text
        words = wording(question)
        if self._is_closed or words == self._turn.given_up:
            return []
        effects: list[Effect] = []
        if self._reply is not None:
            if wording(self._reply.question) == words or self._reply.heard:
                return []
            effects += self._end_reply(Outcome.WITHDRAWN)
        if not words:
            return effects
        self._replies += 1
        self._reply = _Reply(self._replies, question)
        self.phase = Phase.PREPARING
        return [*effects, Ask(self._replies, self._messages(question))]

    def _messages(self, question: str) -> tuple[ChatMessage, ...]:
        system = [ChatMessage("system", self._system)] if self._system else []
        return (*system, *self._history, ChatMessage("user", question))

    def on_end(self) -> list[Effect]:
        """There is no more audio: what was said last is still answered."""
        self._turn.has_ended = self._turn.is_settled = True
        return self._answer()

    def close(self) -> list[Effect]:
        """Say no more, whatever is heard from now on."""
        self._is_closed = True
        return [] if self._reply is None else self._end_reply(Outcome.INTERRUPTED)

    # ---------------------------------------------------------------- what is answered

    def on_token(self, reply: int, text: str) -> list[Effect]:
        """The next piece of the model's answer."""
        current = self._current(reply)
        if current is None or current.is_written:
            return []
        current.characters += len(text)
        effects = self._speak(current, current.divider.push(text))
        if current.characters <= self._most_characters:
            return effects
        current.is_written = True
        effects += self._speak(current, current.divider.finish())
        effects += [
            StopAsking(reply),
            Tell("answer_too_long", "the answer is too long: it is cut here"),
        ]
        return effects + self._end_if_said(current)

    def on_answer_end(self, reply: int) -> list[Effect]:
        """The model has said all."""
        current = self._current(reply)
        if current is None or current.is_written:
            return []
        current.is_written = True
        effects = self._speak(current, current.divider.finish())
        return effects + self._end_if_said(current)

    def on_answer_failure(self, reply: int, kind: str, sentence: str) -> list[Effect]:
        """The model gave up; whole sentences that came before are still said."""
        current = self._current(reply)
        if current is None or current.is_written:
            return []
        current.is_written = True
        if current.sentences:
            return [Tell(kind, sentence), *self._end_if_said(current)]
        return [Tell(kind, sentence), *self._fail()]

    def on_speech_failure(self, reply: int, kind: str, sentence: str) -> list[Effect]:
        """A sentence could not be made sound; the person is told once for a reply."""
        current = self._current(reply)
        if current is None or current.has_failed_speech:
            return []
        current.has_failed_speech = True
        return [Tell(kind, sentence)]

    def on_sentence_heard(self, reply: int) -> list[Effect]:
        """The reply's next sentence was played, or shown, to its end."""
        current = self._current(reply)
        if current is None:
            return []
        current.heard += 1
        return self._end_if_said(current)

    def on_reply_lost(self, reply: int) -> list[Effect]:
        """Something of our own failed: the reply is given up, the conversation not."""
        if self._current(reply) is None:
            return []
        told = Tell("internal", "the answer failed; the log says why")
        return [told, *self._fail()]

    # -------------------------------------------------------------------------- inside

    def _current(self, reply: int) -> _Reply | None:
        """The reply under way, if it is this one; what comes of others is too late."""
        if self._reply is None or self._reply.number != reply:
            return None
        return self._reply

    def _speak(self, reply: _Reply, sentences: Sequence[str]) -> list[Effect]:
        reply.sentences += sentences
        return [Speak(reply.number, sentence) for sentence in sentences]

    def _end_if_said(self, reply: _Reply) -> list[Effect]:
        if not reply.is_written or reply.heard < len(reply.sentences):
            return []
        if not reply.sentences:
            empty = Tell("empty_answer", "the language model answered nothing")
            return [empty, *self._fail()]
        self._remember(reply.question, reply.sentences)
        self._turn = _Turn(from_s=self._turn.to_s)
        self._reply = None
        self.phase = Phase.LISTENING
        return [Done(reply.number, Outcome.ANSWERED)]

    def _fail(self) -> list[Effect]:
        """Give the reply up; the speaker may go on, and is answered then."""
        assert self._reply is not None, "there is a reply that fails"
        number = self._reply.number
        self._turn.given_up = wording(self._reply.question)
        self._reply = None
        self.phase = Phase.LISTENING
        return [Done(number, Outcome.FAILED)]

    def _end_reply(self, outcome: Outcome) -> list[Effect]:
        assert self._reply is not None, "there is a reply to be withdrawn"
        number = self._reply.number
        self._reply = None
        self.phase = Phase.LISTENING
        return [Withdraw(number, outcome)]

    def _remember(self, question: str, sentences: Sequence[str]) -> None:
        self._history += [
            ChatMessage("user", question),
            ChatMessage("assistant", " ".join(sentences)),
        ]
        del self._history[: max(len(self._history) - 2 * self._remembered, 0)]
