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
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from whisper_live.audio import samples_to_s
from whisper_live.errors import (
    ClientError,
    EngineUnavailable,
    HandshakeError,
    Overloaded,
    WhisperLiveError,
)
from whisper_live.inference.types import Outcome
from whisper_live.media.formats import open_stream
from whisper_live.media.ingest import Ingest
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
from whisper_live.server.access import Caller
from whisper_live.server.fitting import fitted
from whisper_live.server.handover import HandedOver, shifted
from whisper_live.server.keepalive import Keepalive
from whisper_live.server.keeper import Keeper
from whisper_live.server.place import Place
from whisper_live.server.receiver import Receiver
from whisper_live.server.recorder import Recording
from whisper_live.server.resume import (
    RESUME_UNKNOWN,
    Change,
    NoSocket,
    ResumableSocket,
)
from whisper_live.server.sender import Sender
from whisper_live.server.services import Services
from whisper_live.server.socket import Socket, SocketClosed
from whisper_live.session.driver import SessionDriver
from whisper_live.session.events import (
    Configure,
    EndOfAudio,
    Event,
    Frames,
    PeerGone,
)
from whisper_live.session.options import SessionOptions
from whisper_live.session.session import Session, State
from whisper_live.session.updates import Ending, Update

__all__ = ["Connection"]

# A status sent right before the close is missed by WhisperLive's client, which then
# hangs (websocket-client 1.8) or spins; 2 s are enough for it to be seen.
_REFUSAL_HOLD_S = 2.0
# What a websocket server closes by itself, and the kind under which it is counted.
_BROKEN_RULES = {
    1002: "bad_frame",
    1007: "bad_utf8",
    1008: "control_frames",
    1009: "message_too_big",
}


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
        self._driver: SessionDriver | None = None  # from the first message on
        self._receiver: Receiver | None = None
        self._is_handed_over = False  # the socket carries another session on
        self._recording: Recording | None = None
        self._final_pass: FinalPass | None = None
        self._closing: asyncio.Task[None] | None = None  # what is done before the end
        self._keepalive = Keepalive(self._socket)
        self._place = Place(self._socket, self._keepalive, services)
        self._sender = Sender(
            self._socket,
            limit=services.config.limits.max_unsent,
            sent=partial(services.metrics.stage, "emit"),
        )
        self._keeper = Keeper(self._socket, self._sender, services, self._log)
        self._timer: asyncio.TimerHandle | None = None
        self._failure: WhisperLiveError | None = None
        self._reason = "peer gone"

    # ------------------------------------------------------------- from first to last

    async def run(self) -> None:
        """Serve the client; returns when its socket is closed."""
        try:
            message = await self._first_message()
            hello = self._protocol.read_hello(message)
            access = self._services.access
            self._caller = access.identified(self._caller, hello.token)
            if hello.resume is not None:
                await self._resume(hello.resume)
                return
            hello = await self._enter(hello)
        except (HandshakeError, Overloaded, EngineUnavailable) as refusal:
            await self._refuse(refusal)
            return
        except SocketClosed:
            return
        first = message if hello.is_first_message else None
        await self._serve_and_release(hello, first)

    async def restore(self, session: HandedOver, socket: NoSocket) -> None:
        """Go on with a session of the daemon before; ``socket`` is this connection's.

        Raises ``WhisperLiveError`` where that cannot be.
        """
        protocol = self._protocol
        assert isinstance(protocol, ResumableProtocol), "others hand nothing over"
        self._keeper.continue_from(session)
        hello = protocol.read_hello(json.dumps(session.handshake))
        hello = await self._enter(replace(hello, wants_resume=True))
        protocol.retell(session.told)
        socket.gone.set()
        await self._serve_and_release(hello, None)

    async def _serve_and_release(self, hello: Hello, first: str | bytes | None) -> None:
        self._metrics.session_opened()
        try:
            await self._serve(hello, first)
        finally:
            self._metrics.session_closed()
            self._place.release()

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

    async def _enter(self, hello: Hello) -> Hello:
        """From the first message to a session with a place and a model."""
        await self._place.take(hello, self._caller, behind_s=self._behind_s)
        try:
            hello = replace(hello, options=self._fit(hello.options))
            if self._place.model.name:
                self._log.info("uses model %s", self._place.model.name)
            self._start_session(hello)
        except BaseException:
            self._place.withdraw()
            raise
        return hello

    def _fit(self, wishes: SessionOptions) -> SessionOptions:
        """The wishes as the model can fulfil them; the client is told of the others."""
        options, why = fitted(wishes, self._place.model)
        self._metrics.options_ignored(len(why))
        self._protocol.warn(why)
        return options

    def _start_session(self, hello: Hello) -> None:
        now = self._loop.time()
        session = Session(
            self._config,
            hello.options,
            name=self._name,
            ids=self._services.ids,
            now=now,
        )
        recording = self._recording = Recording(
            self._config, hello.options, log=self._log, metrics=self._metrics, now=now
        )
        self._driver = SessionDriver(
            session,
            self._place.model.worker,
            deliver=self._deliver,
            tell=self._tell,
            ended=self._end,
            record=recording.step,
        )
        self._keeper.begin(session)
        if hello.wants_resume:
            changed = self._follow_change
            self._keeper.keep(self._protocol, self._caller, changed=changed)
        ready = self._protocol.ready()
        if not self._keeper.is_continued:
            self._post(ready)

    def _follow_change(self, change: Change) -> None:
        """The client is away, or back, or will not come any more."""
        if change == "expired":
            self._reason = change
        elif change != "ended":
            self._arm()

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
        if self._failure or self._final_pass or not self._keeper.can_hand_over:
            return False
        await self._keeper.announce_restart()
        self._reason = "handed over"
        await self._keeper.hand_over()
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
        if self._place.publication is not None:
            self._place.publication.begin(options.language)
        ingest = Ingest(open_stream(hello.audio_format), self._services.detector())
        self._keeper.take_audio_by(ingest, hello.audio_format)
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
            received=lambda: self._keeper.reached()[0],
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
            self._place.model.worker.forget(self._name)
            if self._recording is not None:
                self._recording.close()
            if self._closing is not None:
                self._closing.cancel()
            if self._final_pass is not None:
                self._final_pass.close()
            self._keeper.end()
            self._account(ingest)
            # It refers back: with it all of this, samples included, would stay until
            # the collector's next full round, hundreds of sessions later.
            self._receiver = self._driver = None

    async def _essential(self, part: Coroutine[Any, Any, None]) -> None:
        """What a session cannot do without: where it fails, the session does."""
        try:
            await part
        except Exception as error:
            self._crash(error)

    async def _read(self, receiver: Receiver) -> None:
        """Take messages to the end; an unusable one ends the session."""
        try:
            await self._keeper.refeed(self._take)
            if not self._keeper.has_ended_before:
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
            self._keeper.note_received(event.samples)
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
        self._post(self._keeper.acknowledgement())
        self._place.model.worker.speaking(session.name, session.is_speaking)
        if self._receiver is not None:
            self._receiver.go_on(
                has_room=session.has_room, is_wanted=session.state is State.LIVE
            )
        self._keeper.forget_decided()
        self._arm()

    def _arm(self) -> None:
        """Set the timer to the session's deadline."""
        deadline = self._keeper.deadline()
        if self._timer is not None:
            if deadline == self._timer.when():
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._expire)

    # ----------------------------------------------------------- what the session tells

    def _tell(self, update: Update) -> None:
        update = shifted(update, self._keeper.start)
        timings = replace(update.timings, emit_s=self._sender.newest_s)
        update = replace(update, timings=timings)
        if self._final_pass is not None:
            self._final_pass.note(update)
        for segment in update.completed:
            self._log.transcript(segment.text)
        if self._place.publication is not None:
            self._place.publication.tell(update)
        self._post(self._protocol.render(update))

    def _post(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if not self._sender.post(message) and self._reason != "unread":
                # It reads nothing: what piles up here helps nobody.
                self._reason = "unread"
                self._metrics.error("unread")
                closing = self._socket.close(1013, "unread")
                self._closing = asyncio.create_task(closing)

    def _end(self, ending: Ending) -> None:
        """Close as the session says, or say first what went wrong."""
        self._place.unpublish()
        self._post(self._protocol.end(ending))
        if ending is Ending.RESTARTING:
            self._post(self._keeper.restarting())
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
                self._place.model, session=self._name, language=final_pass.language
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
