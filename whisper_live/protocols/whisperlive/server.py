"""One WhisperLive client's conversation: which messages an update becomes.

Every message repeats the last completed segments and, behind them, at most one
partial.  Three habits of published clients shape what is sent: an empty list of
segments breaks them, so what has nothing to be repeated with waits for the next
message; the client appends to its SRT file any last partial that differs from the last
completed text, so a segment is first shown as a partial of the very same text; and a
status sent right before the close is missed, so the socket is held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from whisper_live.audio import s_to_samples, samples_to_s
from whisper_live.config.model import SpeechConfig
from whisper_live.errors import (
    HandshakeError,
    Overloaded,
    ProtocolError,
    WhisperLiveError,
)
from whisper_live.protocols.base import (
    Audio,
    ClientMessage,
    Close,
    Hello,
    Message,
    Position,
    ResumableProtocol,
    Silence,
)
from whisper_live.protocols.lenient_json import LenientObject, load_object
from whisper_live.protocols.whisperlive import messages
from whisper_live.protocols.whisperlive.handshake import (
    CHANGEABLE,
    MAX_REPEATED_SEGMENTS,
    ClientOptions,
    read_options,
    uid_in,
)
from whisper_live.session.events import Configure, EndOfAudio, Flush
from whisper_live.session.updates import (
    Dropped,
    Ending,
    FinalTranscript,
    Segment,
    Timings,
    Update,
)

__all__ = ["WhisperLive"]

# A message must not grow with the length of the session in words either: 500 segments
# without words have about half of this.
_MOST_REPEATED_CHARACTERS = 1 << 17

# Of one message: the server takes it in at once, and others wait meanwhile.
_LONGEST_SILENCE_S = 30.0

# A client that was told DISCONNECT still sends END_OF_AUDIO, and loses its SRT file
# if the socket is gone by then (WhisperLive 0.9 to 0.10).
_CLOSES = {
    Ending.FINISHED: Close(1000),
    Ending.OVER_TIME: Close(1000, hold_s=20.0),
    Ending.RESTARTING: Close(1012, "service restart"),
}


class WhisperLive(ResumableProtocol):
    """Speaks with one client; ``options`` are known from its handshake on."""

    def __init__(
        self, speech: SpeechConfig, *, options: ClientOptions | None = None
    ) -> None:
        """``speech`` are the server's own settings, for what the client leaves open.

        ``options`` stand for a handshake that was read elsewhere.
        """
        self._speech = speech
        self._uid = ""
        self._values: dict[str, Any] = {}  # of the handshake
        self._most_repeated = MAX_REPEATED_SEGMENTS
        self._wants_timings = self._wants_turn_events = False
        self._repeated: deque[str] = deque()  # completed segments, as on the wire
        self._repeated_characters = 0  # of them all
        self._partial: Segment | None = None
        self._dropped: list[Dropped] = []  # spans that no message has told yet
        self._warnings: dict[str, str] = {}  # that are to be told, by keys
        self._unmet: Mapping[str, str] = {}  # as they were told last
        self._offered: tuple[str, float] | None = None  # if it can resume
        self._retold: deque[str] = deque()  # completed segments, for a snapshot
        self._retold_characters = 0
        if options is not None:
            self._begin(options)

    def _begin(self, options: ClientOptions) -> None:
        self._uid = options.uid
        self._most_repeated = options.send_last_n_segments or MAX_REPEATED_SEGMENTS
        self._wants_timings = options.timings
        self._wants_turn_events = options.turn_events
        self._warnings |= options.shortened

    # ------------------------------------------------------------------ from the client

    def read_hello(self, message: str | bytes) -> Hello:
        """See ``Protocol``; a refusal echoes the uid if one was understood."""
        values = load_object(message)
        self._uid = uid_in(values)
        options = read_options(values, defaults=self._speech)
        self._values = values
        self._begin(options)
        return options.hello

    def read(self, message: str | bytes) -> ClientMessage:
        """See ``Protocol``.

        Audio and the end mark, or as text ``{"type": "flush"}``, ``{"type": "silence",
        "seconds": 1.2}`` and ``{"type": "configure", ...}`` with keys of the handshake;
        from who can resume also ``{"type": "position", "at": ...}``.
        """
        if messages.is_end_of_audio(message):
            return EndOfAudio()
        if isinstance(message, bytes):
            return Audio(message)
        try:
            values = load_object(message)
            if values.get("type") == "flush":
                return Flush()
            if values.get("type") == "silence":
                return _silence(values)
            if values.get("type") == "configure":
                return self._configure(values)
            if values.get("type") == "position" and self._offered is not None:
                return _position(values.get("at"))
        except HandshakeError as error:
            if error.kind not in ("handshake_json", "handshake_object"):
                raise ProtocolError(error.detail, kind="configure") from error
        raise ProtocolError("audio must come in binary messages", kind="text_message")

    def _configure(self, changes: Mapping[str, Any]) -> Configure:
        """The handshake's options with these keys changed."""
        known = {key: changes[key] for key in CHANGEABLE if key in changes}
        values = {**self._values, **known}
        options = read_options(values, defaults=self._speech)
        self._values = values
        told = options.shortened
        self._warnings |= {name: told[name] for name in told if name in changes}
        return Configure(options.session)

    # -------------------------------------------------------------------- to the client

    def warn(self, why: Mapping[str, str]) -> None:
        """See ``Protocol``: each is a WARNING, and not told again while it stands."""
        told, self._unmet = self._unmet, why
        for name, text in why.items():
            if told.get(name) != text:
                self._warnings[name] = f"{name}: {text}"

    def ready(self) -> list[Message]:
        """SERVER_READY, which must be the first message of a session."""
        content = messages.server_ready(self._uid)
        if self._offered is not None:
            token, wait_s = self._offered
            content |= {"resume_token": token, "resume_s": wait_s}
        return [_message(content), *self._warn()]

    def offer(self, token: str, wait_s: float) -> None:
        """See ``ResumableProtocol``."""
        self._offered = (token, wait_s)

    def numbered(self, text: str, seq: int, received: int, decided: int) -> str:
        """See ``ResumableProtocol``."""
        return messages.numbered(text, seq, received, decided)

    def acknowledgement(self) -> Message:
        """See ``ResumableProtocol``."""
        return _message(messages.acknowledgement(self._uid))

    def resumed(self, received: int, *, is_snapshot: bool) -> Message:
        """See ``ResumableProtocol``."""
        assert self._offered is not None, "who resumes was offered it"
        return _message(
            messages.resumed(self._uid, *self._offered, received, is_snapshot)
        )

    def snapshot(self) -> Message | None:
        """See ``ResumableProtocol``: completed segments and the partial."""
        partial = self._partial
        if not self._retold and partial is None:
            return None
        shown = None if partial is None else messages.segment(partial)
        return Message(messages.segments(self._uid, self._retold, shown))

    @property
    def handshake(self) -> Mapping[str, Any]:
        """See ``ResumableProtocol``."""
        secrets = ("token", "hf_token", "resume_token")
        return {k: v for k, v in self._values.items() if k not in secrets}

    @property
    def told(self) -> Sequence[str]:
        """See ``ResumableProtocol``."""
        return tuple(self._retold)

    def retell(self, told: Sequence[str]) -> None:
        """See ``ResumableProtocol``."""
        self._keep_for_snapshot(told)
        self._repeated += told[-self._most_repeated :]
        self._repeated_characters = sum(map(len, self._repeated))

    def restarting(self, wait_s: float) -> Message:
        """See ``ResumableProtocol``."""
        return _message(messages.restarting(self._uid, wait_s))

    def render(self, update: Update) -> list[Message]:
        """See ``Renderer``."""
        told = self._warn()
        if (language := update.language) is not None:
            content = messages.language(self._uid, language.code, language.probability)
            told.append(_message(content))
        for span in update.dropped:
            self._drop(span)
        shown, self._partial = self._partial, update.interim
        if update.completed:
            told += self._complete(update, shown)
        elif update.interim is not None:
            if shown is None or shown.text != update.interim.text:
                told.append(self._segments(update.timings, replaceable=True))
        elif shown is not None and not update.dropped and self._repeated:
            told.append(self._segments(update.timings))
        if update.speech is not None and self._wants_turn_events:
            told.append(_message(messages.turn_event(self._uid, update.speech)))
        return told

    def _warn(self) -> list[Message]:
        told, self._warnings = self._warnings, {}
        return [_message(messages.warning(self._uid, text)) for text in told.values()]

    def _complete(self, update: Update, shown: Segment | None) -> list[Message]:
        if update.interim is not None:
            self._repeat(update.completed)
            return [self._segments(update.timings)]
        told = []
        *earlier, last = update.completed
        self._repeat(earlier)
        if earlier or shown is None or shown.text != last.text:
            self._partial = replace(last, completed=False, words=())
            told.append(self._segments(update.timings))
            self._partial = None
        self._repeat([last])
        told.append(self._segments(update.timings))
        return told

    def reached(self, position: int) -> list[Message]:
        """See ``Protocol``: a warning waits for no text."""
        return self._warn()

    def final_transcript(self, transcript: FinalTranscript) -> list[Message]:
        """See ``Renderer``."""
        return [_message(messages.final_transcript(self._uid, transcript))]

    def end(self, ending: Ending) -> list[Message]:
        """See ``Renderer``: spans that are still to be told, and DISCONNECT."""
        told = []
        self._partial = None
        if self._dropped:
            if self._repeated:
                told.append(self._segments(Timings()))
            else:
                # There is nothing to repeat, and an empty list breaks clients.
                lost = samples_to_s(sum(d.end - d.start for d in self._dropped))
                text = f"{lost:.1f} s of speech could not be transcribed"
                told.append(_message(messages.warning(self._uid, text)))
        if ending is Ending.OVER_TIME:
            told.append(_message(messages.disconnect(self._uid)))
        return told

    def close(self, ending: Ending) -> Close:
        """See ``Protocol``."""
        return _CLOSES[ending]

    def complain(self, error: WhisperLiveError) -> list[Message]:
        """WAIT for who may come back, ERROR for everybody else."""
        if isinstance(error, Overloaded):
            return [_message(messages.wait(self._uid, error.wait_minutes))]
        return [_message(messages.error(self._uid, str(error)))]

    # ------------------------------------------------------------------------ its state

    def _repeat(self, segments: Sequence[Segment]) -> None:
        new = [messages.segment(segment) for segment in segments]
        self._repeated += new
        self._repeated_characters += sum(map(len, new))
        # However few a client wants repeated, it must see each new one once.
        while len(self._repeated) > len(new) and (
            len(self._repeated) > self._most_repeated
            or self._repeated_characters > _MOST_REPEATED_CHARACTERS
        ):
            self._repeated_characters -= len(self._repeated.popleft())
        if self._offered is not None:
            self._keep_for_snapshot(new)

    def _keep_for_snapshot(self, new: Sequence[str]) -> None:
        self._retold += new
        self._retold_characters += sum(map(len, new))
        while self._retold_characters > _MOST_REPEATED_CHARACTERS or (
            len(self._retold) > MAX_REPEATED_SEGMENTS
        ):
            self._retold_characters -= len(self._retold.popleft())

    def _drop(self, span: Dropped) -> None:
        if self._dropped:
            last = self._dropped[-1]
            if (last.end, last.reason) == (span.start, span.reason):
                span = replace(self._dropped.pop(), end=span.end)
        self._dropped.append(span)

    def _segments(self, timings: Timings, *, replaceable: bool = False) -> Message:
        dropped, self._dropped = self._dropped, []
        partial = self._partial
        text = messages.segments(
            self._uid,
            self._repeated,
            None if partial is None else messages.segment(partial),
            dropped=dropped,
            timings=messages.stage_timings(timings) if self._wants_timings else None,
        )
        return Message(text, replaceable and not dropped)


def _position(at: Any) -> Position:
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < 2**53:
        raise ProtocolError("a position needs a sample in at", kind="position")
    return Position(round(at))


def _silence(values: Mapping[str, Any]) -> Silence:
    """Not brought inside limits, as options are: later times would not be true."""
    try:
        seconds = LenientObject(values).number("seconds", 0.0, -1.0, 1e6)
    except HandshakeError as error:
        raise ProtocolError(error.detail, kind="silence") from error
    if not 0 < seconds <= _LONGEST_SILENCE_S:
        raise ProtocolError(
            f"seconds of silence must be above 0 and at most {_LONGEST_SILENCE_S:g}",
            kind="silence",
        )
    return Silence(s_to_samples(seconds))


def _message(content: Mapping[str, Any]) -> Message:
    return Message(messages.encode(content))
