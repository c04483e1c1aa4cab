"""The server's settings: what they are called, what they default to, and why.

Each field below is a setting: flag ``--name-with-dashes``, environment variable
``WHISPER_LIVE_NAME``, key ``name-with-dashes`` in ``whisper-live.toml``.  ``cli``
builds the parser from these fields and docs/settings.md is checked against them,
so this module is the only place where a setting is described.  ``Config`` is built
once; nothing downstream reads flags or environment.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from whisper_live.errors import ConfigError

__all__ = [
    "AccessConfig",
    "BatchConfig",
    "Config",
    "EngineConfig",
    "LATENCIES",
    "Latency",
    "LimitConfig",
    "ListenConfig",
    "LogConfig",
    "SpeechConfig",
    "StreamConfig",
    "setting",
]


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A dataclass field that describes itself to the command line and docs/."""
    metadata = {"help": help, "choices": choices, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """Where the server can be reached."""

    host: str = setting("127.0.0.1", "address to listen on; loopback unless changed")
    port: int = setting(
        9090, "port, 0 for any free one; WhisperLive's", low=0, high=65535
    )


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Who may connect, and over what."""

    keys_file: str = setting(
        "", "file of 'name key' lines; clients must then show a key; read again on HUP"
    )
    tls_cert: str = setting("", "certificate chain (PEM); turns TLS on")
    tls_key: str = setting("", "private key (PEM) of the certificate")
    insecure: bool = setting(
        False, "allow an address other than loopback without keys and TLS"
    )
    allowed_hosts: str = setting(
        "",
        "further names browsers may know this server by, as in a.example,b; * is any",
    )
    allowed_origins: str = setting(
        "", "further Origins that may connect, as in https://a.example; * is any"
    )
    trusted_proxies: str = setting(
        "", "addresses or networks whose X-Forwarded-For is believed"
    )


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Which model runs where."""

    model: str = setting(
        "auto",
        "stock size, hub id, local directory, demo (ships with the package), or auto: "
        "large-v3-turbo on a GPU, else small; where neither cache nor hub has it the "
        "best that is installed",
    )
    revision: str = setting("", "pin a hub revision (commit) of the main model")
    model_cache: str = setting(
        "",
        "directory for downloads and joined weights; when empty the hub's own, and "
        "whisper-live in XDG_CACHE_HOME",
    )
    models: str = setting(
        "",
        "further models that clients may ask for by these names, as in tiny,medium; "
        "NAME@COMMIT pins one",
    )
    model_for_language: str = setting(
        "",
        "models for sessions whose handshake names a language, as in "
        "de=owner/name,fr=medium; one that is only detected later changes no model",
    )
    final_model: str = setting(
        "",
        "model of the final pass, NAME or NAME@COMMIT; loaded at first use; the "
        "session's own when empty",
    )
    model_memory_mb: int = setting(
        0, "most that further models may take together, estimated; 0 is no bound", low=0
    )
    model_idle_s: float = setting(
        600.0, "a further model without sessions is unloaded then; 0 is never", low=0
    )
    engine: str = setting(
        "local",
        "local runs the model; oracle is a test instrument that reads coded samples",
        choices=("local", "oracle"),
    )
    device: str = setting("auto", "where to run", choices=("auto", "cpu", "cuda"))
    device_index: str = setting("0", "GPUs to use, one worker each, as in 0,1")
    compute_type: str = setting(
        "auto", "auto is float16 on CUDA and int8 on CPU; or any CTranslate2 type"
    )
    workers: int = setting(
        0, "calls at the same time; 0 chooses from the cores", low=0, high=64
    )
    threads: int = setting(0, "threads of one call on CPU; 0 chooses", low=0, high=256)
    nice: int = setting(
        10, "how far calls on CPU give way to all other threads", low=0, high=19
    )
    audio_context: str = setting(
        "auto",
        "encoder length per call: full (30 s), auto (short where the model was "
        "trained for it), or a floor in seconds",
    )
    beam_size: int = setting(
        0,
        "beams for finals; more: fewer wrong words, slower; partials always have one; "
        "0 follows latency",
        low=0,
        high=10,
    )
    oracle_call_s: float = setting(0.0, "oracle: cost of one call", low=0)
    oracle_row_s: float = setting(0.0, "oracle: further cost of each row", low=0)

    @property
    def offered_models(self) -> frozenset[str]:
        """The names in ``models``, without the main model's own."""
        return frozenset(_pinned_names("models", self.models)) - {self.model}

    @property
    def language_models(self) -> dict[str, str]:
        """The names in ``model_for_language``, by language code.

        Raises ``ConfigError`` for what cannot be read.
        """
        found: dict[str, str] = {}
        for entry in _entries(self.model_for_language):
            code, mark, named = entry.partition("=")
            code = code.strip().lower()
            if not re.fullmatch("[a-z]{2,3}", code) or not named.strip():
                raise ConfigError(
                    f"model-for-language: {entry!r} must be CODE=NAME, as in de=medium"
                )
            if code in found:
                raise ConfigError(f"model-for-language: {code} has two models")
            [found[code]] = _pinned_names("model-for-language", named)
        return found

    @property
    def final_pass_model(self) -> str:
        """The name in ``final_model``; "" where the session's own reads."""
        return next(iter(_pinned_names("final-model", self.final_model)), "")

    @property
    def further_models(self) -> dict[str, str]:
        """All models beside the main one that may be loaded, and their revisions.

        A revision is "" where none is pinned.  Raises ``ConfigError`` for what cannot
        be read.
        """
        found: dict[str, str] = {}
        languages = [
            entry.partition("=")[2] for entry in _entries(self.model_for_language)
        ]
        for setting_name, text in (
            ("models", self.models),
            ("model-for-language", ",".join(languages)),
            ("final-model", self.final_model),
        ):
            for name, revision in _pinned_names(setting_name, text).items():
                if found.setdefault(name, revision) != revision:
                    raise ConfigError(
                        f"{setting_name}: {name} is pinned to two revisions"
                    )
        found.pop(self.model, None)
        return found


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How requests of different sessions share a call."""

    batch_size: int = setting(4, "most requests in one call", low=1, high=256)
    batch_window_ms: float = setting(
        50.0, "longest wait of the oldest request for a fuller batch", low=0, high=5000
    )
    request_timeout_s: float = setting(
        60.0, "a request without an outcome after this has failed", low=0.1
    )


@dataclass(frozen=True, slots=True)
class Latency:
    """What a choice of ``--latency`` comes to."""

    hangover_ms: float
    early_endpoint_ms: float  # not below the hangover: none is early
    beam_size: int


# Real Whisper closes nearly every fragment with a full stop, so that only silence tells
# whether a sentence is over.  LibriSpeech, LJSpeech and VCTK utterances, tiny.en, words
# wrong: 12.9 % with 500 and 300 ms, 11.7 with 1.2 s; faster-whisper 11.2 (beam 5).
LATENCIES = {
    "fast": Latency(hangover_ms=500, early_endpoint_ms=300, beam_size=1),
    "balanced": Latency(hangover_ms=1200, early_endpoint_ms=1200, beam_size=1),
    "accurate": Latency(hangover_ms=2000, early_endpoint_ms=2000, beam_size=5),
}


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """How speech is found."""

    vad_threshold: float = setting(
        0.4, "speech probability that starts an utterance", low=0.05, high=0.95
    )
    vad_release: float = setting(
        0.25, "probability below which speech may have ended", low=0.01, high=0.95
    )
    vad_gain: float = setting(
        4.0,
        "how many times as loud the speech detector hears the audio (clipped); with 1 "
        "it loses more whispering in noise",
        low=1,
        high=100,
    )
    vad_prominence: float = setting(
        8.0,
        "how many times a doubtful hiss (whispering?) counts that stands out from the "
        "background; with 1 none does",
        low=1,
        high=100,
    )
    min_speech_ms: float = setting(
        96.0, "less voiced time than this was a click, not speech", low=0, high=2000
    )
    preroll_ms: float = setting(300.0, "audio kept before speech", low=0, high=2000)
    latency: str = setting(
        "balanced",
        "how long completed text waits for more of its sentence: fast completes after "
        "0.5 s of silence and gets more words wrong, balanced after 1.2 s, accurate "
        "after 2 s and with 5 beams; clients may choose for themselves",
        choices=("fast", "balanced", "accurate"),
    )
    hangover_ms: float = setting(
        0.0,
        "silence after which an utterance has ended, 100 or more; higher: text is "
        "completed later, and sentences stay whole; 0 follows latency",
        low=0,
        high=5000,
    )
    early_endpoint_ms: float = setting(
        0.0,
        "silence that ends an utterance whose text is stable, 100 or more; lower: text "
        "is completed sooner, and sentences are cut at pauses; 0 follows latency",
        low=0,
        high=5000,
    )

    def patience(self, latency: str | None = None) -> Latency:
        """The silences to wait for, for a client that chose ``latency`` (None: not).

        A client's choice counts more than the server's settings.
        """
        if latency is not None:
            return LATENCIES[latency]
        preset = LATENCIES[self.latency]
        return Latency(
            hangover_ms=self.hangover_ms or preset.hangover_ms,
            early_endpoint_ms=self.early_endpoint_ms or preset.early_endpoint_ms,
            beam_size=preset.beam_size,
        )


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """When windows are decoded and when text is settled."""

    partial_interval_s: float = setting(
        2.0, "new audio per partial when the engine is busy", low=0.2, high=30
    )
    partial_floor_s: float = setting(
        0.5, "new audio per partial when the engine is idle", low=0.1, high=30
    )
    max_window_s: float = setting(
        28.0, "a window is split at its quietest frame before this", low=5, high=30
    )
    max_buffer_s: float = setting(
        30.0, "undecided audio kept; then the socket is read no further", low=10
    )
    commit_after_s: float = setting(
        6.0, "a longer window is shortened at a boundary of agreed words", low=2
    )
    context_chars: int = setting(
        120, "committed text given to the engine as context", low=0, high=1000
    )
    final_pass: bool = setting(
        False, "read each recording once more after its end, without being asked"
    )
    final_pass_max_s: float = setting(
        4 * 3600.0, "longest recording kept for the final pass", low=1
    )
    final_pass_timeout_s: float = setting(
        600.0, "time for the final pass; what is not read by then is reported", low=1
    )
    stall_flush_s: float = setting(
        3.0, "open speech is finished when no audio came for this long", low=0.5
    )


@dataclass(frozen=True, slots=True)
class LimitConfig:
    """What one client, and all together, may ask for."""

    max_sessions: int = setting(64, "sessions at the same time", low=1)
    max_sessions_per_address: int = setting(
        0, "sessions of one address; 0 is no limit", low=0
    )
    max_sessions_per_key: int = setting(0, "sessions of one key; 0 is no limit", low=0)
    max_queue_delay_s: float = setting(
        2.0,
        "delay of requests or audio from which new clients have to wait; 0 is never",
        low=0,
    )
    max_session_s: float = setting(
        0.0, "longest session, then DISCONNECT; 0 is no limit", low=0
    )
    idle_timeout_s: float = setting(
        60.0, "a client that sends no bytes for this long is closed", low=1
    )
    handshake_timeout_s: float = setting(
        10.0, "time for the first message after connecting", low=0.5
    )
    max_message_bytes: int = setting(1 << 20, "largest message", low=1024)
    max_unsent: int = setting(
        64, "messages a client may leave unread before it is closed", low=4
    )
    audio_rate: float = setting(
        2.0, "audio read per second of real time after the burst; 0 is no limit", low=0
    )
    audio_burst_s: float = setting(
        30.0, "audio that may come faster than audio-rate", low=0
    )
    ingest_threads: int = setting(2, "threads that decode and score", low=1, high=64)
    drain_timeout_s: float = setting(
        20.0, "time to flush all sessions at shutdown", low=0
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What the server says about itself."""

    log_level: str = setting(
        "info", "least severe level", choices=("debug", "info", "warning", "error")
    )
    log_format: str = setting("plain", "line format", choices=("plain", "json"))
    log_transcripts: bool = setting(False, "put recognised text into the log")
    record: str = setting(
        "", "directory for event logs of sessions, to replay them; they contain text"
    )
    record_audio: bool = setting(False, "with record: keep the audio as well")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one server."""

    listen: ListenConfig = ListenConfig()
    access: AccessConfig = AccessConfig()
    engine: EngineConfig = EngineConfig()
    batch: BatchConfig = BatchConfig()
    speech: SpeechConfig = SpeechConfig()
    stream: StreamConfig = StreamConfig()
    limits: LimitConfig = LimitConfig()
    log: LogConfig = LogConfig()

    @property
    def beam_size(self) -> int:
        """Beams for finals of clients that made no choice."""
        return self.engine.beam_size or LATENCIES[self.speech.latency].beam_size

    def __post_init__(self) -> None:
        for group in dataclasses.fields(self):
            _check_ranges(getattr(self, group.name))
        for name in ("hangover_ms", "early_endpoint_ms"):
            if 0 < getattr(self.speech, name) < 100:
                raise ConfigError(f"{name.replace('_', '-')} must be 0 or at least 100")
        if self.speech.vad_release > self.speech.vad_threshold:
            raise ConfigError("vad-release must not be above vad-threshold")
        if "*" in self.engine.models:
            raise ConfigError("models must name each model; there is no * for all")
        self.engine.language_models, self.engine.further_models  # raise, if unreadable
        if self.engine.final_model.count(","):
            raise ConfigError("final-model must name one model")
        if self.stream.partial_floor_s > self.stream.partial_interval_s:
            raise ConfigError("partial-floor-s must not be above partial-interval-s")
        if self.stream.max_window_s > self.stream.max_buffer_s:
            raise ConfigError("max-window-s must not be above max-buffer-s")


def _entries(text: str) -> list[str]:
    """What stands between the commas."""
    return list(filter(None, map(str.strip, text.split(","))))


def _pinned_names(setting_name: str, text: str) -> dict[str, str]:
    """Names and their revisions out of ``NAME,NAME@COMMIT``; "" where none is given."""
    found: dict[str, str] = {}
    for entry in _entries(text):
        name, mark, revision = entry, "", ""
        if not entry.startswith((".", "~", "/")):  # a directory may have an @
            name, mark, revision = entry.partition("@")
        if not name or mark and not revision:
            raise ConfigError(f"{setting_name}: {entry!r} must be NAME or NAME@COMMIT")
        if name == "auto":
            raise ConfigError(f"{setting_name}: auto is for the main model alone")
        if found.setdefault(name, revision) != revision:
            raise ConfigError(f"{setting_name}: {name} is pinned to two revisions")
    return found


def _check_ranges(group: Any) -> None:
    for field in dataclasses.fields(group):
        value, meta = getattr(group, field.name), field.metadata
        name = field.name.replace("_", "-")
        if meta["choices"] and value not in meta["choices"]:
            raise ConfigError(f"{name} must be one of {', '.join(meta['choices'])}")
        if meta["low"] is not None and value < meta["low"]:
            raise ConfigError(f"{name} must be at least {meta['low']}")
        if meta["high"] is not None and value > meta["high"]:
            raise ConfigError(f"{name} must be at most {meta['high']}")
