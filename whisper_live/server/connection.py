"""One websocket and the session behind it.

Lets the client in, gives the session what ``intake`` brings and performs its effects;
arms one timer for the session's deadline.  Decides nothing about text.  All state
lives on the event loop; pool threads get bytes and give frames back, one job at a
time, so order is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from whisper_live.audio import samples_to_s
from whisper_live.config.model import Config
from whisper_live.errors import (
    ClientError,
    EngineUnavailable,
    HandshakeError,
    Overloaded,
    WhisperLiveError,
)
from whisper_live.inference.model_registry import Model, ModelRegistry
from whisper_live.inference.types import Outcome
from whisper_live.media.formats import open_stream
from whisper_live.media.ingest import Ingest
from whisper_live.observability.log import SessionLog
from whisper_live.observability.metrics import Metrics
from whisper_live.offline.final_pass import FinalPass
from whisper_live.protocols import whisperlive as protocol
from whisper_live.server.auth import Access, Caller
from whisper_live.server.keepalive import Keepalive
from whisper_live.server.receiver import Receiver
from whisper_live.server.recorder import Recorder
from whisper_live.server.sender import Sender, close_socket
from whisper_live.session.events import (
    Cancel,
    ClientOptions,
    Close,
    Effect,
    EndOfAudio,
    Event,
    Frames,
    Hello,
    PeerGone,
    Send,
    Submit,
)
from whisper_live.session.session import Session, State
from whisper_live.vad.silero import Detector, EverythingIsSpeech

__all__ = ["Connection", "Services"]

# A status sent right before the close is missed by WhisperLive's client, which then
# hangs (websocket-client 1.8) or spins; 2 s are enough for it to be seen.
_REFUSAL_HOLD_S = 2.0
# What websockets closes by itself, and the kind under which it is counted.
_BROKEN_RULES = {1002: "bad_frame", 1007: "bad_utf8", 1009: "message_too_big"}


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections of a server share."""

    config: Config
    roster: ModelRegistry
    metrics: Metrics
    pool: Executor
    ids: Iterator[int]  # request ids
    detector: Callable[[], Detector]
    access: Access
    admit: Callable[[Caller, str], None]  # and the model's name; raises Overloaded


class Connection:
    """Runs one client from handshake to close."""

    def __init__(
        self,
        socket: ServerConnection,
        services: Services,
        *,
        name: str,
        caller: Caller,
    ) -> None:
        self._socket = socket
        self.caller = caller
        self._services = services
        self._config = services.config
        self._metrics = services.metrics
        self._loop = asyncio.get_running_loop()
        self._session = Session(services.config, name=name, ids=services.ids)
        self._log = SessionLog(name, services.config.log)
        self._model: Model | None = None  # from admission to the end
        self._intake: Receiver | None = None
        self._recorder: Recorder | None = None
        self._final_pass: FinalPass | None = None
        self._closing: asyncio.Task[None] | None = None  # what is done before the end
        self._pulse = Keepalive(socket)
        self._outbox = Sender(
            socket,
            limit=services.config.limits.max_unsent,
            sent=lambda seconds: services.metrics.stage("emit", seconds),
        )
        self._timer: asyncio.TimerHandle | None = None
        self._failure: WhisperLiveError | None = None
        self._reason = "peer gone"
        self._logged_to_s = -1.0  # where the text in the log ends
        self.is_admitted = False  # whether it takes one of the places
        self.admitted_at = 0.0  # loop time

    @property
    def session(self) -> Session:
        """The session of this connection."""
        return self._session

    # ------------------------------------------------------------- from first to last

    async def run(self) -> None:
        """Serve the client; returns when its socket is closed."""
        try:
            message = await self._first_message()
            try:
                options = await self._enter(message)
            except (HandshakeError, Overloaded, EngineUnavailable) as refusal:
                self.is_admitted = False
                await self._refuse(protocol.uid_of(message), refusal)
                return
        except HandshakeError as late:
            await self._refuse("", late)
            return
        except ConnectionClosed:
            return
        self._metrics.session_opened()
        try:
            await self._serve(options)
        finally:
            self._metrics.session_closed()
            self._services.roster.release(self._held)

    async def _enter(self, message: str | bytes) -> ClientOptions:
        """From the first message to a session with a place and a model."""
        options = protocol.parse_handshake(message, defaults=self._config.speech)
        name = self._services.roster.choose(options.model, options.language)
        self._identify(message)
        self._services.admit(self.caller, name)
        self.is_admitted, self.admitted_at = True, self._loop.time()
        model = await self._hold(name)
        try:
            options = protocol.parse_handshake(  # now by what the model can do
                message, defaults=self._config.speech, languages=model.languages
            )
            self._model = model
            if model.name:
                self._log.info("uses model %s", model.name)
            self._start_recording()
            self._handle(Hello(options))
        except BaseException:
            self._services.roster.release(model)
            raise
        return options

    async def _hold(self, name: str) -> Model:
        """The model, which may have to be loaded; who leaves is not waited for."""
        holding = asyncio.create_task(self._services.roster.hold(name))
        gone = asyncio.create_task(self._socket.wait_closed())
        pulse = asyncio.create_task(self._pulse.run())  # proxies cut what is still
        try:
            await asyncio.wait({holding, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not holding.done():
                raise self._socket.protocol.close_exc
            return holding.result()
        finally:
            for task in (holding, gone, pulse):
                task.cancel()  # has no effect on one that is done

    @property
    def _held(self) -> Model:
        assert self._model is not None, "a session has a model from the start"
        return self._model

    @property
    def behind_s(self) -> float:
        """How much later than it was sent audio is taken in; 0 while none is read."""
        return self._intake.behind_s if self._intake is not None else 0.0

    async def drain_and_wait(self) -> None:
        """The server stops: flush what was received, close with 1012, be gone."""
        if self._intake is None:
            await self.leave()
            return
        limit = self._config.limits.drain_timeout_s / 2
        self._intake.end(self._loop.time() + limit)
        try:
            async with asyncio.timeout(limit):
                await (await self._socket.ping())
        except (TimeoutError, ConnectionClosed):
            pass
        self._intake.end(self._loop.time())
        await self._socket.wait_closed()

    async def leave(self) -> None:
        """Close with 1012 now, whatever has not been said yet."""
        await close_socket(self._socket, 1012, "service restart")

    async def _first_message(self) -> str | bytes:
        limit = self._config.limits.handshake_timeout_s
        try:
            async with asyncio.timeout(limit):
                return await self._socket.recv()
        except TimeoutError:
            raise HandshakeError(
                f"no handshake within {limit:g} s", kind="handshake_timeout"
            ) from None

    def _identify(self, message: str | bytes) -> None:
        """A browser cannot send a key with its upgrade: the first message brings it."""
        access = self._services.access
        if not access.needs_key or self.caller.key_name is not None:
            return
        name = access.key_name(protocol.token_of(message))
        if name is None:
            raise HandshakeError("a valid key is needed", kind="wrong_key")
        self.caller = replace(self.caller, key_name=name)

    def _start_recording(self) -> None:
        if self._config.log.record:
            name = self._session.name
            stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{name}"
            try:
                self._recorder = Recorder(self._config, name=name, stem=stem)
            except OSError as error:
                self._metrics.error("recording")
                self._log.error("it is not recorded: %s", error)

    async def _refuse(self, uid: str, refusal: WhisperLiveError) -> None:
        self._metrics.session_rejected(refusal.kind)
        self._log.info("refused: %s", refusal.kind)  # the detail may quote the client
        if isinstance(refusal, Overloaded):
            message = protocol.wait(uid, refusal.wait_minutes)
        else:
            message = protocol.error(uid, str(refusal))
        try:
            await self._socket.send(protocol.encode(message))
            await self._outbox.hold(_REFUSAL_HOLD_S)
            await close_socket(self._socket, refusal.close_code, refusal.kind)
        except ConnectionClosed:
            pass

    async def _serve(self, options: ClientOptions) -> None:
        caller = self.caller
        self._log.opened(
            client=options.uid,
            audio_format=options.audio_format,
            language=options.language,
            task=options.task.value,
            peer=caller.address,
            key=caller.key_name,
        )
        detector = (
            self._services.detector() if options.use_vad else EverythingIsSpeech()
        )
        ingest = Ingest(open_stream(options.audio_format), detector)
        intake = self._intake = Receiver(
            self._socket,
            ingest,
            limits=self._config.limits,
            pool=self._services.pool,
            pulse=self._pulse,
            metrics=self._metrics,
            take=self._take,
            ended=self._outbox.peer_ended,
        )
        self._metrics.options_ignored(len(options.ignored))
        if options.final_pass or self._config.stream.final_pass:
            self._final_pass = FinalPass(
                self._config, options, session=self._session.name
            )
        tasks = [
            asyncio.create_task(self._read(intake)),
            asyncio.create_task(self._notice_loss()),
            asyncio.create_task(self._pulse.run()),
        ]
        try:
            await self._outbox.run()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._handle(PeerGone())
            if self._timer is not None:
                self._timer.cancel()
            self._held.worker.forget(self._session.name)
            self._record(lambda recorder: recorder.close())
            if self._closing is not None:
                self._closing.cancel()
            if self._final_pass is not None:
                self._final_pass.close()
            self._account(ingest)
            # It refers back: with it all of this, samples included, would stay until
            # the collector's next full round, hundreds of sessions later.
            self._intake = None

    # ------------------------------------------------------------------------ reading

    async def _read(self, intake: Receiver) -> None:
        """Take messages to the end; an unusable one ends the session."""
        try:
            await intake.run()
        except ClientError as error:
            self._fail(error)
        except ConnectionClosed:
            return
        except Exception as error:
            self._crash(error)
        # What still comes is not used, but must be read for the close to get through.
        with contextlib.suppress(ConnectionClosed), self._pulse.listening():
            while True:
                if protocol.is_end_of_audio(await self._socket.recv()):
                    self._outbox.peer_ended.set()

    async def _notice_loss(self) -> None:
        """The peer's end is the session's, whatever of it has not been read yet."""
        await self._socket.wait_closed()
        self._lose(self._socket.protocol.close_exc)

    def _lose(self, closed: ConnectionClosed) -> None:
        """Nobody is there any more; say why if it was we who closed."""
        ours = 0 if closed.sent is None or closed.rcvd_then_sent else closed.sent.code
        if self._failure is None and (kind := _BROKEN_RULES.get(ours)):
            self._reason = kind
            self._metrics.error(kind)
        self._outbox.abandon()

    def _fail(self, error: ClientError) -> None:
        """Finish what was said before, then tell the client what is wrong."""
        self._metrics.error(error.kind)
        self._failure = error
        self._handle(EndOfAudio())

    # ---------------------------------------------------------- the session's effects

    def _take(self, event: Event) -> None:
        """What the intake brings."""
        if self._final_pass is not None and isinstance(event, Frames):
            self._final_pass.keep(event)
        self._handle(event)

    def _handle(self, event: Event) -> None:
        """Give the session an event and perform what it answers.

        The worker never delivers an outcome from inside ``submit`` or ``cancel``, so
        this is not entered twice and effects are performed in their order.
        """
        now = self._loop.time()
        self._perform(now, event, self._session.receive(event, now=now))

    def _deliver(self, outcome: Outcome) -> None:
        """The worker's way in."""
        try:
            self._handle(outcome)
        except Exception as error:
            self._crash(error)

    def _expire(self) -> None:
        self._timer = None
        try:
            now = self._loop.time()
            self._perform(now, None, self._session.expire(now=now))
        except Exception as error:
            self._crash(error)

    def _crash(self, error: Exception) -> None:
        """A bug: the session cannot be trusted to end itself; the others go on."""
        self._log.error("session failed", exc_info=error)
        self._metrics.error("internal")
        self._failure = WhisperLiveError("internal error")
        self._close(Close(self._failure.close_code))

    def _perform(self, now: float, event: Event | None, effects: list[Effect]) -> None:
        worker, session = self._held.worker, self._session
        self._record(lambda recorder: recorder.step(now, event, effects))
        for effect in effects:
            match effect:
                case Submit(request):
                    worker.submit(request, self._deliver)
                case Cancel(request_id):
                    worker.cancel(request_id)
                case Send():
                    self._post(effect)
                case Close():
                    self._close(effect)
        worker.speaking(session.name, session.is_speaking)
        if self._intake is not None:
            self._intake.go_on(
                has_room=session.has_room, is_wanted=session.state is State.LIVE
            )
        deadline = session.deadline()
        if self._timer is not None:
            if deadline == self._timer.when():
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._expire)

    def _post(self, message: Send) -> None:
        if self._final_pass is not None:
            self._final_pass.note(message.message)
        if self._config.log.log_transcripts:
            self._log_text(message)
        if not self._outbox.post(message) and self._reason != "unread":
            # It reads nothing: what piles up here helps nobody.
            self._reason = "unread"
            self._metrics.error("unread")
            self._closing = asyncio.create_task(
                close_socket(self._socket, 1013, "unread")
            )

    def _close(self, close: Close) -> None:
        """Close as the session says, or say first what went wrong."""
        if self._failure is None:
            self._reason = close.reason or "end of audio"
            if self._final_pass is not None and close.code == 1000:
                self._closing = asyncio.create_task(
                    self._read_again(self._final_pass, close)
                )
                return
        else:
            failure = self._failure
            self._reason = failure.kind
            uid = self._session.options.uid
            self._outbox.post(Send(protocol.error(uid, str(failure))))
            close = Close(failure.close_code, failure.kind, _REFUSAL_HOLD_S)
        self._outbox.post(close)

    async def _read_again(self, final_pass: FinalPass, close: Close) -> None:
        """The recording once more, then the close that was due."""
        try:
            async with self._services.roster.for_final_pass(
                self._held,
                session=self._session.name,
                language=self._session.options.language,
            ) as model:
                message = await final_pass.run(model.worker.submit, self._services.ids)
            self._metrics.live_wer(message["final_transcript"]["live_wer"])
            self._outbox.post(Send(message))
            self._outbox.post(close)
        except Exception as error:
            self._crash(error)

    # ----------------------------------------------------------------------- accounts

    def _log_text(self, message: Send) -> None:
        """What was committed since the last message, each segment once."""
        for segment in message.message.get("segments", ()):
            end = float(segment["end"])
            if segment["completed"] and end > self._logged_to_s:
                self._logged_to_s = end
                self._log.transcript(segment["text"])

    def _record(self, write: Callable[[Recorder], None]) -> None:
        """Write to the event log; a full disk costs the log and not the session."""
        recorder = self._recorder
        if recorder is None:
            return
        try:
            write(recorder)
        except OSError as error:
            self._recorder = None
            with contextlib.suppress(OSError):
                recorder.close()
            self._metrics.error("recording")
            self._log.error("its recording ends here: %s", error)

    def _account(self, ingest: Ingest) -> None:
        stats = self._session.stats
        for note, count in ingest.notes.items():
            self._metrics.decoder_event(note, count)
        for reason, samples in stats.dropped.items():
            self._metrics.audio_dropped(reason, samples_to_s(samples))
        for reason, count in stats.suppressed.items():
            self._metrics.suppressed(reason, count)
        for lag in stats.lags:
            self._metrics.lag(samples_to_s(lag))
        self._log.closed(
            audio_s=samples_to_s(self._session.received),
            utterances=stats.utterances,
            lag_p95_s=stats.lag_s(0.95) if stats.lags else None,
            reason=self._reason,
        )
