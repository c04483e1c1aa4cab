"""WhisperLive's wire format, in both directions.

Owns the JSON: which handshake keys exist, what their values may look like, and what
every message to a client looks like.  Samples become seconds here and nowhere else.
Knows nothing of sockets, sessions or when a message is due.

A handshake is read as liberally as its sender needs it (``lenient_json``): unknown
keys are passed over, what exceeds a limit is brought inside it.  What still makes no
sense is refused with one sentence that names the key.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from whisper_live.audio import samples_to_s
from whisper_live.config.model import SpeechConfig, StreamConfig
from whisper_live.errors import HandshakeError
from whisper_live.inference.types import Task, Word
from whisper_live.protocols.lenient_json import LenientObject, load_object, quote
from whisper_live.session.events import ClientOptions, Dropped, Segment, VadOptions

__all__ = [
    "AUDIO_FORMATS",
    "LANGUAGES",
    "MAX_REPEATED_SEGMENTS",
    "disconnect",
    "encode",
    "error",
    "final_transcript",
    "is_end_of_audio",
    "language",
    "parse_handshake",
    "segments",
    "server_ready",
    "token_of",
    "uid_of",
    "wait",
    "warning",
]

AUDIO_FORMATS = ("float32", "int16", "uint8", "webm", "ogg", "mp4", "auto")

# Clients up to 0.10.0 store text and write their SRT only for exactly this name.
BACKEND = "faster_whisper"

# Upstream keeps 500 segments, so "all" never meant more; and one message must not
# grow with the length of the session.
MAX_REPEATED_SEGMENTS = 500

_MAX_UID_CHARS = 256  # it is echoed in every message
_MAX_NAME_CHARS = 256
_MAX_PROMPT_CHARS = 4096  # Whisper reads 224 tokens of it
_MAX_IGNORED_NAMES = 8

# The languages Whisper knows, with their English names, which are accepted as well.
_LANGUAGE_NAMES: dict[str, str] = dict(entry.split(":") for entry in """
    af:afrikaans am:amharic ar:arabic as:assamese az:azerbaijani ba:bashkir
    be:belarusian bg:bulgarian bn:bengali bo:tibetan br:breton bs:bosnian ca:catalan
    cs:czech cy:welsh da:danish de:german el:greek en:english es:spanish et:estonian
    eu:basque fa:persian fi:finnish fo:faroese fr:french gl:galician gu:gujarati
    ha:hausa haw:hawaiian he:hebrew hi:hindi hr:croatian ht:haitian hu:hungarian
    hy:armenian id:indonesian is:icelandic it:italian ja:japanese jw:javanese
    ka:georgian kk:kazakh km:khmer kn:kannada ko:korean la:latin lb:luxembourgish
    ln:lingala lo:lao lt:lithuanian lv:latvian mg:malagasy mi:maori mk:macedonian
    ml:malayalam mn:mongolian mr:marathi ms:malay mt:maltese my:burmese ne:nepali
    nl:dutch nn:nynorsk no:norwegian oc:occitan pa:punjabi pl:polish ps:pashto
    pt:portuguese ro:romanian ru:russian sa:sanskrit sd:sindhi si:sinhala sk:slovak
    sl:slovenian sn:shona so:somali sq:albanian sr:serbian su:sundanese sv:swedish
    sw:swahili ta:tamil te:telugu tg:tajik th:thai tk:turkmen tl:tagalog tr:turkish
    tt:tatar uk:ukrainian ur:urdu uz:uzbek vi:vietnamese yi:yiddish yo:yoruba
    yue:cantonese zh:chinese
    """.split())
LANGUAGES: tuple[str, ...] = tuple(_LANGUAGE_NAMES)
_LANGUAGE_CODES = {name: code for code, name in _LANGUAGE_NAMES.items()}
# Codes that today's browsers and phones use where Whisper has an older or wider one.
_LANGUAGE_CODES |= {"jv": "jw", "nb": "no", "iw": "he", "fil": "tl", "cmn": "zh"}


def _setting(group: type, name: str) -> Mapping[str, Any]:
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(group)
    return next(field.metadata for field in fields if field.name == name)


# faster-whisper's VadOptions -> the setting whose limits apply to it.
_VAD_LIMITS = {
    "threshold": _setting(SpeechConfig, "vad_threshold"),
    "neg_threshold": _setting(SpeechConfig, "vad_release"),
    "min_speech_duration_ms": _setting(SpeechConfig, "min_speech_ms"),
    "min_silence_duration_ms": _setting(SpeechConfig, "hangover_ms"),
    "speech_pad_ms": _setting(SpeechConfig, "preroll_ms"),
    "max_speech_duration_s": _setting(StreamConfig, "max_window_s"),
}
# Asked for by some clients, known to us, not built.  The keys that only qualify
# these (target_language, max_speakers, hf_token, ...) need no mention of their own.
_NOT_BUILT = ("enable_translation", "enable_diarization", "known_speakers")

# -------------------------------------------------------------------- from clients


def parse_handshake(
    message: str | bytes,
    *,
    defaults: SpeechConfig,
    languages: Collection[str] = LANGUAGES,
) -> ClientOptions:
    """Read a client's first message.

    ``defaults`` are the server's own speech settings, ``languages`` those of the
    loaded model.  A model of one language takes every chosen language as its own, as
    upstream does with ``*.en``; null stays null, so that the language message is
    still sent to the client that waits for one.

    Raises ``HandshakeError``, and nothing else, for whatever cannot be understood.
    """
    keys = LenientObject(load_object(message))
    # All three are looked for before any is judged: one answer, not three tries.
    keys.require("uid", "language", "task")
    vad, ignored = _parse_vad(keys.mapping("vad_parameters"), defaults)
    return ClientOptions(
        uid=_parse_uid(keys),
        language=_parse_language(keys, languages),
        task=Task(keys.choice("task", "transcribe", [task.value for task in Task])),
        model=keys.text("model", _MAX_NAME_CHARS) or None,
        audio_format=keys.choice("audio_format", "", AUDIO_FORMATS) or None,
        use_vad=keys.flag("use_vad", True),
        vad=vad,
        send_last_n_segments=_parse_repeated(keys),
        no_speech_threshold=keys.number("no_speech_thresh", 0.45, 0, 1),
        same_output_threshold=round(keys.number("same_output_threshold", 10, 0, 1000)),
        clip_audio=keys.flag("clip_audio", False),
        # Whisper looks at the end of a prompt and at the beginning of the hotwords.
        initial_prompt=keys.text("initial_prompt")[-_MAX_PROMPT_CHARS:],
        hotwords=keys.text("hotwords")[:_MAX_PROMPT_CHARS],
        word_timestamps=keys.flag("word_timestamps", False),
        multilingual=keys.flag("multilingual", False),
        final_pass=keys.flag("final_pass", False),
        timings=keys.flag("timings", False),
        ignored=(*(name for name in _NOT_BUILT if keys.wanted(name)), *ignored),
    )


def uid_of(message: str | bytes) -> str:
    """The uid to answer a refused first message with; empty where there is none."""
    try:
        uid = load_object(message).get("uid")
    except HandshakeError:
        return ""
    return uid if isinstance(uid, str) and len(uid) <= _MAX_UID_CHARS else ""


def token_of(message: str | bytes) -> str:
    """The key that a browser puts into its first message; empty where there is none."""
    try:
        token = load_object(message).get("token")
    except HandshakeError:
        return ""
    return token if isinstance(token, str) else ""


def is_end_of_audio(message: str | bytes) -> bool:
    """Whether this is the end mark: binary from most clients, text from iOS."""
    if isinstance(message, str):
        return message.strip() == "END_OF_AUDIO"
    return message == b"END_OF_AUDIO"


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


def _parse_language(keys: LenientObject, languages: Collection[str]) -> str | None:
    given = keys.text("language").strip().lower()
    if given in ("", "auto"):
        return None
    plain = given.replace("_", "-").split("-")[0]  # en-US, pt_BR
    code = _LANGUAGE_CODES.get(plain, plain)
    if code not in _LANGUAGE_NAMES:
        raise HandshakeError(
            f"Unknown language {quote(given)}: use an ISO 639-1 code such as en, "
            "or null to have it detected.",
            kind="handshake_language",
        )
    if code in languages:
        return code
    if len(languages) == 1:
        return next(iter(languages))
    raise HandshakeError(
        f"The model of this server does not know the language {quote(given)}.",
        kind="handshake_language",
    )


def _parse_repeated(keys: LenientObject) -> int:
    asked = round(keys.number("send_last_n_segments", 10, 0, MAX_REPEATED_SEGMENTS))
    return asked or MAX_REPEATED_SEGMENTS  # 0 has always meant all


def _parse_vad(
    asked: Mapping[str, Any], defaults: SpeechConfig
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
        hangover_s=limited("min_silence_duration_ms", defaults.hangover_ms) / 1000,
        preroll_s=limited("speech_pad_ms", defaults.preroll_ms) / 1000,
        max_speech_s=limited("max_speech_duration_s", 30.0),
    )
    unknown = [
        f"vad_parameters.{name}"[:64] for name in asked if name not in _VAD_LIMITS
    ]
    return options, unknown[:_MAX_IGNORED_NAMES]


# ---------------------------------------------------------------------- to clients


def encode(message: Mapping[str, Any]) -> str:
    """A message as compact JSON text, one text frame.

    Plain ASCII, as upstream sends it: no client can trip over it, and a lone
    surrogate in a client's uid cannot make a frame that is not UTF-8.
    """
    return json.dumps(message, separators=(",", ":"), allow_nan=False)


def server_ready(uid: str) -> dict[str, Any]:
    """Admitted, and the model is warm; must be the first message of a session."""
    return {"uid": uid, "message": "SERVER_READY", "backend": BACKEND}


def wait(uid: str, minutes: float) -> dict[str, Any]:
    """Refused for now; clients show ``minutes`` rounded, as a number."""
    return {"uid": uid, "status": "WAIT", "message": round(minutes, 4)}


def error(uid: str, text: str) -> dict[str, Any]:
    """Refused or failed, and why; ``uid`` is empty where it was never known."""
    return {"uid": uid, "status": "ERROR", "message": text}


def warning(uid: str, text: str) -> dict[str, Any]:
    """Something the user should know; never before ``server_ready``."""
    return {"uid": uid, "status": "WARNING", "message": text}


def disconnect(uid: str) -> dict[str, Any]:
    """Time is up; to be sent after the last segments, not before."""
    return {"uid": uid, "message": "DISCONNECT"}


def language(uid: str, code: str, probability: float) -> dict[str, Any]:
    """What was detected; only for a client that chose none, before any segments."""
    return {"uid": uid, "language": code, "language_prob": round(probability, 4)}


def segments(
    uid: str,
    segments: Sequence[Segment],
    *,
    dropped: Sequence[Dropped] = (),
    timings: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """What the client should see now: completed segments, then at most one partial.

    Never for an empty list, on which clients fail.  ``dropped`` and ``timings`` are
    our additions; the keys are absent when there is nothing to say.
    """
    assert segments, "an empty segments message breaks clients"
    assert all(segment.completed for segment in segments[:-1]), "a partial comes last"
    message: dict[str, Any] = {"uid": uid, "segments": [_segment(s) for s in segments]}
    if dropped:
        message["dropped"] = [_dropped(span) for span in dropped]
    if timings is not None:
        message["timings"] = dict(timings)
    return message


def final_transcript(
    uid: str,
    segments: Sequence[Segment],
    *,
    duration: int,
    live_wer: float,
    dropped: Sequence[Dropped] = (),
) -> dict[str, Any]:
    """The second reading of the whole recording, for a client that asked for it.

    ``live_wer`` are the word errors of the live text against this one.
    """
    content: dict[str, Any] = {
        "text": "".join(segment.text for segment in segments).strip(),
        "duration": _time(duration),
        "live_wer": round(live_wer, 4),
        "segments": [_segment(segment) for segment in segments],
    }
    if dropped:
        content["dropped"] = [_dropped(span) for span in dropped]
    return {"uid": uid, "final_transcript": content}


def _dropped(span: Dropped) -> dict[str, str]:
    return {
        "start": _time(span.start),
        "end": _time(span.end),
        "reason": span.reason,
    }


def _segment(segment: Segment) -> dict[str, Any]:
    content: dict[str, Any] = {
        "start": _time(segment.start),
        "end": _time(segment.end),
        "text": segment.text,
        "completed": segment.completed,
    }
    if segment.words:
        content["words"] = [_word(word) for word in segment.words]
    return content


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.text,
        "start": _time(word.start),
        "end": _time(word.end),
        "probability": round(word.probability, 4),
    }


def _time(position: int) -> str:
    """A position as clients parse it, ``"12.340"``.

    Later positions never give an earlier string: division and correct rounding are
    both monotone, so segments that do not overlap in samples do not on the wire.
    """
    return f"{samples_to_s(position):.3f}"
