"""One utterance: what a client asks and says, and which events an update becomes.

A session is one voice command: it begins with ``audio-start`` and ends with
``audio-stop``, or before it where the server hears the end (``is_over``).  Told are
completed segments as ``transcript-chunk``, whose texts put together are the text of the
``transcript`` behind them.  What may still change is not told: this wire takes nothing
back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wyoming.asr import (
    Transcript,
    TranscriptChunk,
    TranscriptStart,
    TranscriptStop,
    VadSensitivity,
)
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable

from whisper_live.audio import PcmFormat
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
    Protocol,
)
from whisper_live.protocols.languages import DETECT, language_code, unknown_language
from whisper_live.protocols.lenient_json import LenientObject, quote
from whisper_live.protocols.wyoming.events import read_event, write_event
from whisper_live.protocols.wyoming.info import NAME
from whisper_live.session.events import EndOfAudio
from whisper_live.session.options import SessionOptions, VadOptions
from whisper_live.session.updates import Ending, FinalTranscript, SpeechMoment, Update

__all__ = ["AUDIO_STOP", "Wyoming"]

AUDIO_STOP = write_event(Event("audio-stop")).encode()  # as clients say it

# As Home Assistant's own segmenter waits.
_SILENCES_S = {VadSensitivity.AGGRESSIVE: 0.25, VadSensitivity.RELAXED: 1.25}
# The engine reads 96 tokens of hotwords, and a token has four characters in English.
_MOST_HOTWORD_CHARS = 384
_MOST_NAME_CHARS = 256
_RATES = range(8_000, 192_001)
_WIDTHS = (1, 2, 3, 4)
_MOST_CHANNELS = 32
_CLOSES = {
    Ending.FINISHED: Close(1000),
    Ending.OVER_TIME: Close(1000),
    Ending.RESTARTING: Close(1012, "service restart"),
}


class Wyoming(Protocol):
    """Speaks about one utterance.  ``audio_s`` is how much of it has been read."""

    def __init__(
        self,
        speech: SpeechConfig,
        *,
        silence_s: float,
        asked: bytes | None = None,
        over: Callable[[], None] = lambda: None,
    ) -> None:
        """``asked`` is the client's ``transcribe``, if it sent one.

        ``silence_s`` ends an utterance unless the client asks for another silence; with
        0 none does.  ``over`` is called whenever the utterance is over by that.
        """
        self.audio_s = 0.0
        self._over = over
        self._speech = speech
        self._silence_s = silence_s
        self._asked = asked
        self._pcm: PcmFormat | None = None  # from audio-start on
        self._text = ""
        self._language: str | None = None
        self._has_started = False  # transcript-start was told
        self._has_heard = False  # anything at all
        self._is_turn_over = False
        self._lost = ""  # why a span has no text

    @property
    def is_over(self) -> bool:
        """Whether something was said, and then the silence that ends it."""
        return bool(self._silence_s) and self._is_turn_over and self._has_heard

    # ------------------------------------------------------------------ from the client

    def read_hello(self, message: str | bytes) -> Hello:
        """The ``audio-start``; raises ``HandshakeError`` for wishes that make no sense.

        Those of ``transcribe`` are read here as well.
        """
        try:
            return self._hello(_event(message))
        except ProtocolError as error:
            raise HandshakeError(error.detail, kind=error.kind) from error

    def _hello(self, start: Event) -> Hello:
        if not AudioStart.is_type(start.type):
            raise HandshakeError("There is no audio-start.", kind="event_order")
        data = read_event(self._asked).data if self._asked is not None else {}
        keys = LenientObject(data)
        language = keys.text("language", _MOST_NAME_CHARS).strip()
        self._language = language_code(language)
        if self._language is None and language.lower() not in DETECT:
            raise HandshakeError(unknown_language(language), kind="handshake_language")
        hotwords, are_all = _hotwords(data)
        self._pcm = _pcm_format(start.data)
        return Hello(
            options=SessionOptions(
                language=self._language, vad=self._vad(keys), hotwords=hotwords
            ),
            client=NAME,
            model=keys.text("name", _MOST_NAME_CHARS) or None,
            audio_format=self._pcm,
            ignored=() if are_all else ("transcript_terms",),
        )

    def _vad(self, keys: LenientObject) -> VadOptions:
        """The client's silence; the server's own where the client ends the audio."""
        speech = self._speech
        wanted = keys.text("vad_sensitivity", _MOST_NAME_CHARS)
        silence_s = self._silence_s
        if silence_s:
            silence_s = {k.value: s for k, s in _SILENCES_S.items()}.get(
                wanted, silence_s
            )
        return VadOptions(
            threshold=speech.vad_threshold,
            release=speech.vad_release,
            min_speech_s=speech.min_speech_ms / 1000,
            hangover_s=silence_s or speech.patience().hangover_ms / 1000,
            early_s=silence_s or speech.patience().early_endpoint_ms / 1000,
            preroll_s=speech.preroll_ms / 1000,
        )

    def read(self, message: str | bytes) -> ClientMessage:
        """A later event: its audio, or the end of it."""
        event = _event(message)
        if AudioStop.is_type(event.type):
            return EndOfAudio()
        if not AudioChunk.is_type(event.type):
            raise ProtocolError(
                f"{quote(event.type)} in the middle of audio.", kind="event_order"
            )
        assert self._pcm is not None, "audio-start comes before"
        if _pcm_format(event.data, self._pcm) != self._pcm:
            raise ProtocolError(
                "An audio-chunk has another format than audio-start said.",
                kind="audio_format",
            )
        audio = event.payload or b""
        self.audio_s += len(audio) / self._pcm.bytes_per_s
        return Audio(audio)

    # -------------------------------------------------------------------- to the client

    def ready(self) -> list[Message]:
        """Nothing: no client waits for it."""
        return []

    def render(self, update: Update) -> list[Message]:
        """A chunk for what is completed."""
        if update.speech is not None:
            self._is_turn_over = update.speech.moment is SpeechMoment.TURN_ENDED
        if update.language is not None:
            self._language = update.language.code
        if update.dropped:
            self._lost = update.dropped[0].reason
        new = "".join(segment.text for segment in update.completed)
        self._has_heard = bool(self._text or new) or update.interim is not None
        told = self._chunk(new)
        if self.is_over:
            self._over()
        return told

    def _chunk(self, text: str) -> list[Message]:
        text = text if self._text else text.lstrip()
        if not text:
            return []
        self._text += text
        return [*self._start(), _message(TranscriptChunk(text))]

    def _start(self) -> list[Message]:
        """What comes before everything else, once."""
        if self._has_started:
            return []
        self._has_started = True
        return [_message(TranscriptStart(language=self._language))]

    def final_transcript(self, transcript: FinalTranscript) -> list[Message]:
        """Nothing: the command was answered."""
        return []

    def end(self, ending: Ending) -> list[Message]:
        """The whole text, once more for clients that read no chunks.

        An error where all was lost: an empty text would say that nobody spoke.
        """
        if self._is_lost:
            return [_message(Error("The speech could not be transcribed.", self._lost))]
        text = Transcript(self._text.strip(), language=self._language)
        return [*self._start(), _message(text), _message(TranscriptStop())]

    @property
    def _is_lost(self) -> bool:
        return bool(self._lost and not self._text)

    def close(self, ending: Ending) -> Close:
        """The utterance, and with a code other than 1000 the connection as well."""
        return Close(1011, self._lost) if self._is_lost else _CLOSES[ending]

    def complain(self, error: WhisperLiveError) -> list[Message]:
        """The error's kind is its code."""
        text = str(error)
        if isinstance(error, Overloaded):
            text += f"; come back in {error.wait_minutes:.1f} minutes"
        return [_message(Error(text, error.kind))]


def _event(message: str | bytes) -> Event:
    assert isinstance(message, bytes), "events are kept as bytes"
    return read_event(message)


def _message(content: Eventable) -> Message:
    return Message(write_event(content.event()))


def _pcm_format(data: dict[str, Any], known: PcmFormat | None = None) -> PcmFormat:
    """The format in an event; raises ``ProtocolError`` for one that is none.

    ``known`` is what an event without one means.
    """
    if known is not None and not {"rate", "width", "channels"} & data.keys():
        return known
    rate, width, channels = (
        _number(data.get(key)) for key in ("rate", "width", "channels")
    )
    if (
        rate not in _RATES
        or width not in _WIDTHS
        or channels not in range(1, _MOST_CHANNELS + 1)
    ):
        raise ProtocolError(
            f"Audio must have a rate of {_RATES[0]} to {_RATES[-1]}, a width of 1 to 4 "
            f"bytes and 1 to {_MOST_CHANNELS} channels.",
            kind="audio_format",
        )
    return PcmFormat(rate, width, channels)


def _number(value: object) -> int:
    """A whole number; 0, which is none of those asked for, for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value


def _hotwords(data: dict[str, Any]) -> tuple[str, bool]:
    """Names, then terms, as many whole ones as the engine reads; whether all are."""
    wanted: dict[str, None] = {}  # each once, in their order
    for key in ("transcript_names", "transcript_terms"):
        values = data.get(key)
        if values is None:
            continue
        if not isinstance(values, list):
            raise HandshakeError(f"{key} must be a list.", kind="handshake_type")
        texts = (LenientObject({key: value}).text(key).strip() for value in values)
        wanted |= dict.fromkeys(filter(None, texts))
    kept: list[str] = []
    room = _MOST_HOTWORD_CHARS
    for text in wanted:
        room -= len(text) + len(", ")
        if room < 0:
            return ", ".join(kept), False
        kept.append(text)
    return ", ".join(kept), True
