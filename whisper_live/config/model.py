"""The server's settings: what they are called, what they default to, and why.

Each field below is a setting: flag ``--name-with-dashes``, environment variable
``WHISPER_LIVE_NAME``, key ``name-with-dashes`` in ``whisper-live.toml``.
``config.sources`` makes the flags and the table in docs/settings.md of these fields,
so this module is the only place where a setting is described.  ``Config`` is built
once; nothing downstream reads flags or environment.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from whisper_live.config.latency import LATENCIES, Latency
from whisper_live.errors import ConfigError

__all__ = [
    "AccessConfig",
    "BatchConfig",
    "Config",
    "EngineConfig",
    "LimitConfig",
    "ListenConfig",
    "LogConfig",
    "SpeechConfig",
    "StreamConfig",
    "WyomingConfig",
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
    http_port: int = setting(
        8000,
        "port of OpenAI's REST API, the pages and WhisperLive's socket together; 0 is "
        "off, -1 any free one",
        low=-1,
        high=65535,
    )

    @property
    def place(self) -> str:
        """As ``host:port``, an IPv6 address in brackets."""
        return (
            f"[{self.host}]:{self.port}"
            if ":" in self.host
            else f"{self.host}:{self.port}"
        )


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Who may connect, and over what."""

    keys_file: str = setting(
        "",
        "file of 'name key' lines, keys of 16 characters or more; clients must then "
        "show a key; read again on HUP",
    )
    tls_cert: str = setting("", "certificate chain (PEM); turns TLS on")
    tls_key: str = setting("", "private key (PEM) of the certificate")
    insecure: bool = setting(
        False, "allow an address other than loopback without keys and TLS"
    )
    allowed_hosts: str = setting(
        "",
        "further host names of this server that web pages may use, as in a.example,b; "
        "* allows any, which lets any page on the network connect",
    )
    allowed_origins: str = setting(
        "",
        "further origins of web pages that may connect, as in https://a.example; * "
        "allows any",
    )
    trusted_proxies: str = setting(
        "",
        "addresses or networks of proxies, and unix for one that comes over a Unix "
        "socket; from them X-Forwarded-For tells the client's address",
    )
    webhook_hosts: str = setting(
        "",
        "hosts to which uploads may have their text brought with webhook_url, as in "
        "a.example,b.example:8443; none when empty",
    )
    metrics_public: bool = setting(
        False,
        "give /metrics to everybody; if not, only to this machine itself and to who "
        "shows a key",
    )
    rooms: str = setting(
        "key",
        "who may read what a session publishes under a name: key is who shows one "
        "(everybody, where there are no keys), open is everybody, off is nobody, and "
        "nothing is published",
        choices=("off", "key", "open"),
    )
    room_speakers: str = setting(
        "",
        "names of keys, as in alice,bob, whose holders may publish in rooms; all when "
        "empty",
    )

    @property
    def room_speaker_names(self) -> frozenset[str]:
        """The names in ``room_speakers``."""
        return frozenset(_entries(self.room_speakers))

    @property
    def webhook_names(self) -> frozenset[str]:
        """The hosts in ``webhook_hosts``."""
        return frozenset(_entries(self.webhook_hosts.lower()))

    @property
    def trusts_unix(self) -> bool:
        """Whether a Unix socket's other end is a proxy."""
        return _UNIX in _entries(self.trusted_proxies.lower())

    @property
    def proxy_networks(self) -> list[IPv4Network | IPv6Network]:
        """The networks in ``trusted_proxies``; raises ``ConfigError`` for nonsense."""
        entries = _entries(self.trusted_proxies.lower())
        addresses = [entry for entry in entries if entry != _UNIX]
        return _networks("trusted-proxies", addresses, or_else=", or unix")


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
        0,
        "memory in MB that further models may take together, by an estimate; higher "
        "keeps more of them loaded; 0 is no limit",
        low=0,
    )
    model_idle_s: float = setting(
        600.0,
        "seconds after which a further model without sessions is unloaded; higher "
        "spares reloading and keeps its memory; 0 is never",
        low=0,
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
        0,
        "engine calls at the same time; more: more streams if cores are idle, and each "
        "call slower if not; 0 chooses by the cores",
        low=0,
        high=64,
    )
    threads: int = setting(
        0,
        "CPU threads of one engine call; more: a call is faster, fewer run beside it; "
        "0 chooses",
        low=0,
        high=256,
    )
    nice: int = setting(
        10,
        "nice level of engine calls on a CPU; higher: audio of all clients is taken in "
        "sooner, text comes later on a full machine",
        low=0,
        high=19,
    )
    audio_context: str = setting(
        "auto",
        "audio that the encoder computes for each call: full (30 s), auto (as short as "
        "the model was trained for or is known to bear: tiny 10 s, base 12 s), or the "
        "least seconds; shorter is faster, and stock models loop below 10",
    )
    beam_size: int = setting(
        0,
        "beams for finals; more: fewer wrong words, slower; partials always have one; "
        "0 follows latency",
        low=0,
        high=10,
    )
    oracle_call_s: float = setting(0.0, "oracle: seconds that a call takes", low=0)
    oracle_row_s: float = setting(
        0.0, "oracle: further seconds for each request in it", low=0
    )

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

    batch_size: int = setting(
        4,
        "most requests in one engine call; more: more streams, above all on a GPU, and "
        "each waits longer for its call",
        low=1,
        high=256,
    )
    batch_window_ms: float = setting(
        50.0,
        "milliseconds that the oldest request waits at most for a fuller call; higher: "
        "fuller calls, later text",
        low=0,
        high=5000,
    )
    request_timeout_s: float = setting(
        60.0,
        "seconds after which a request without an outcome has failed, and its span is "
        "reported as dropped",
        low=0.1,
    )


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """How speech is found."""

    vad_threshold: float = setting(
        0.4,
        "speech probability that starts an utterance; higher: less noise is taken for "
        "speech, soft speech is missed",
        low=0.05,
        high=0.95,
    )
    vad_release: float = setting(
        0.25,
        "speech probability below which speech may have ended; higher: utterances end "
        "sooner",
        low=0.01,
        high=0.95,
    )
    vad_gain: float = setting(
        4.0,
        "factor on the audio that the speech detector is given; higher: more "
        "whispering is found, and more noise taken for speech; 1 changes nothing",
        low=1,
        high=100,
    )
    whisper_boost: float = setting(
        8.0,
        "how strongly the speech probability of doubtful hiss is raised where it "
        "stands out from the background; higher: more whispering is found, and more "
        "noise taken for speech; 1 raises nothing",
        low=1,
        high=100,
    )
    min_speech_ms: float = setting(
        96.0,
        "milliseconds of voice below which a sound was a click; higher: fewer false "
        "starts, very short words are missed",
        low=0,
        high=2000,
    )
    preroll_ms: float = setting(
        300.0,
        "milliseconds of audio before speech that are decoded with it; higher: no "
        "first sound is lost, and more noise is decoded",
        low=0,
        high=2000,
    )
    latency: str = setting(
        "balanced",
        "how long completed text waits for more of its sentence: fast completes after "
        "0.5 s of silence with one beam and gets more words wrong, balanced after 1 s "
        "and accurate after 2 s with five; clients may choose for themselves",
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
        2.0,
        "seconds of new audio between two partials when the engine is busy; higher: "
        "less work, later partials",
        low=0.2,
        high=30,
    )
    partial_floor_s: float = setting(
        0.35,  # with 0.5, one stream of tiny.en missed the objective by 0.04 s of lag
        "seconds of new audio between two partials when the engine is idle; higher: "
        "less work, later partials",
        low=0.1,
        high=30,
    )
    max_window_s: float = setting(
        28.0,
        "seconds of speech without a pause before which a window is split at its "
        "quietest frame; lower: less context for each reading",
        low=5,
        high=30,
    )
    max_buffer_s: float = setting(
        30.0,
        "seconds of audio without final text that a session keeps; then its socket is "
        "read no further; higher costs 64 KB of memory a second",
        low=10,
    )
    commit_after_s: float = setting(
        6.0,
        "seconds after which a window is cut behind a sentence that two readings agree "
        "on, and after twice as many behind a word; higher: more context for each "
        "reading, more work",
        low=2,
    )
    context_chars: int = setting(
        120,
        "characters of committed text that the engine is given as context; higher: "
        "names stay the same, and mistakes are repeated more often",
        low=0,
        high=1000,
    )
    final_pass: bool = setting(
        False, "read each recording once more after its end, without being asked"
    )
    final_pass_max_s: float = setting(
        4 * 3600.0,
        "seconds of a recording that are kept for the final pass; the rest is reported "
        "as dropped",
        low=1,
    )
    final_pass_timeout_s: float = setting(
        600.0,
        "seconds that the final pass may take; what is not read by then is reported",
        low=1,
    )
    stall_flush_s: float = setting(
        3.0,
        "seconds without any audio after which open speech is finished; higher waits "
        "longer for a client with a bad network",
        low=0.5,
    )


@dataclass(frozen=True, slots=True)
class LimitConfig:
    """What one client, and all together, may ask for."""

    max_sessions: int = setting(
        64,
        "sessions at the same time; more clients are told to wait; capacity measures "
        "what this machine carries",
        low=1,
    )
    max_sessions_per_address: int = setting(
        0,
        "sessions of one address, or one /64 of IPv6, at the same time; 0 is no limit",
        low=0,
    )
    max_sessions_per_key: int = setting(
        0, "sessions of one key at the same time; 0 is no limit", low=0
    )
    max_queue_delay_s: float = setting(
        2.0,
        "seconds of delay, of requests or of audio taken in, from which new clients "
        "are told to wait; higher lets more in and delays all; 0 is never",
        low=0,
    )
    max_session_s: float = setting(
        0.0,
        "seconds that a session may last; then it gets its text and DISCONNECT; 0 is "
        "no limit",
        low=0,
    )
    idle_timeout_s: float = setting(
        60.0, "seconds without a byte after which a client is closed", low=1
    )
    resume_s: float = setting(
        60.0,
        "seconds that a session waits for a client whose socket broke, if it asked for "
        "that; it keeps its place; 0 lets nobody resume",
        low=0,
        high=600,
    )
    state_dir: str = setting(
        "",
        "folder of this daemon alone, in which sessions that can be resumed wait while "
        "it restarts: their text, options and up to 30 s of audio; without it they are "
        "over",
    )
    handshake_timeout_s: float = setting(
        10.0, "seconds for the first message after connecting", low=0.5
    )
    max_message_bytes: int = setting(
        1 << 20, "bytes of the largest message that a client may send", low=1024
    )
    max_unsent: int = setting(
        64,
        "messages that a client may leave unread before it is closed; higher costs "
        "memory for each",
        low=4,
    )
    max_uploads: int = setting(
        8,
        "uploads of whole files at the same time; more are refused with 503; higher: "
        "more memory and disk, and each takes longer",
        low=1,
    )
    max_upload_bytes: int = setting(
        200_000_000,
        "bytes of the largest upload; above 8 MiB it is kept in a temporary file",
        low=1024,
    )
    max_upload_s: float = setting(
        4 * 3600.0, "seconds of audio in an upload; longer ones are refused", low=1
    )
    requests_per_minute: float = setting(
        0.0,
        "requests of one key to /v1/, or of one address without keys; more are told to "
        "come back; 0 is no limit",
        low=0,
    )
    audio_s_per_minute: float = setting(
        0.0,
        "seconds of audio that one key, or address, may upload in a minute; a longer "
        "file is read, and the next request waits for it; 0 is no limit",
        low=0,
    )
    max_room_readers: int = setting(
        4000,
        "readers of all rooms at the same time; more are refused with 503; each needs "
        "an open file and 13 KiB, over TLS some 85",
        low=1,
    )
    room_grace_s: float = setting(
        300.0,
        "seconds that a room waits for its speaker to come back, and its text can be "
        "read, after a session is over",
        low=0,
    )
    audio_rate: float = setting(
        2.0,
        "seconds of audio that are read per second, after the burst; higher lets files "
        "through faster and live streams wait; 0 is no limit",
        low=0,
    )
    audio_burst_s: float = setting(
        30.0, "seconds of audio that may come faster than audio-rate", low=0
    )
    ingest_threads: int = setting(
        2, "threads that decode audio and detect speech", low=1, high=64
    )
    drain_timeout_s: float = setting(
        20.0,
        "seconds for all sessions to get their last text at shutdown; systemd must "
        "wait longer",
        low=0,
    )


@dataclass(frozen=True, slots=True)
class WyomingConfig:
    """A second port, for Home Assistant."""

    wyoming_port: int = setting(
        0,
        "port for Home Assistant (Wyoming), usually 10300; 0 is off",
        low=0,
        high=65535,
    )
    wyoming_host: str = setting(
        "127.0.0.1",
        "address of that port; any other than loopback needs insecure, since the "
        "protocol has neither keys nor TLS",
    )
    wyoming_allow: str = setting(
        "",
        "addresses or networks that may use that port, as in 192.168.0.0/16, and this "
        "machine; everybody when empty",
    )
    wyoming_silence_ms: float = setting(
        700.0,
        "silence after which a voice command has ended and is answered; clients may "
        "ask for 250 or 1250; higher: slow speakers are not cut short, the answer "
        "comes later; 0 leaves the end to the client",
        low=0,
        high=5000,
    )
    wyoming_max_s: float = setting(
        30.0,
        "seconds after which a voice command is answered even if nobody spoke or "
        "somebody still does; 0 is no limit",
        low=0,
    )

    wyoming_announce: bool = setting(
        True,
        "tell the network of that port (zeroconf), so that Home Assistant finds it; "
        "not where only this machine reaches it",
    )

    @property
    def wyoming_networks(self) -> list[IPv4Network | IPv6Network]:
        """The networks in ``wyoming_allow``; raises ``ConfigError`` for nonsense."""
        return _networks("wyoming-allow", _entries(self.wyoming_allow))

    @property
    def place(self) -> str:
        """As ``host:port``, an IPv6 address in brackets."""
        return ListenConfig(self.wyoming_host, self.wyoming_port).place


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What the server says about itself."""

    log_level: str = setting(
        "info",
        "least severe messages in the log",
        choices=("debug", "info", "warning", "error"),
    )
    log_format: str = setting(
        "plain", "form of a line in the log", choices=("plain", "json")
    )
    log_transcripts: bool = setting(False, "write recognised text into the log")
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
    wyoming: WyomingConfig = WyomingConfig()
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
        if 0 < self.wyoming.wyoming_silence_ms < 100:
            raise ConfigError("wyoming-silence-ms must be 0 or at least 100")
        if self.speech.vad_release > self.speech.vad_threshold:
            raise ConfigError("vad-release must not be above vad-threshold")
        if "*" in self.engine.models:
            raise ConfigError("models must name each model; there is no * for all")
        # These raise, if unreadable.
        self.engine.language_models, self.engine.further_models
        self.access.proxy_networks, self.wyoming.wyoming_networks
        if self.access.tls_key and not self.access.tls_cert:
            raise ConfigError("tls-key without tls-cert would serve without TLS")
        if self.access.room_speakers and not self.access.keys_file:
            raise ConfigError("room-speakers needs keys-file: the names are of keys")
        if self.engine.final_model.count(","):
            raise ConfigError("final-model must name one model")
        if self.stream.partial_floor_s > self.stream.partial_interval_s:
            raise ConfigError("partial-floor-s must not be above partial-interval-s")
        if self.stream.max_window_s > self.stream.max_buffer_s:
            raise ConfigError("max-window-s must not be above max-buffer-s")


_UNIX = "unix"  # in `trusted_proxies`
_MAPPED_BITS = 96  # before the IPv4 address in an IPv6 address such as ::ffff:10.0.0.1


def _networks(
    setting_name: str, entries: Sequence[str], *, or_else: str = ""
) -> list[IPv4Network | IPv6Network]:
    """Addresses and networks as networks; ``or_else``: what else could stand there."""
    found: list[IPv4Network | IPv6Network] = []
    for entry in entries:
        try:
            network = ip_network(entry, strict=False)
        except ValueError as error:
            raise ConfigError(
                f"{setting_name}: {entry!r} must be an address, a network such as "
                f"10.0.0.0/8{or_else}"
            ) from error
        found.append(_without_mapping(network))
    return found


def _without_mapping(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """An IPv4 network that was written as IPv6, in the form that peers have."""
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        if (address := network.network_address.ipv4_mapped) is not None:
            return IPv4Network((address, network.prefixlen - _MAPPED_BITS))
    return network


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
