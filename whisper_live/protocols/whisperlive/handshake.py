"""A client's first message: which keys there are and what their values may look like.

It is read as liberally as its sender needs it (``lenient_json``): unknown keys are
passed over, what exceeds a limit is brought inside it.  What still makes no sense is
refused with one sentence that names the key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from whisper_live.config.latency import LATENCIES, Latency
from whisper_live.config.model import SpeechConfig, StreamConfig
from whisper_live.errors import HandshakeError
from whisper_live.inference.types import Task
from whisper_live.protocols.base import Hello, Resume, for_model
from whisper_live.protocols.languages import (
    DETECT,
    LANGUAGES,
    language_code,
    unknown_language,
)
from whisper_live.protocols.lenient_json import LenientObject, load_object
from whisper_live.protocols.room_events import check_room_name
from whisper_live.session.options import SessionOptions, VadOptions

__all__ = [
    "AUDIO_FORMATS",
    "CHANGEABLE",
    "ClientOptions",
    "MAX_REPEATED_SEGMENTS",
    "parse_handshake",
    "read_options",
    "uid_in",
    "uid_of",
]

AUDIO_FORMATS = ("float32", "int16", "uint8", "webm", "ogg", "mp4", "auto")

# Upstream keeps 500 segments, so "all" never meant more; and one message must not
# grow with the length of the session.
MAX_REPEATED_SEGMENTS = 500

# What a client may change in mid-stream.
CHANGEABLE = (
    "language",
    "task",
    "initial_prompt",
    "hotwords",
    "latency",
    "no_speech_thresh",
    "word_timestamps",
    "vad_parameters",
)

_MAX_UID_CHARS = 256  # it is echoed in every message
_MAX_NAME_CHARS = 256
_MAX_TOKEN_CHARS = 256
_MAX_SEQ = 1 << 53  # what JavaScript counts exactly
_MAX_PROMPT_CHARS = 4096  # Whisper reads 224 tokens of it
_MAX_IGNORED_NAMES = 8


def _setting(group: type, name: str) -> Mapping[str, Any]:
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(group)
    return next(field.metadata for field in fields if field.name == name)


# faster-whisper's VadOptions -> the setting whose limits apply to it.
_VAD_LIMITS = {
    "threshold": _setting(SpeechConfig, "vad_threshold"),
    "neg_threshold": _setting(SpeechConfig, "vad_release"),
    "min_speech_duration_ms": _setting(SpeechConfig, "min_speech_ms"),
    "min_silence_duration_ms": {"low": 100, "high": 5000},
    "speech_pad_ms": _setting(SpeechConfig, "preroll_ms"),
    "max_speech_duration_s": _setting(StreamConfig, "max_window_s"),
}
# Asked for by some clients, known to us, not built.  The keys that only qualify
# these (target_language, max_speakers, hf_token, ...) need no mention of their own.
_NOT_BUILT = ("enable_translation", "enable_diarization", "known_speakers")


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """A client's handshake, validated and brought inside the server's limits."""

    uid: str
    language: str | None = None  # None: detect
    task: Task = Task.TRANSCRIBE
    model: str | None = None
    audio_format: str | None = None  # None: float32 unless a container shows itself
    use_vad: bool = True
    vad: VadOptions = field(default_factory=VadOptions)
    send_last_n_segments: int = 10  # completed ones per message; 0 means all
    no_speech_threshold: float = 0.45
    same_output_threshold: int = 10  # accepted; agreement settles text here
    clip_audio: bool = False  # accepted; we never skip audio to catch up
    initial_prompt: str = ""
    hotwords: str = ""
    word_timestamps: bool = False
    multilingual: bool = False  # detect the language again for each utterance
    final_pass: bool = False
    timings: bool = False  # put stage timings into segments messages
    plain: bool = False  # read as without this server's own ways
    turn_events: bool = False  # tell when speech starts and stops and turns end
    beam_size: int = 0  # 0: the server's
    token: str = ""  # a key of the server
    wants_resume: bool = False  # another socket may go on with this session
    resume: Resume | None = None  # it comes to go on with one
    room: str = ""  # publish the text under this name
    # Texts that were too long, and a sentence about each.
    shortened: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()  # keys that we know but have not built or shortened

    @property
    def session(self) -> SessionOptions:
        """What of it is the session's affair."""
        return SessionOptions(
            language=self.language,
            task=self.task,
            vad=self.vad if self.use_vad else self.vad.hearing_everything(),
            no_speech_threshold=self.no_speech_threshold,
            initial_prompt=self.initial_prompt,
            hotwords=self.hotwords,
            word_timestamps=self.word_timestamps,
            multilingual=self.multilingual,
            beam_size=self.beam_size,
            plain=self.plain,
        )

    @property
    def hello(self) -> Hello:
        """What of it every protocol can say."""
        return Hello(
            options=self.session,
            client=self.uid,
            token=self.token,
            model=self.model,
            audio_format=self.audio_format,
            final_pass=self.final_pass,
            wants_resume=self.wants_resume,
            resume=self.resume,
            room=self.room,
            ignored=self.ignored,
        )


def parse_handshake(
    message: str | bytes,
    *,
    defaults: SpeechConfig,
    languages: Collection[str] = LANGUAGES,
) -> ClientOptions:
    """Read a client's first message.

    ``defaults`` are the server's own speech settings, ``languages`` those of the
    loaded model (see ``for_model``).  Raises ``HandshakeError``, and nothing else, for
    whatever cannot be understood.
    """
    options = read_options(load_object(message), defaults=defaults)
    fitting = for_model(options.session, languages)
    return dataclasses.replace(options, language=fitting.language)


def read_options(values: Mapping[str, Any], *, defaults: SpeechConfig) -> ClientOptions:
    """The options in a first message that is a JSON object; raises as above."""
    keys = LenientObject(values)
    # All three are looked for before any is judged: one answer, not three tries.
    keys.require("uid", "language", "task")
    latency = keys.choice("latency", "", tuple(LATENCIES)) or None
    patience = defaults.patience(latency)
    vad, ignored = _parse_vad(keys.mapping("vad_parameters"), defaults, patience)
    token = values.get("token")
    # Whisper looks at the end of a prompt and at the beginning of the hotwords.
    prompt, hotwords = keys.text("initial_prompt"), keys.text("hotwords")
    shortened = {
        name: f"{name}: only the {part} {_MAX_PROMPT_CHARS} of {len(text)} characters "
        "are used"
        for name, part, text in (
            ("initial_prompt", "last", prompt),
            ("hotwords", "first", hotwords),
        )
        if len(text) > _MAX_PROMPT_CHARS
    }
    return ClientOptions(
        uid=_parse_uid(keys),
        language=_parse_language(keys),
        task=Task(keys.choice("task", "transcribe", [task.value for task in Task])),
        model=keys.text("model", _MAX_NAME_CHARS) or None,
        audio_format=keys.choice("audio_format", "", AUDIO_FORMATS) or None,
        use_vad=keys.flag("use_vad", True),
        vad=vad,
        send_last_n_segments=_parse_repeated(keys),
        no_speech_threshold=keys.number("no_speech_thresh", 0.45, 0, 1),
        same_output_threshold=round(keys.number("same_output_threshold", 10, 0, 1000)),
        clip_audio=keys.flag("clip_audio", False),
        initial_prompt=prompt[-_MAX_PROMPT_CHARS:],
        hotwords=hotwords[:_MAX_PROMPT_CHARS],
        word_timestamps=keys.flag("word_timestamps", False),
        multilingual=keys.flag("multilingual", False),
        final_pass=keys.flag("final_pass", False),
        timings=keys.flag("timings", False),
        turn_events=keys.flag("turn_events", False),
        plain=keys.flag("plain", False),
        beam_size=patience.beam_size if latency else 0,
        token=token if isinstance(token, str) else "",
        wants_resume=keys.flag("resume", False),
        resume=_parse_resume(keys),
        room=_parse_room(keys),
        shortened=shortened,
        ignored=(
            *(name for name in _NOT_BUILT if keys.wanted(name)),
            *shortened,
            *ignored,
        ),
    )


def uid_of(message: str | bytes) -> str:
    """The uid to answer a refused first message with; empty where there is none."""
    try:
        return uid_in(load_object(message))
    except HandshakeError:
        return ""


def uid_in(values: Mapping[str, Any]) -> str:
    """The uid in a first message that is a JSON object; empty where there is none."""
    uid = values.get("uid")
    return uid if isinstance(uid, str) and len(uid) <= _MAX_UID_CHARS else ""


def _parse_uid(keys: LenientObject) -> str:
    uid = keys.values["uid"]
    if not isinstance(uid, str):  # echoed as another type, clients would not know it
        raise keys.nonsense("uid", "a string")
    if len(uid) > _MAX_UID_CHARS:
        raise HandshakeError(
            f"uid must not be longer than {_MAX_UID_CHARS} characters.",
            kind="handshake_value",
        )
    return uid


def _parse_language(keys: LenientObject) -> str | None:
    given = keys.text("language").strip().lower()
    if given in DETECT:
        return None
    code = language_code(given)
    if code is None:
        raise HandshakeError(unknown_language(given), kind="handshake_language")
    return code


def _parse_resume(keys: LenientObject) -> Resume | None:
    token = keys.text("resume_token")
    if not token:
        return None
    if len(token) > _MAX_TOKEN_CHARS:
        raise keys.nonsense("resume_token", "a token of this server")
    return Resume(token, round(keys.number("last_seq", 0, 0, _MAX_SEQ)))


def _parse_room(keys: LenientObject) -> str:
    given = keys.text("room")
    return check_room_name(given) if given else ""


def _parse_repeated(keys: LenientObject) -> int:
    asked = round(keys.number("send_last_n_segments", 10, 0, MAX_REPEATED_SEGMENTS))
    return asked or MAX_REPEATED_SEGMENTS  # 0 has always meant all


def _parse_vad(
    asked: Mapping[str, Any], defaults: SpeechConfig, patience: Latency
) -> tuple[VadOptions, list[str]]:
    """Vad parameters in faster-whisper's words -> ours, and the names unknown to us."""
    keys = LenientObject(asked, prefix="vad_parameters.")

    def limited(key: str, default: float) -> float:
        limits = _VAD_LIMITS[key]
        return keys.number(key, default, limits["low"], limits["high"])

    threshold = limited("threshold", defaults.vad_threshold)
    # A threshold that comes alone moves the release with it.
    gap = defaults.vad_threshold - defaults.vad_release
    options = VadOptions(
        threshold=threshold,
        release=min(limited("neg_threshold", max(threshold - gap, 0.01)), threshold),
        min_speech_s=limited("min_speech_duration_ms", defaults.min_speech_ms) / 1000,
        hangover_s=limited("min_silence_duration_ms", patience.hangover_ms) / 1000,
        early_s=patience.early_endpoint_ms / 1000,
        preroll_s=limited("speech_pad_ms", defaults.preroll_ms) / 1000,
        max_speech_s=limited("max_speech_duration_s", 30.0),
    )
    unknown = [
        f"vad_parameters.{name}"[:64] for name in asked if name not in _VAD_LIMITS
    ]
    return options, unknown[:_MAX_IGNORED_NAMES]
