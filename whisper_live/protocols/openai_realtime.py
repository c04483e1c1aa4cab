"""OpenAI's Realtime API for transcription, as one more protocol of a session.

Audio comes in JSON as base64; text goes out by items, one for each turn of speech or
for each commit of the client.  Some habits of published clients shape what is sent.
Pipecat says nothing before it has seen ``session.created``.  LiveKit joins the deltas
of an item, so that only completed text may be one.  Both take ``error`` for the end, so
that what goes wrong with one item is told with ``failed``, and an event that is not
known is passed over.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from whisper_live.audio import samples_to_s
from whisper_live.config.latency import LATENCIES
from whisper_live.config.model import SpeechConfig
from whisper_live.errors import HandshakeError, ProtocolError, WhisperLiveError
from whisper_live.protocols.base import (
    Audio,
    ClientMessage,
    Close,
    Hello,
    Message,
    Protocol,
)
from whisper_live.protocols.lenient_json import LenientObject
from whisper_live.protocols.openai_rest import failure_of, warnings
from whisper_live.protocols.whisperlive.client import handshake
from whisper_live.protocols.whisperlive.handshake import read_options
from whisper_live.session.events import Configure, Flush
from whisper_live.session.options import SessionOptions, VadOptions
from whisper_live.session.updates import (
    Dropped,
    Ending,
    FinalTranscript,
    SpeechEvent,
    SpeechMoment,
    Update,
)
from whisper_live.session.window import UNREAD

__all__ = ["OpenAIRealtime", "read_secret_request"]

_ITEM = "conversation.item.input_audio_transcription"
_BUFFER = "input_audio_buffer"
# The newer and the older name of each format, and the decoder's.
_FORMATS = {
    "audio/pcm": "pcm16_24k",
    "pcm16": "pcm16_24k",
    "audio/pcmu": "pcmu",
    "g711_ulaw": "pcmu",
    "audio/pcma": "pcma",
    "g711_alaw": "pcma",
}
_NAMES = {"pcm16_24k": "audio/pcm", "pcmu": "audio/pcmu", "pcma": "audio/pcma"}
_RATE = 24_000
_UPDATES = ("session.update", "transcription_session.update")
_LONGEST_UPDATE = 1 << 16  # characters, of what is sent back
_SECRET_S = 600  # OpenAI's own
_TURNS = ("server_vad", "semantic_vad")
# How eagerly a turn is taken for ended, and the latency that is chosen for it.
_EAGERNESS = {"low": "accurate", "medium": "", "auto": "", "high": "fast"}
_CLOSES = {
    Ending.FINISHED: Close(1000),
    Ending.OVER_TIME: Close(1000),
    Ending.RESTARTING: Close(1012, "service restart"),
}


@dataclass(slots=True)
class _Item:
    """What is said in one turn, or up to one commit."""

    id: str
    start: int = 0
    end: int | None = None  # None: it is not over
    text: str = ""
    failure: Dropped | None = None
    is_cleared: bool = False  # the client wants to hear no more of it


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a client has chosen with ``session.update``; all of it has a default."""

    audio_format: str = "pcm16_24k"
    transcription: Mapping[str, Any] = field(default_factory=dict)
    turns: Mapping[str, Any] | None = field(
        default_factory=lambda: {"type": "server_vad"}
    )


class OpenAIRealtime(Protocol):
    """Speaks with one client."""

    def __init__(
        self, speech: SpeechConfig, *, name: str, model: str = "", room: str = ""
    ) -> None:
        """``name`` is unique in the process; ``model`` is what the URL asks for.

        ``room`` is ours: publish the text under this name.
        """
        self._speech = speech
        self._name = name
        self._model = model
        self._room = room
        self._settings = _Settings()
        self._has_begun = False  # the session has; its audio's format stands
        self._is_over = False
        self._is_old = False  # the client speaks the older shape
        self._events = self._items = 0
        self._updates = 0  # that were read and have no reply yet
        self._warnings: list[str] = []  # of wishes that are not fulfilled
        self._language: str | None = None
        self._current = self._new_item(0)
        self._ended: deque[_Item] = deque()  # whose text is not all told
        self._is_open = False  # speech is, in the current item
        self._turn_end = 0  # of the newest turn
        self._committing = ""  # "commit" or "clear", until the session has done it
        self._previous: str | None = None  # the item that was committed last

    @property
    def session(self) -> dict[str, Any]:
        """The session as the client is shown it."""
        return self._session()

    def configure(self, update: str) -> None:
        """Begin with a ``session.update`` that came in another way.

        Raises ``HandshakeError``.
        """
        self._update(_object(update))

    # ------------------------------------------------------------------ from the client

    def greeting(self) -> list[Message]:
        """``session.created``: some clients wait for it."""
        return [self._event("session.created", session=self._session())]

    def read_hello(self, message: str | bytes) -> Hello:
        """See ``Protocol``.  Usually ``session.update``; any other will do as well."""
        values = _object(message)
        is_update = _kind(values) in _UPDATES
        if is_update:
            self._update(values)
            self._updates += 1
        self._has_begun = True
        options = self._options()
        self._language = options.language
        return Hello(
            options=options,
            client=self._name,
            model=_text(self._settings.transcription, "model") or self._model or None,
            audio_format=self._settings.audio_format,
            room=self._room,
            is_first_message=not is_update,
        )

    def read(self, message: str | bytes) -> ClientMessage | None:
        """See ``Protocol``."""
        try:
            values = _object(message)
            match _kind(values):
                case "input_audio_buffer.append":
                    return Audio(_audio(values.get("audio")))
                case "input_audio_buffer.commit":
                    self._committing = "commit"
                    return Flush()
                case "input_audio_buffer.clear":
                    self._committing = "clear"
                    return Flush()
                case kind if kind in _UPDATES:
                    self._update(values)
                    self._updates += 1
                    return Configure(self._options())
        except HandshakeError as error:
            raise ProtocolError(error.detail, kind=error.kind) from error
        return None

    def _update(self, values: Mapping[str, Any]) -> None:
        """Take over what a client wants changed; the rest stays."""
        self._is_old = _kind(values).startswith("transcription_session")
        session = LenientObject(values).mapping("session")
        if self._is_old or "input_audio_transcription" in session:
            wanted = {
                "format": {"type": session.get("input_audio_format")},
                "transcription": session.get("input_audio_transcription"),
            }
            if "turn_detection" in session:
                wanted["turn_detection"] = session["turn_detection"]
        else:
            audio = LenientObject(LenientObject(session).mapping("audio"))
            wanted = dict(audio.mapping("input"))
        settings = replace(
            self._settings,
            audio_format=self._format(LenientObject(wanted).values.get("format")),
            transcription={
                **self._settings.transcription,
                **LenientObject(wanted).mapping("transcription"),
            },
        )
        if "turn_detection" in wanted:
            turns = wanted["turn_detection"]
            if turns is not None:
                turns = LenientObject(wanted).mapping("turn_detection")
                LenientObject(turns).choice("type", "server_vad", _TURNS)
            settings = replace(settings, turns=turns)
        before, self._settings = self._settings, settings
        try:
            self._options()
        except BaseException:
            self._settings = before
            raise

    def _format(self, given: object) -> str:
        """A format, as the newer shape's object or by its name alone."""
        if isinstance(given, dict):
            rate = LenientObject(given).number("rate", _RATE, 0, 1e6)
            given = given.get("type")
            if given == "audio/pcm" and rate != _RATE:
                raise _nonsense(f"audio/pcm must have a rate of {_RATE}.")
        if given is None:
            return self._settings.audio_format
        found = _FORMATS.get(given) if isinstance(given, str) else None
        if found is None:
            raise _nonsense(f"The audio format must be one of {', '.join(_FORMATS)}.")
        if self._has_begun and found != self._settings.audio_format:
            raise _nonsense("The audio format cannot change any more.")
        return found

    def _options(self) -> SessionOptions:
        """What the session is to do by the settings; raises ``HandshakeError``."""
        chosen = LenientObject(self._settings.transcription)
        languages = chosen.values.get("languages")
        language = chosen.text("language") or None
        if language is None and isinstance(languages, list) and len(languages) == 1:
            language = LenientObject({"languages": languages[0]}).text("languages")
        keywords = chosen.values.get("keywords")
        words = keywords if isinstance(keywords, list) else []
        turns = LenientObject(self._settings.turns or {})
        latency = _EAGERNESS[turns.choice("eagerness", "auto", _EAGERNESS)]
        wished = handshake(
            client="",
            language=language,
            initial_prompt=chosen.text("prompt"),
            hotwords=", ".join(word for word in words if isinstance(word, str)),
            **({"latency": latency} if latency else {}),
        )
        options = read_options(wished, defaults=self._speech).session
        return replace(options, vad=self._vad(turns, options.vad))

    def _vad(self, turns: LenientObject, given: VadOptions) -> VadOptions:
        """The server's own, but for what ``server_vad`` says."""
        threshold = turns.number("threshold", given.threshold, 0.05, 0.95)
        silence_ms = turns.number(
            "silence_duration_ms", 1000 * given.hangover_s, 100, 5000
        )
        preroll_ms = turns.number("prefix_padding_ms", 1000 * given.preroll_s, 0, 2000)
        return replace(
            given,
            threshold=threshold,
            release=min(given.release, threshold),
            hangover_s=silence_ms / 1000,
            early_s=min(given.early_s, silence_ms / 1000),
            preroll_s=preroll_ms / 1000,
        )

    # -------------------------------------------------------------------- to the client

    def warn(self, why: Mapping[str, str]) -> None:
        """See ``Protocol``: the next ``session.updated`` has them."""
        self._warnings = warnings(why)

    def ready(self) -> list[Message]:
        """``session.updated``, if an update began the session."""
        return self._take_replies()

    def render(self, update: Update) -> list[Message]:
        """See ``Renderer``."""
        told = self._take_replies()
        if update.language is not None:
            self._language = update.language.code
        if update.speech is not None:
            told += self._speech_changed(update.speech)
        for span in update.dropped:
            if span.reason != UNREAD:
                self._item_at(span.start).failure = span
        for segment in update.completed:
            item = self._item_at(segment.start)
            delta = segment.text if item.text else segment.text.lstrip()
            item.text += delta
            if not item.is_cleared:
                told.append(
                    self._event(
                        f"{_ITEM}.delta", item_id=item.id, content_index=0, delta=delta
                    )
                )
        return told

    def reached(self, position: int) -> list[Message]:
        """See ``Protocol``: items whose text is all there are completed."""
        if self._is_over:
            return []
        told = self._take_replies()
        if self._committing:
            is_cleared, self._committing = self._committing == "clear", ""
            told += self._close_current(self._turn_end, is_cleared=is_cleared)
        while self._ended and position >= (self._ended[0].end or 0):
            told += self._complete(self._ended.popleft())
        return told

    def _speech_changed(self, event: SpeechEvent) -> list[Message]:
        """Turns, where the server tells them; pauses within one are nothing here."""
        told: list[Message] = []
        if event.moment is SpeechMoment.STARTED and not self._is_open:
            self._is_open = True
            if self._settings.turns is not None:
                self._current.start = event.at
                told.append(
                    self._event(
                        f"{_BUFFER}.speech_started",
                        item_id=self._current.id,
                        audio_start_ms=_ms(event.at),
                    )
                )
        elif event.moment is SpeechMoment.TURN_ENDED:
            self._is_open = False
            self._turn_end = event.at
            if self._settings.turns is not None:
                told.append(
                    self._event(
                        f"{_BUFFER}.speech_stopped",
                        item_id=self._current.id,
                        audio_end_ms=_ms(event.at),
                    )
                )
                if not self._committing:
                    told += self._close_current(event.at)
        return told

    def _close_current(self, end: int, *, is_cleared: bool = False) -> list[Message]:
        """The current item is over, as the client or the silence says."""
        item = self._current
        item.end = max(end, item.start)
        item.is_cleared = is_cleared
        self._ended.append(item)
        self._current = self._new_item(item.end)
        if is_cleared:
            return [self._event(f"{_BUFFER}.cleared")]
        previous, self._previous = self._previous, item.id
        return [
            self._event(
                f"{_BUFFER}.committed", item_id=item.id, previous_item_id=previous
            )
        ]

    def _complete(self, item: _Item) -> list[Message]:
        if item.is_cleared:
            return []
        if item.failure is not None:
            error = {
                "type": "server_error",
                "code": item.failure.reason,
                "message": "Some of it could not be transcribed.",
                "param": None,
            }
            return [
                self._event(
                    f"{_ITEM}.failed", item_id=item.id, content_index=0, error=error
                )
            ]
        language = self._language
        seconds = samples_to_s((item.end or item.start) - item.start)
        return [
            self._event(
                f"{_ITEM}.completed",
                item_id=item.id,
                content_index=0,
                transcript=item.text,
                languages=[] if language is None else [{"code": language}],
                usage={"type": "duration", "seconds": round(seconds, 3)},
            )
        ]

    def final_transcript(self, transcript: FinalTranscript) -> list[Message]:
        """There is no event for it."""
        return []

    def end(self, ending: Ending) -> list[Message]:
        """Each item that has any text is completed; then why there will be no more."""
        told = self._take_replies()
        if self._current.text or self._is_open:
            told += self._close_current(self._turn_end)
        while self._ended:
            told += self._complete(self._ended.popleft())
        self._is_over = True
        if ending is Ending.OVER_TIME:
            message = "The session has lasted as long as it may."
            error = HandshakeError(message, kind="session_expired")
            told += self.complain(error)
        return told

    def complain(self, error: WhisperLiveError) -> list[Message]:
        """``error``, which clients take for the end; and it is."""
        failure = failure_of(error)
        content = {**failure.body["error"], "event_id": None}
        return [self._event("error", error=content)]

    def close(self, ending: Ending) -> Close:
        """See ``Protocol``."""
        return _CLOSES[ending]

    # ------------------------------------------------------------------------ its state

    def _take_replies(self) -> list[Message]:
        count, self._updates = self._updates, 0
        return [self._updated() for _ in range(count)]

    def _item_at(self, position: int) -> _Item:
        """The item that audio belongs to."""
        for item in self._ended:
            if item.end is not None and position < item.end:
                return item
        return self._current

    def _new_item(self, start: int) -> _Item:
        self._items += 1
        return _Item(f"item_{self._name}_{self._items}", start)

    def _updated(self) -> Message:
        kind = "transcription_session" if self._is_old else "session"
        return self._event(f"{kind}.updated", session=self._session())

    def _session(self) -> dict[str, Any]:
        settings = self._settings
        turns = None if settings.turns is None else dict(settings.turns)
        common = {
            "id": f"sess_{self._name}",
            "object": "realtime.transcription_session",
            **({"warnings": self._warnings} if self._warnings else {}),
        }
        if self._is_old:
            names = {new: old for old, new in _FORMATS.items()}
            return common | {
                "input_audio_format": names[settings.audio_format],
                "input_audio_transcription": dict(settings.transcription),
                "turn_detection": turns,
            }
        audio_format: dict[str, Any] = {"type": _NAMES[settings.audio_format]}
        if audio_format["type"] == "audio/pcm":
            audio_format["rate"] = _RATE
        audio_input = {
            "format": audio_format,
            "transcription": dict(settings.transcription),
            "noise_reduction": None,
            "turn_detection": turns,
        }
        return common | {"type": "transcription", "audio": {"input": audio_input}}

    def _event(self, kind: str, **content: Any) -> Message:
        self._events += 1
        event_id = f"event_{self._name}_{self._events}"
        values = {"type": kind, "event_id": event_id, **content}
        return Message(json.dumps(values, ensure_ascii=False))


def read_secret_request(body: str) -> tuple[float, str]:
    """What a request for a short-lived key says: seconds, and a ``session.update``.

    Raises ``HandshakeError``.
    """
    values = LenientObject(_object(body or "{}"))
    expiry = LenientObject(values.mapping("expires_after"))
    lifetime_s = expiry.number("seconds", _SECRET_S, 10, 7200)
    update = {"type": "session.update", "session": values.mapping("session")}
    return lifetime_s, json.dumps(update)


def _object(message: str | bytes) -> dict[str, Any]:
    """An event; as long as any message may be, for audio is in it."""
    try:
        values = json.loads(message)
    except (ValueError, RecursionError):
        raise _nonsense("An event must be a JSON object.") from None
    if not isinstance(values, dict):
        raise _nonsense("An event must be a JSON object.")
    if len(message) > _LONGEST_UPDATE and _kind(values) in _UPDATES:
        raise _nonsense(f"An update must not be longer than {_LONGEST_UPDATE}.")
    return values


def _kind(values: Mapping[str, Any]) -> str:
    return _text(values, "type")


def _text(values: Mapping[str, Any], key: str) -> str:
    return LenientObject(values).text(key)


def _audio(encoded: object) -> bytes:
    if not isinstance(encoded, str):
        raise _nonsense("audio must be a string of base64.")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _nonsense("audio must be a string of base64.") from None


def _nonsense(detail: str) -> HandshakeError:
    return HandshakeError(detail, kind="realtime_event")


def _ms(position: int) -> int:
    return round(1000 * samples_to_s(position))


assert set(filter(None, _EAGERNESS.values())) <= set(LATENCIES)
