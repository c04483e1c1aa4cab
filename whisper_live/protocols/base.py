"""What a client can say and what it can be told, whatever its protocol.

The one door between wires and sessions.  A protocol reads a client's messages into the
``ClientMessage`` types and renders a session's ``Update`` into messages of its own.  An
instance belongs to one client and remembers what its wire needs remembered; it does no
I/O and reads no clock.  Errors become messages and close codes here as well.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from whisper_live.audio import PcmFormat
from whisper_live.errors import HandshakeError, WhisperLiveError
from whisper_live.inference.types import Task
from whisper_live.session.events import Configure, EndOfAudio, Flush
from whisper_live.session.options import SessionOptions
from whisper_live.session.updates import Ending, FinalTranscript, Update

__all__ = [
    "Audio",
    "ClientMessage",
    "Close",
    "Hello",
    "Message",
    "Position",
    "Protocol",
    "Renderer",
    "ResumableProtocol",
    "Resume",
    "Silence",
    "for_model",
    "unmet",
]

# ------------------------------------------------------------------ what a client says


@dataclass(frozen=True, slots=True)
class Resume:
    """The wish to go on with a session whose socket broke."""

    token: str
    last_seq: int  # the newest message that was seen; 0 for none


@dataclass(frozen=True, slots=True)
class Hello:
    """Who comes and what for: the first thing any client says."""

    options: SessionOptions = field(default_factory=SessionOptions)
    client: str = ""  # what it calls itself; never parsed
    token: str = ""  # a key, from clients that cannot show it in a header
    model: str | None = None
    # None: raw float32 unless a container shows itself.
    audio_format: str | PcmFormat | None = None
    final_pass: bool = False
    wants_resume: bool = False  # another socket may go on with its session
    resume: Resume | None = None  # it comes to do that; the options are the session's
    room: str = ""  # the name under which its text is published
    is_first_message: bool = False  # what brought it says more, and is to be read too
    ignored: tuple[str, ...] = ()  # wishes that are known and not fulfilled, or in part


@dataclass(frozen=True, slots=True)
class Audio:
    """Some bytes of its audio, cut anywhere."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """The audio that follows begins at this sample of the session."""

    at: int


@dataclass(frozen=True, slots=True)
class Silence:
    """So much silence at this point of its audio, which it did not send."""

    samples: int


# All but what is heard, and positions, is an event of the session as it stands.
ClientMessage = Audio | Silence | Position | Flush | Configure | EndOfAudio


def for_model(options: SessionOptions, languages: Collection[str]) -> SessionOptions:
    """The wishes as a model that knows these languages can fulfil them.

    A model of one language takes every chosen language as its own, as upstream does
    with ``*.en``; no choice stays none, so that the client is still told.  Raises
    ``HandshakeError`` for a language that the model lacks.
    """
    language = options.language
    if language is None or language in languages:
        return options
    if len(languages) == 1:
        return replace(options, language=next(iter(languages)))
    raise HandshakeError(
        f'The model of this server does not know the language "{language}".',
        kind="handshake_language",
    )


def unmet(options: SessionOptions, languages: Collection[str]) -> dict[str, str]:
    """Wishes that ``for_model`` takes and the model does not fulfil, and why not.

    By their names in a handshake.
    """
    found: dict[str, str] = {}
    if set(languages) == {"en"}:
        alone = "the model knows English alone and"
        if options.language not in (None, "en"):
            found["language"] = f"{alone} writes nonsense for other speech"
        if options.task is Task.TRANSLATE:
            found["task"] = f"{alone} translates nothing"
    return found


# ------------------------------------------------------------------ what it is told


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it goes out; a tenth of the memory that its dict would take.

    A ``replaceable`` one may be left out if another such message follows it before it
    could be sent.
    """

    text: str
    replaceable: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """Close the client's socket after everything sent before.

    ``hold_s``: seconds to leave it open for a client that closes by itself.
    """

    code: int
    reason: str = ""
    hold_s: float = 0.0


class Renderer(abc.ABC):
    """Gives one session's updates the form of a wire or a file."""

    @abc.abstractmethod
    def ready(self) -> list[Message]:
        """The session has begun."""

    @abc.abstractmethod
    def render(self, update: Update) -> list[Message]:
        """What to send for an update, in order; often nothing."""

    @abc.abstractmethod
    def final_transcript(self, transcript: FinalTranscript) -> list[Message]:
        """The second reading of the whole recording."""

    @abc.abstractmethod
    def end(self, ending: Ending) -> list[Message]:
        """The last words, when the session has told everything."""


class Protocol(Renderer):
    """One client's whole conversation on a socket of messages."""

    def greeting(self) -> list[Message]:
        """What is said before the client has said anything."""
        return []

    @abc.abstractmethod
    def read_hello(self, message: str | bytes) -> Hello:
        """The first message; raises ``HandshakeError`` for what makes no sense."""

    @abc.abstractmethod
    def read(self, message: str | bytes) -> ClientMessage | None:
        """A later message; None where it is nothing to the session.

        Raises ``ProtocolError`` for what makes no sense.
        """

    def warn(self, why: Mapping[str, str]) -> None:
        """Wishes that are not fulfilled, or in part, by their names in a handshake.

        Comes before ``ready``, and behind a ``Configure`` that was read; told with the
        next messages, where the protocol has words for it.
        """

    def reached(self, position: int) -> list[Message]:
        """All text of the audio before ``position`` has been told.

        Comes after each event, and behind the updates that the event led to.
        """
        return []

    @abc.abstractmethod
    def complain(self, error: WhisperLiveError) -> list[Message]:
        """Why the client is refused, or why its session fails."""

    @abc.abstractmethod
    def close(self, ending: Ending) -> Close:
        """How to close after ``end``."""


class ResumableProtocol(Protocol):
    """A protocol whose client can go on with its session on another socket."""

    @abc.abstractmethod
    def offer(self, token: str, wait_s: float) -> None:
        """To be told with ``ready``: what the session is resumed with, and how soon."""

    @abc.abstractmethod
    def numbered(self, text: str, seq: int, received: int, decided: int) -> str:
        """A message with its number and with how far audio was taken and decided."""

    @abc.abstractmethod
    def acknowledgement(self) -> Message:
        """A message that says nothing else than what ``numbered`` adds."""

    @abc.abstractmethod
    def resumed(self, received: int, *, is_snapshot: bool) -> Message:
        """Instead of ``ready``, on the next socket; never numbered."""

    @abc.abstractmethod
    def snapshot(self) -> Message | None:
        """All that can be told again at once; None where there is nothing."""

    @property
    @abc.abstractmethod
    def handshake(self) -> Mapping[str, Any]:
        """What ``read_hello`` would read now, as JSON, without secrets."""

    @property
    @abc.abstractmethod
    def told(self) -> Sequence[str]:
        """Completed segments that ``snapshot`` has, encoded."""

    @abc.abstractmethod
    def retell(self, told: Sequence[str]) -> None:
        """These were told before the session came here."""

    @abc.abstractmethod
    def restarting(self, wait_s: float) -> Message:
        """The server goes; another one may be asked in so many seconds."""
