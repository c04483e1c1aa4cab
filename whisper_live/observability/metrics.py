"""What the server counts and measures, and the page that Prometheus reads.

Owns every metric's name, unit and buckets.  One ``Metrics`` belongs to one server; it
has registries of its own, so that two servers in a process (and every test) count
apart.  Knows nothing of HTTP.

A client must not be able to make a label: label values are short names from our own
code (an error's ``kind``, a reason, a codec).  Should one be neither short nor known
among the first ``MOST_VALUES`` of its metric, it is counted as ``other``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from typing import Literal, Self, get_args

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import Metric

__all__ = [
    "CONTENT_TYPE",
    "KindName",
    "LOG_DROPPED",
    "Metrics",
    "ModelEvent",
    "OutcomeName",
    "Stage",
]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4  # what generate_latest writes

Stage = Literal["decode", "vad", "queue", "infer", "emit"]
KindName = Literal["partial", "final", "background"]  # as in inference.types
OutcomeName = Literal["hypothesis", "failed", "cancelled"]
ModelEvent = Literal["loaded", "unloaded", "failed"]

MOST_VALUES = 64  # of one label
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")

# A message's decode takes about 1 ms, a call 0.1 to some 10 s; the marks to judge by
# are 1 s and 1.5 s.
STAGE_BUCKETS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# The target is a p95 of 1 s (1.5 s under full load): dense around both.
WER_BUCKETS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
LAG_BUCKETS_S = (
    *(0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75),
    *(2.0, 2.5, 3.0, 5.0, 10.0, 30.0),
)
PADDING_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)


# The log is the whole process', so each server's page shows the same number.
LOG_DROPPED = Counter(
    "whisper_live_log_dropped",
    "Lines left out of the log: unread, or a flood from another package.",
    ["reason"],
    registry=None,
)


class _Registry(CollectorRegistry):
    """Leaves out the ``_created`` twin of every series: half the page, used by none."""

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():
            metric.samples = [
                sample
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
            yield metric


class _Labelled:
    """A counter with one label whose values stay few."""

    def __init__(self, name: str, help: str, label: str, at: CollectorRegistry) -> None:
        self._counter = Counter(name, help, [label], registry=at)
        self._seen: set[str] = set()

    def add(self, value: str, amount: float = 1) -> None:
        if value not in self._seen:
            if _NAME.fullmatch(value) is None or len(self._seen) >= MOST_VALUES:
                value = "other"
            self._seen.add(value)
        self._counter.labels(value).inc(amount)


class Metrics:
    """One server's numbers.  Every method is cheap (about 2 us) and thread-safe."""

    def __init__(self) -> None:
        self._registry = at = _Registry()
        # Prometheus' text format keeps the gauge `sessions` and the counter
        # `sessions_total` apart, one registry of the library does not.
        self._gauges = _Registry()
        ProcessCollector(registry=at)
        at.register(LOG_DROPPED)
        prefix = "whisper_live_"
        self._sessions = Gauge(
            prefix + "sessions", "Sessions that are open.", registry=self._gauges
        )
        self._places = Gauge(
            prefix + "places", "Most sessions that are let in at a time.", registry=at
        )
        self._sessions_total = Counter(
            prefix + "sessions", "Sessions admitted since the start.", registry=at
        )
        self._detached = Gauge(
            prefix + "sessions_detached",
            "Sessions that wait for a client whose socket broke.",
            registry=at,
        )
        self._resumptions = _Labelled(
            prefix + "resumptions",
            "Sockets of such sessions that broke: resumed, expired or ended.",
            "outcome",
            at,
        )
        self._rejected = _Labelled(
            prefix + "sessions_rejected",
            "Clients turned away before they had a session.",
            "reason",
            at,
        )
        self._uploads = Gauge(
            prefix + "uploads", "Uploads under way.", registry=self._gauges
        )
        self._uploads_total = _Labelled(
            prefix + "uploads",
            "Uploads, by the error that ended them or finished.",
            "outcome",
            at,
        )
        self._rooms = Gauge(
            prefix + "rooms",
            "Rooms in which somebody publishes, or did a moment ago.",
            registry=at,
        )
        self._room_readers = Gauge(
            prefix + "room_readers", "Readers of rooms.", registry=at
        )
        self._room_readers_dropped = _Labelled(
            prefix + "room_readers_dropped",
            "Readers of rooms who did not keep up.",
            "reason",
            at,
        )
        self._audio = _Labelled(
            prefix + "audio_seconds", "Audio decoded, by what carried it.", "codec", at
        )
        # Names that the operator gave, so that there are few.
        self._key_audio = Counter(
            prefix + "key_audio_seconds",
            "Audio received, live or in files, by the name of the client's key.",
            ["key"],
            registry=at,
        )
        stages = Histogram(
            prefix + "stage_duration_seconds",
            "decode, vad: CPU time per message; queue, infer: wall time per request "
            "and per call; emit: wall time from an outcome to its message.",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=at,
        )
        self._stages = {stage: stages.labels(stage) for stage in get_args(Stage)}
        self._batch_size = Histogram(
            prefix + "batch_size",
            "Requests in one engine call.",
            buckets=BATCH_BUCKETS,
            registry=at,
        )
        self._padding = Histogram(
            prefix + "padding_ratio",
            "Share of a request's audio context that held no audio.",
            buckets=PADDING_BUCKETS,
            registry=at,
        )
        self._context_fallbacks = Counter(
            prefix + "context_fallbacks",
            "Requests read again in the whole audio context, for doubtful text in a "
            "short one.",
            registry=at,
        )
        self._queue_depth = Gauge(
            prefix + "queue_depth", "Requests that wait for a call.", registry=at
        )
        self._queue_delay = Gauge(
            prefix + "queue_delay_seconds",
            "Smoothed wait of live requests; admission goes by it.",
            registry=at,
        )
        self._load_step = Gauge(
            prefix + "load_step",
            "What is given up under load: 0 nothing, 1 interims come slower, 2 finals "
            "have one beam.",
            registry=at,
        )
        self._behind = Gauge(
            prefix + "behind_seconds",
            "How late audio is taken in, in the median of sessions; as above.",
            registry=at,
        )
        requests = Counter(
            prefix + "requests",
            "Requests by kind and by what became of them.",
            ["kind", "outcome"],
            registry=at,
        )
        self._requests = {
            (kind, outcome): requests.labels(kind, outcome)
            for kind in get_args(KindName)
            for outcome in get_args(OutcomeName)
        }
        self._errors = _Labelled(
            prefix + "errors", "Errors, by the kind in our own code.", "type", at
        )
        self._dropped = _Labelled(
            prefix + "dropped_audio_seconds",
            "Speech given up without text, and reported so.",
            "reason",
            at,
        )
        self._unread = Counter(
            prefix + "unread_seconds",
            "Voice that the engine would not read, of what was dropped.",
            registry=at,
        )
        self._suppressed = _Labelled(
            prefix + "suppressed",
            "Hypotheses not shown because nobody can have said them.",
            "reason",
            at,
        )
        self._decoder_events = _Labelled(
            prefix + "decoder_events",
            "Gaps, restarts and repairs inside received media.",
            "event",
            at,
        )
        self._ignored_options = Counter(
            prefix + "ignored_options",
            "Handshake keys that do nothing, or are too long to be used in full.",
            registry=at,
        )
        self._lag = Histogram(
            prefix + "lag_seconds",
            "Newest sample received minus newest covered, at each message with text.",
            buckets=LAG_BUCKETS_S,
            registry=at,
        )
        self._live_wer = Histogram(
            prefix + "live_wer_ratio",
            "Word errors of live text per word of the final pass.",
            buckets=WER_BUCKETS,
            registry=at,
        )
        self._engine_up = Gauge(
            prefix + "engine_up", "1 while the engine answers calls.", registry=at
        )
        # Of the further models, while they are loaded; the three above are the main's.
        self._of_models = [
            Gauge(prefix + name, f"As without model_: {help}", ["model"], registry=at)
            for name, help in (
                ("model_queue_depth", "requests that wait."),
                ("model_queue_delay_seconds", "their smoothed wait."),
                ("model_engine_up", "1 while the engine answers."),
            )
        ]
        self._model_events = _Labelled(
            prefix + "model_events",
            "Further models loaded, unloaded, failed.",
            "event",
            at,
        )
        self._http_port = Gauge(
            prefix + "http_port", "The HTTP port; 0 where there is none.", registry=at
        )
        self._build = Info(prefix + "build", "What runs here.", registry=at)

    # ------------------------------------------------------------------- sessions

    def session_opened(self) -> None:
        """A client was admitted."""
        self._sessions.inc()
        self._sessions_total.inc()

    def session_closed(self) -> None:
        """A session that was opened is over."""
        self._sessions.dec()

    def offer_places(self, count: int) -> None:
        """So many sessions are let in at a time."""
        self._places.set(count)

    def session_detached(self) -> None:
        """The socket of a session that can be resumed broke."""
        self._detached.inc()

    def session_attached(self, outcome: str) -> None:
        """It waits no more: ``resumed``, ``expired``, or ``ended`` by the server."""
        self._detached.dec()
        self._resumptions.add(outcome)

    def session_rejected(self, reason: str) -> None:
        """A client was turned away: ``capacity``, ``overload``, ``auth``, ..."""
        self._rejected.add(reason)

    def upload_opened(self) -> None:
        """A file is on its way, or being read."""
        self._uploads.inc()

    def upload_closed(self, outcome: str) -> None:
        """It got its answer: ``finished``, or the kind of an error."""
        self._uploads.dec()
        self._uploads_total.add(outcome)

    def room_opened(self) -> None:
        """A session publishes under a name that was free."""
        self._rooms.inc()

    def room_closed(self) -> None:
        """Its text can be read no longer."""
        self._rooms.dec()

    def room_reader_came(self) -> None:
        """Somebody reads a room, or waits for its speaker."""
        self._room_readers.inc()

    def room_reader_left(self) -> None:
        """For whatever reason."""
        self._room_readers.dec()

    def room_reader_dropped(self, reason: str) -> None:
        """A reader takes nothing (``stalled``) or too little (``not_kept``)."""
        self._room_readers_dropped.add(reason)

    def listens_for_http(self, port: int) -> None:
        """On this port; 0 where there is none."""
        self._http_port.set(port)

    def options_ignored(self, count: int = 1) -> None:
        """A handshake had this many keys that do nothing here."""
        self._ignored_options.inc(count)

    # ---------------------------------------------------------------------- audio

    def audio_decoded(self, codec: str, seconds: float) -> None:
        """Samples came out of a decoder."""
        self._audio.add(codec, seconds)

    def key_used(self, name: str | None, seconds: float) -> None:
        """The holder of a key (None: there was none) sent so much audio."""
        if name is not None:
            self._key_audio.labels(name).inc(seconds)

    def audio_dropped(self, reason: str, seconds: float) -> None:
        """Speech was given up without text."""
        self._dropped.add(reason, seconds)
        if reason == "unread":
            self._unread.inc(seconds)

    def decoder_event(self, event: str, count: int = 1) -> None:
        """Media had a gap, a restart, a repair."""
        self._decoder_events.add(event, count)

    # ------------------------------------------------------------------ processing

    def stage(self, stage: Stage, seconds: float) -> None:
        """Time that one message (decode, vad), request or call spent in a stage."""
        self._stages[stage].observe(seconds)

    def batch_started(self, size: int) -> None:
        """An engine call began with so many requests."""
        self._batch_size.observe(size)

    def padding(self, ratio: float) -> None:
        """A request's audio context was empty to this share."""
        self._padding.observe(ratio)

    def context_fallback(self) -> None:
        """A request was read again in the whole audio context."""
        self._context_fallbacks.inc()

    def load_step(self, step: int) -> None:
        """So much is given up under load."""
        self._load_step.set(step)

    def queue(self, depth: int, delay_s: float) -> None:
        """How long the queue is, and how long live requests wait in it."""
        self._queue_depth.set(depth)
        self._queue_delay.set(delay_s)

    def request_done(self, kind: KindName, outcome: OutcomeName) -> None:
        """A request has its outcome."""
        self._requests[kind, outcome].inc()

    def suppressed(self, reason: str, count: int = 1) -> None:
        """Text was held back as invented."""
        self._suppressed.add(reason, count)

    def lag(self, seconds: float) -> None:
        """A message with text was sent this far behind the newest sample."""
        self._lag.observe(seconds)

    def live_wer(self, ratio: float) -> None:
        """How the live text compares with the final pass of the same recording."""
        self._live_wer.observe(ratio)

    # --------------------------------------------------------------------- health

    def error(self, kind: str) -> None:
        """An error happened; ``kind`` as in ``WhisperLiveError.kind``."""
        self._errors.add(kind)

    def engine_up(self, is_up: bool) -> None:
        """Whether the engine answers calls."""
        self._engine_up.set(is_up)

    def of_model(self, name: str) -> Self:
        """The same numbers, but queue and health apart, for a further model's worker.

        ``name`` becomes a label: one of those that the operator listed.
        """
        twin = copy.copy(self)
        gauges = [gauge.labels(name) for gauge in self._of_models]
        twin._queue_depth, twin._queue_delay, twin._engine_up = gauges
        return twin

    def forget_model(self, name: str) -> None:
        """A further model is unloaded: its own numbers leave the page."""
        for gauge in self._of_models:
            gauge.remove(name)

    def model_changed(self, event: ModelEvent) -> None:
        """A further model came, went, or could not come."""
        self._model_events.add(event)

    def describe(self, **facts: str) -> None:
        """Labels of ``build_info``: version, engine, model, weights, device, ..."""
        self._build.info(facts)

    def ask_behind(self, ask: Callable[[], float]) -> None:
        """Where a scrape gets ``behind_seconds`` from."""
        self._behind.set_function(ask)

    def render(self) -> bytes:
        """The page, in Prometheus' text format (``CONTENT_TYPE``)."""
        return generate_latest(self._registry) + generate_latest(self._gauges)
