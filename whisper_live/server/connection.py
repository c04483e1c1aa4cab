"""One socket and the session behind it.

Lets the client in, gives the session what the receiver brings, passes what it tells
through the client's protocol to the sender; arms one timer for the session's deadline.
Decides nothing about text and knows no wire.  All state lives on the event loop; pool
threads get bytes and give frames back, one job at a time, so order is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from whisper_live.audio import FRAME_SAMPLES, SampleBuffer, samples_to_s
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
from whisper_live.observability.metrics import Metrics
from whisper_live.observability.session_log import SessionLog, log_refusal
from whisper_live.offline.final_pass import FinalPass
from whisper_live.protocols.base import (
    Close,
    Hello,
    Message,
    Protocol,
    ResumableProtocol,
    Resume,
)
from whisper_live.server.access import Access, Caller
from whisper_live.server.admission import Admission, Lease
from whisper_live.server.fitting import fitted
from whisper_live.server.handover import HandedOver, StateFolder, shifted
from whisper_live.server.keepalive import Keepalive
from whisper_live.server.receiver import Receiver
from whisper_live.server.recorder import Recorder
from whisper_live.server.resume import (
    RESUME_UNKNOWN,
    Change,
    NoSocket,
    ResumableSocket,
    Resumption,
    Terms,
    new_token,
)
from whisper_live.server.rooms import Publication, Rooms
from whisper_live.server.sender import Sender
from whisper_live.server.socket import Socket, SocketClosed
from whisper_live.session.driver import SessionDriver
from whisper_live.session.events import (
    Configure,
    Effect,
    EndOfAudio,
    Event,
    Frames,
    PeerGone,
)
from whisper_live.session.options import SessionOptions
from whisper_live.session.session import Session, State
from whisper_live.session.updates import Ending, Update
from whisper_live.vad.silero import Detector

__all__ = ["Connection", "Services"]

# A status sent right before the close is missed by WhisperLive's client, which then
# hangs (websocket-client 1.8) or spins; 2 s are enough for it to be seen.
_REFUSAL_HOLD_S = 2.0
# A daemon with a model that is on disk listens again after about so long.
_BACK_AFTER_S = 2.0
# What a websocket server closes by itself, and the kind under which it is counted.
_BROKEN_RULES = {
    1002: "bad_frame",
    1007: "bad_utf8",
    1008: "control_frames",
    1009: "message_too_big",
}


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections of a server share."""

    config: Config
    registry: ModelRegistry
    metrics: Metrics
    pool: Executor
    ids: Iterator[int]  # request ids
    detector: Callable[[], Detector]
    access: Access
    admission: Admission
    resumption: Resumption
    rooms: Rooms
    state: StateFolder | None = None  # where sessions wait for the next daemon


class Connection:
    """Runs one client from its first message to the close."""

    def __init__(
        self,
        socket: Socket,
        protocol: Protocol,
        services: Services,
        *,
        name: str,
        caller: Caller,
    ) -> None:
        self._socket = ResumableSocket(socket)
        self._protocol = protocol
        self._services = services
        self._caller = caller
        self._name = name
        self._config = services.config
        self._metrics = services.metrics
        self._loop = asyncio.get_running_loop()
        self._log = SessionLog(name, services.config.log)
        self._model: Model | None = None  # from admission to the end
        self._driver: SessionDriver | None = None  # from the first message on
        self._receiver: Receiver | None = None
        self._ingest: Ingest | None = None
        self._token: str | None = None  # of a session that can be resumed
        self._decided = 0  # all text of the audio before this was sent
        self._back_until = 0.0  # loop time for a client's audio, after it came back
        self._restored: HandedOver | None = None  # it began under another daemon
        self._offset = 0  # where in that session this one begins
        self._undecided = SampleBuffer()  # what the next daemon would need
        self._is_handed_over = False  # the socket carries another session on
        self._recorder: Recorder | None = None
        self._final_pass: FinalPass | None = None
        self._publication: Publication | None = None  # where it speaks in a room
        self._closing: asyncio.Task[None] | None = None  # what is done before the end
        self._keepalive = Keepalive(self._socket)
        self._sender = Sender(
            self._socket,
            limit=services.config.limits.max_unsent,
            sent=partial(services.metrics.stage, "emit"),
        )
        self._timer: asyncio.TimerHandle | None = None
        self._failure: WhisperLiveError | None = None
        self._reason = "peer gone"

    # ------------------------------------------------------------- from first to last

    async def run(self) -> None:
        """Serve the client; returns when its socket is closed."""
        try:
            message = await self._first_message()
            hello = self._protocol.read_hello(message)
            self._identify(hello)
            if hello.resume is not None:
                await self._resume(hello.resume)
                return
            lease, hello = await self._enter(hello)
        except (HandshakeError, Overloaded, EngineUnavailable) as refusal:
            await self._refuse(refusal)
            return
        except SocketClosed:
            return
        first = message if hello.is_first_message else None
        await self._serve_and_release(hello, lease, first)

    async def restore(self, session: HandedOver, socket: NoSocket) -> None:
        """Go on with a session of the daemon before; ``socket`` is this connection's.

        Raises ``WhisperLiveError`` where that cannot be.
        """
        protocol = self._protocol
        assert isinstance(protocol, ResumableProtocol), "others hand nothing over"
        self._restored, self._offset = session, session.start
        hello = protocol.read_hello(json.dumps(session.handshake))
        lease, hello = await self._enter(replace(hello, wants_resume=True))
        protocol.retell(session.told)
        socket.gone.set()
        await self._serve_and_release(hello, lease, None)

    async def _serve_and_release(
        self, hello: Hello, lease: Lease, first: str | bytes | None
    ) -> None:
        self._metrics.session_opened()
        try:
            await self._serve(hello, first)
        finally:
            self._metrics.session_closed()
            self._unpublish()
            self._services.registry.release(self._held)
            self._services.admission.release(lease)

    async def _first_message(self) -> str | bytes:
        limit = self._config.limits.handshake_timeout_s
        for message in self._protocol.greeting():
            await self._socket.send(message.text)
        try:
            async with asyncio.timeout(limit):
                return await self._socket.receive()
        except TimeoutError:
            raise HandshakeError(
                f"no handshake within {limit:g} s", kind="handshake_timeout"
            ) from None

    async def _resume(self, asked: Resume) -> None:
        """Give the socket to the session whose client this is, and wait for its end."""
        resumption = self._services.resumption
        self._is_handed_over = True
        try:
            await resumption.resume(asked, self._socket.newest, self._caller)
        finally:
            self._is_handed_over = False

    async def _enter(self, hello: Hello) -> tuple[Lease, Hello]:
        """From the first message to a session with a place and a model."""
        name = self._services.registry.choose(hello.model, hello.options.language)
        admission = self._services.admission
        lease = admission.lease(self._caller, name, behind_s=self._behind_s)
        try:
            if hello.room:
                self._publication = self._services.rooms.claim(hello.room, self._caller)
            model = await self._hold(name)
            try:
                self._model = model
                options = self._fit(hello.options)
                hello = replace(hello, options=options)
                if model.name:
                    self._log.info("uses model %s", model.name)
                self._start_session(hello)
            except BaseException:
                self._services.registry.release(model)
                raise
        except BaseException:
            self._unpublish()
            admission.withdraw(lease)
            raise
        return lease, hello

    def _fit(self, wishes: SessionOptions) -> SessionOptions:
        """The wishes as the model can fulfil them; the client is told of the others."""
        options, why = fitted(wishes, self._held)
        self._metrics.options_ignored(len(why))
        self._protocol.warn(why)
        return options

    def _identify(self, hello: Hello) -> None:
        """A browser cannot send a key with its upgrade: the first message brings it."""
        access = self._services.access
        if not access.needs_key or self._caller.key_name is not None:
            return
        if not hello.token:
            raise HandshakeError(
                'A key is needed: --key, a header "Authorization: Bearer KEY", or '
                '"token" in the first message.',
                kind="no_key",
            )
        name = access.key_name(hello.token)
        if name is None:
            raise HandshakeError(
                "The key is not one of this server's.", kind="wrong_key"
            )
        self._caller = replace(self._caller, key_name=name)

    async def _hold(self, name: str) -> Model:
        """The model, which may have to be loaded; who leaves is not waited for."""
        holding = asyncio.create_task(self._services.registry.hold(name))
        gone = asyncio.create_task(self._socket.wait_closed())
        # Proxies cut what is still.
        keepalive = asyncio.create_task(self._keepalive.run())
        try:
            await asyncio.wait({holding, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not holding.done():
                raise SocketClosed
            return holding.result()
        finally:
            for task in (holding, gone, keepalive):
                task.cancel()  # has no effect on one that is done

    @property
    def _held(self) -> Model:
        assert self._model is not None, "a session has a model from the start"
        return self._model

    def _start_session(self, hello: Hello) -> None:
        now = self._loop.time()
        session = Session(
            self._config,
            hello.options,
            name=self._name,
            ids=self._services.ids,
            now=now,
        )
        self._start_recording(hello, now)
        self._driver = SessionDriver(
            session,
            self._held.worker,
            deliver=self._deliver,
            tell=self._tell,
            ended=self._end,
            record=self._record_step,
        )
        if hello.wants_resume:
            self._keep_for_return(hello)
        ready = self._protocol.ready()
        if self._restored is None:
            self._post(ready)

    def _keep_for_return(self, hello: Hello) -> None:
        """From now on the session outlives its socket, where the server allows that."""
        resumption = self._services.resumption
        protocol = self._protocol
        if not resumption.wait_s or not isinstance(protocol, ResumableProtocol):
            return

        def restart() -> None:
            assert self._ingest is not None, "who is read has an ingest"
            self._ingest.restart(open_stream(hello.audio_format))

        before = self._restored
        self._token = new_token() if before is None else before.token
        protocol.offer(self._token, resumption.wait_s)
        terms = Terms(
            protocol,
            wait_s=resumption.wait_s,
            reached=self._reached,
            restart=restart,
            note=self._note_change,
        )
        # The number behind the newest: what was not sent is told as a snapshot.
        self._socket.keep(terms, seq=0 if before is None else before.seq + 1)
        key_name = self._caller.key_name
        resumption.begin(self._token, self._socket, key_name=key_name)

    def _reached(self) -> tuple[int, int]:
        """Samples received, and those whose text has all been sent."""
        assert self._driver is not None, "asked while there is a session"
        session = self._driver.session
        if self._sender.is_empty:
            self._decided = self._offset + session.received - session.undecided
        return self._offset + session.received, self._decided

    def _note_change(self, change: Change) -> None:
        self._log.info("%s", change)
        if change in ("detached", "resumed"):
            assert self._driver is not None, "before its end a session is driven"
            self._back_until = self._loop.time() + self._config.stream.stall_flush_s
            self._arm(self._driver.session)
        if change == "detached":
            self._metrics.session_detached()
            return
        self._metrics.session_attached(change)
        if change == "expired":
            self._reason = change

    def _start_recording(self, hello: Hello, now: float) -> None:
        if self._config.log.record:
            stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{self._name}"
            try:
                self._recorder = Recorder(
                    self._config, hello.options, name=self._name, stem=stem, now=now
                )
            except OSError as error:
                self._metrics.error("recording")
                self._log.error("it is not recorded: %s", error)

    async def _refuse(self, refusal: WhisperLiveError) -> None:
        self._metrics.session_rejected(refusal.kind)
        # Not the detail, which may quote the client.
        log_refusal(self._log, refusal.kind, peer=self._caller.address)
        if (
            refusal.kind == RESUME_UNKNOWN
            and not self._services.resumption.may_answer()
        ):
            await self._socket.close(refusal.close_code, refusal.kind)
            return
        try:
            for message in self._protocol.complain(refusal):
                await self._socket.send(message.text)
            await self._sender.hold(_REFUSAL_HOLD_S)
            await self._socket.close(refusal.close_code, refusal.kind)
        except SocketClosed:
            pass

    # ------------------------------------------------------------------- for the server

    def _behind_s(self) -> float:
        """How much later than it was sent audio is taken in; 0 while none is read."""
        return self._receiver.behind_s if self._receiver is not None else 0.0

    async def drain_and_wait(self) -> None:
        """The server stops: flush what was received, close with 1012, be gone."""
        if self._is_handed_over:  # the other session's affair
            await self._socket.wait_closed()
            return
        if self._receiver is None:
            await self.leave()
            return
        if await self._hand_over():
            return
        limit = self._config.limits.drain_timeout_s / 2
        self._receiver.end(self._loop.time() + limit)
        try:
            async with asyncio.timeout(limit):
                await (await self._socket.ping())
        except (TimeoutError, SocketClosed):
            pass
        self._receiver.end(self._loop.time())
        await self._socket.wait_closed()

    async def _hand_over(self) -> bool:
        """Leave the session to the next daemon; False where it must end here."""
        folder, token = self._services.state, self._token
        if folder is None or token is None or self._failure or self._final_pass:
            return False
        protocol, driver = self._protocol, self._driver
        assert isinstance(protocol, ResumableProtocol), "it has a token"
        assert driver is not None, "a session is driven to its end"
        with contextlib.suppress(SocketClosed):
            await self._socket.send(protocol.restarting(_BACK_AFTER_S).text)
        # From here on nothing is told that the file does not know.
        self._socket.mute()
        session, audio = driver.session, self._undecided
        state = HandedOver(
            token=token,
            key_name=self._caller.key_name,
            address=self._caller.address,
            handshake=protocol.handshake,
            told=tuple(protocol.told),
            seq=self._socket.seq,
            start=self._offset + audio.start,
            is_ended=session.state is not State.LIVE,
            until=0.0,
            audio=audio.read(audio.start, audio.end),
        )
        self._reason = "handed over"
        wait_s = self._services.resumption.wait_s
        try:
            await asyncio.to_thread(folder.write, state, wait_s=wait_s)
        except OSError as error:
            self._metrics.error("state")
            self._log.error("it cannot be handed over: %s", error)
        await self.leave()
        return True

    async def leave(self) -> None:
        """Close with 1012 now, whatever has not been said yet."""
        if not self._is_handed_over:
            await self._socket.close(1012, "service restart")

    # ---------------------------------------------------------------------- the session

    async def _serve(self, hello: Hello, first: str | bytes | None) -> None:
        caller, options = self._caller, hello.options
        self._log.opened(
            client=hello.client,
            audio_format=str(hello.audio_format or "auto"),
            language=options.language,
            task=options.task.value,
            peer=caller.address,
            key=caller.key_name,
            room=hello.room,
        )
        if self._publication is not None:
            self._publication.begin(options.language)
        ingest = self._ingest = Ingest(
            open_stream(hello.audio_format), self._services.detector()
        )
        receiver = self._receiver = Receiver(
            self._socket,
            self._protocol,
            ingest,
            limits=self._config.limits,
            pool=self._services.pool,
            keepalive=self._keepalive,
            metrics=self._metrics,
            take=self._take,
            ended=self._sender.peer_ended,
            first=first,
            is_away=lambda: self._socket.is_detached,
            received=lambda: self._reached()[0],
        )
        self._metrics.options_ignored(len(hello.ignored))
        if hello.final_pass or self._config.stream.final_pass:
            self._final_pass = FinalPass(self._config, options, session=self._name)
        parts = (self._read(receiver), self._notice_loss(), self._keepalive.run())
        tasks = [asyncio.create_task(self._essential(part)) for part in parts]
        try:
            await self._sender.run()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            try:
                self._give(PeerGone())
            except Exception as error:  # what it held is given back all the same
                self._crash(error)
            if self._timer is not None:
                self._timer.cancel()
            self._held.worker.forget(self._name)
            self._record(lambda recorder: recorder.close())
            if self._closing is not None:
                self._closing.cancel()
            if self._final_pass is not None:
                self._final_pass.close()
            if self._token is not None:
                self._services.resumption.end(self._token)
            self._socket.release()
            self._account(ingest)
            # It refers back: with it all of this, samples included, would stay until
            # the collector's next full round, hundreds of sessions later.
            self._receiver = self._driver = self._ingest = None

    async def _essential(self, part: Coroutine[Any, Any, None]) -> None:
        """What a session cannot do without: where it fails, the session does."""
        try:
            await part
        except Exception as error:
            self._crash(error)

    async def _read(self, receiver: Receiver) -> None:
        """Take messages to the end; an unusable one ends the session."""
        try:
            if self._restored is not None:
                await self._refeed(self._restored)
            if self._restored is None or not self._restored.is_ended:
                await receiver.run()
        except ClientError as error:
            self._fail(error)
        except SocketClosed:
            return
        except Exception as error:
            self._crash(error)
        # What still comes is not used, but must be read for the close to get through.
        with contextlib.suppress(SocketClosed), self._keepalive.listening():
            while True:
                await asyncio.sleep(0)  # messages that are there already wait for none
                with contextlib.suppress(ClientError):
                    message = await self._socket.receive()
                    if isinstance(self._protocol.read(message), EndOfAudio):
                        self._sender.peer_ended.set()

    async def _refeed(self, before: HandedOver) -> None:
        """Give the session what the daemon before had received and not decided."""
        ingest = Ingest(open_stream("float32"), self._services.detector())
        ingest.push(before.audio.astype("<f4").tobytes())
        if before.is_ended:
            ingest.finish()
        while ingest.has_more:
            frames = await self._loop.run_in_executor(self._services.pool, ingest.pull)
            if frames is None:
                break
            self._take(frames)
        if before.is_ended:
            self._take(EndOfAudio())

    async def _notice_loss(self) -> None:
        """The peer's end is the session's, whatever of it has not been read yet."""
        await self._socket.wait_closed()
        kind = _BROKEN_RULES.get(self._socket.own_close_code)
        if self._failure is None and kind is not None:
            self._reason = kind
            self._metrics.error(kind)
        self._sender.abandon()

    def _fail(self, error: ClientError) -> None:
        """Finish what was said before, then tell the client what is wrong."""
        self._metrics.error(error.kind)
        self._failure = error.with_traceback(None)  # its frames hold the connection
        self._give(EndOfAudio())

    def _crash(self, error: Exception) -> None:
        """A bug: the session cannot be trusted to end itself; the others go on."""
        self._log.error("session failed", exc_info=error)
        self._metrics.error("internal")
        self._failure = WhisperLiveError("internal error")
        self._close_failed(self._failure)

    # ------------------------------------------------------------ events to the session

    def _take(self, event: Event) -> None:
        """What the receiver brings; raises ``ClientError`` for what cannot be."""
        if isinstance(event, Configure):
            event = Configure(self._fit(event.options))
        if isinstance(event, Frames):
            seconds = samples_to_s(len(event.samples))
            self._metrics.key_used(self._caller.key_name, seconds)
            if self._final_pass is not None:
                self._keep(self._final_pass, event)
            if self._services.state is not None and self._token is not None:
                self._undecided.append(event.samples)
        self._give(event)

    def _keep(self, final_pass: FinalPass, frames: Frames) -> None:
        """For the second reading; a full disk costs the rest of it, not the session."""
        try:
            final_pass.keep(frames)
        except OSError as error:
            self._metrics.error("recording")
            self._log.error("its recording for the final pass ends here: %s", error)

    def _give(self, event: Event) -> None:
        """An event for the session.

        The worker never delivers an outcome from inside ``submit`` or ``cancel``, so
        this is not entered twice and effects are performed in their order.
        """
        assert self._driver is not None, "a session is driven to its end"
        self._driver.give(event, now=self._loop.time())
        self._follow_up(self._driver.session)

    def _deliver(self, outcome: Outcome) -> None:
        """The worker's way in."""
        if self._driver is None:  # nobody waits for it any more
            return
        try:
            self._give(outcome)
        except Exception as error:
            self._crash(error)

    def _expire(self) -> None:
        self._timer = None
        assert self._driver is not None, "the timer is cancelled before"
        try:
            self._driver.expire(now=self._loop.time())
            self._follow_up(self._driver.session)
        except Exception as error:
            self._crash(error)

    def _follow_up(self, session: Session) -> None:
        """What follows from the session's new state."""
        self._post(self._protocol.reached(session.received - session.undecided))
        if self._socket.acknowledgement_is_due and self._sender.is_empty:
            assert isinstance(self._protocol, ResumableProtocol), "it is kept"
            self._post([self._protocol.acknowledgement()])
        self._held.worker.speaking(session.name, session.is_speaking)
        if self._receiver is not None:
            self._receiver.go_on(
                has_room=session.has_room, is_wanted=session.state is State.LIVE
            )
        if len(self._undecided):
            decided = session.received - session.undecided
            # Whole frames: what is received stays where the client was told it is.
            self._undecided.trim(decided - decided % FRAME_SAMPLES)
        self._arm(session)

    def _arm(self, session: Session) -> None:
        """Set the timer to the session's deadline, but for a client that is away.

        It would end speech in mid-word that its client is about to go on with.
        """
        deadline = session.deadline()
        if self._socket.is_detached:
            deadline = None
        elif deadline is not None:
            deadline = max(deadline, self._back_until)
        if self._timer is not None:
            if deadline == self._timer.when():
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._expire)

    # ----------------------------------------------------------- what the session tells

    def _tell(self, update: Update) -> None:
        update = shifted(update, self._offset)
        timings = replace(update.timings, emit_s=self._sender.newest_s)
        update = replace(update, timings=timings)
        if self._final_pass is not None:
            self._final_pass.note(update)
        for segment in update.completed:
            self._log.transcript(segment.text)
        if self._publication is not None:
            self._publication.tell(update)
        self._post(self._protocol.render(update))

    def _post(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if not self._sender.post(message) and self._reason != "unread":
                # It reads nothing: what piles up here helps nobody.
                self._reason = "unread"
                self._metrics.error("unread")
                closing = self._socket.close(1013, "unread")
                self._closing = asyncio.create_task(closing)

    def _unpublish(self) -> None:
        """There is no more for the readers of its room."""
        if self._publication is not None:
            self._publication.end()

    def _end(self, ending: Ending) -> None:
        """Close as the session says, or say first what went wrong."""
        self._unpublish()
        self._post(self._protocol.end(ending))
        if ending is Ending.RESTARTING and isinstance(
            self._protocol, ResumableProtocol
        ):
            if self._token is not None:
                self._post([self._protocol.restarting(_BACK_AFTER_S)])
        if self._failure is not None:
            self._close_failed(self._failure)
            return
        close = self._protocol.close(ending)
        self._reason = close.reason or "end of audio"
        if self._final_pass is not None and ending is not Ending.RESTARTING:
            reading = self._read_again(self._final_pass, close)
            self._closing = asyncio.create_task(reading)
            return
        self._sender.post(close)

    def _close_failed(self, failure: WhisperLiveError) -> None:
        self._reason = failure.kind
        self._post(self._protocol.complain(failure))
        self._sender.post(Close(failure.close_code, failure.kind, _REFUSAL_HOLD_S))

    async def _read_again(self, final_pass: FinalPass, close: Close) -> None:
        """The recording once more, then the close that was due."""
        try:
            async with self._services.registry.for_final_pass(
                self._held, session=self._name, language=final_pass.language
            ) as model:
                worker = model.worker
                transcript = await final_pass.run(worker.submit, self._services.ids)
            self._metrics.live_wer(transcript.live_wer)
            # Megabytes for hours of words: 0.2 s of the loop.
            told = await asyncio.to_thread(self._protocol.final_transcript, transcript)
            self._post(told)
            self._sender.post(close)
        except Exception as error:
            self._crash(error)

    # ----------------------------------------------------------------------- accounts

    def _record_step(
        self, now: float, event: Event | None, effects: Sequence[Effect]
    ) -> None:
        self._record(lambda recorder: recorder.step(now, event, effects))

    def _record(self, write: Callable[[Recorder], None]) -> None:
        """Write to the event log; a full disk costs the log and not the session."""
        recorder = self._recorder
        if recorder is None:
            return
        try:
            write(recorder)
        except OSError as error:
            self._recorder = None
            recorder.abandon()
            self._metrics.error("recording")
            self._log.error("its recording ends here: %s", error)

    def _account(self, ingest: Ingest) -> None:
        assert self._driver is not None, "a session is driven to its end"
        session = self._driver.session
        stats = session.stats
        for note, count in ingest.notes.items():
            self._metrics.decoder_event(note, count)
        for reason, samples in stats.dropped.items():
            self._metrics.audio_dropped(reason, samples_to_s(samples))
        for reason, count in stats.suppressed.items():
            self._metrics.suppressed(reason, count)
        for lag in stats.lags:
            self._metrics.lag(samples_to_s(lag))
        self._log.closed(
            audio_s=samples_to_s(session.received),
            utterances=stats.utterances,
            lag_p95_s=stats.lag_s(0.95) if stats.lags else None,
            reason=self._reason,
        )
