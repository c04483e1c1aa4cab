"""What one session needs to outlive its socket, and its daemon.

Owns the session's token, how far its client may forget audio, and the audio that the
next daemon would have to read again.  Belongs to one connection and holds no reference
to it: what a connection wants to be called with is held by the socket's ``Terms`` and
forgotten at ``end``.  Knows nothing of the wire, which a ``ResumableProtocol`` has, and
nothing of text.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whisper_live.audio import FRAME_SAMPLES, PcmFormat, SampleBuffer, Samples
from whisper_live.media.formats import open_stream
from whisper_live.media.ingest import Ingest
from whisper_live.observability.session_log import SessionLog
from whisper_live.protocols.base import Message, Protocol, ResumableProtocol
from whisper_live.server.access import Caller
from whisper_live.server.handover import HandedOver
from whisper_live.server.resume import Change, ResumableSocket, Terms, new_token
from whisper_live.server.sender import Sender
from whisper_live.server.services import Services
from whisper_live.server.socket import SocketClosed
from whisper_live.session.events import EndOfAudio, Event
from whisper_live.session.session import Session, State

__all__ = ["Keeper"]

# A daemon with a model that is on disk listens again after about so long.
_BACK_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class _Offer:
    """With what, and by whom, a session that is kept can be resumed."""

    token: str
    protocol: ResumableProtocol
    caller: Caller


class Keeper:
    """Keeps one session for its client; without ``keep`` it only counts samples.

    To be called in this order: ``continue_from``, where the session began under
    another daemon, ``begin``, ``keep``, ``take_audio_by``, and at last ``end``.
    """

    def __init__(
        self,
        socket: ResumableSocket,
        sender: Sender,
        services: Services,
        log: SessionLog,
    ) -> None:
        self._socket = socket
        self._sender = sender
        self._services = services
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._before: HandedOver | None = None  # it began under another daemon
        self._begun: Session | None = None
        self._offer: _Offer | None = None  # of a session that can be resumed
        self._ingest: Ingest | None = None
        self._audio_format: str | PcmFormat | None = None
        self._decided = 0  # all text of the audio before this was sent
        self._back_until = 0.0  # loop time for a client's audio, after it came back
        self._undecided = SampleBuffer()  # what the next daemon would need

    # ------------------------------------------------------------- from first to last

    def continue_from(self, before: HandedOver) -> None:
        """The session is one of the daemon before."""
        self._before = before

    def begin(self, session: Session) -> None:
        """This is the session, kept or not."""
        self._begun = session

    def keep(
        self, protocol: Protocol, caller: Caller, *, changed: Callable[[Change], None]
    ) -> None:
        """From now on the session outlives its socket, where the server allows that."""
        resumption = self._services.resumption
        if not resumption.wait_s or not isinstance(protocol, ResumableProtocol):
            return

        def note(change: Change) -> None:
            self._note(change)
            changed(change)

        before = self._before
        token = new_token() if before is None else before.token
        self._offer = _Offer(token, protocol, caller)
        protocol.offer(token, resumption.wait_s)
        terms = Terms(
            protocol,
            wait_s=resumption.wait_s,
            reached=self.reached,
            restart=self._restart,
            note=note,
        )
        # The number behind the newest: what was not sent is told as a snapshot.
        self._socket.keep(terms, seq=0 if before is None else before.seq + 1)
        resumption.begin(token, self._socket, key_name=caller.key_name)

    def take_audio_by(
        self, ingest: Ingest, audio_format: str | PcmFormat | None
    ) -> None:
        """Audio of this format goes to ``ingest``, and begins anew on each socket."""
        self._ingest, self._audio_format = ingest, audio_format

    def end(self) -> None:
        """The session is over, and nobody can come back to it."""
        if self._offer is not None:
            self._services.resumption.end(self._offer.token)
        self._socket.release()

    # ------------------------------------------------------------------- how far it is

    @property
    def is_continued(self) -> bool:
        """Whether the session began under another daemon."""
        return self._before is not None

    @property
    def has_ended_before(self) -> bool:
        """Whether all its audio came while another daemon had it."""
        return self._before is not None and self._before.is_ended

    @property
    def start(self) -> int:
        """The sample of the client's session with which the one here begins."""
        return 0 if self._before is None else self._before.start

    def reached(self) -> tuple[int, int]:
        """Samples received, and those whose text has all been sent."""
        session = self._session
        if self._sender.is_empty:
            self._decided = self.start + session.received - session.undecided
        return self.start + session.received, self._decided

    def deadline(self) -> float | None:
        """The session's, but none for a client that is away.

        It would end speech in mid-word that its client is about to go on with.
        """
        deadline = self._session.deadline()
        if deadline is None or self._socket.is_detached:
            return None
        return max(deadline, self._back_until)

    def acknowledgement(self) -> Sequence[Message]:
        """What the client is told, if need be, so that it can forget audio."""
        if not self._socket.acknowledgement_is_due or not self._sender.is_empty:
            return ()
        assert self._offer is not None, "it is kept"
        return (self._offer.protocol.acknowledgement(),)

    # ------------------------------------------------------ from one daemon to the next

    def note_received(self, samples: Samples) -> None:
        """The next daemon would need these, until they are decided."""
        if self._services.state is not None and self._offer is not None:
            self._undecided.append(samples)

    def forget_decided(self) -> None:
        """Nobody needs the audio any more whose text stands."""
        if not len(self._undecided):
            return
        decided = self._session.received - self._session.undecided
        # Whole frames: what is received stays where the client was told it is.
        self._undecided.trim(decided - decided % FRAME_SAMPLES)

    @property
    def can_hand_over(self) -> bool:
        """Whether there may be a next daemon, and a client that can come to it."""
        return self._services.state is not None and self._offer is not None

    def restarting(self) -> Sequence[Message]:
        """What the client of a kept session is told when the server goes."""
        if self._offer is None:
            return ()
        return (self._offer.protocol.restarting(_BACK_AFTER_S),)

    async def announce_restart(self) -> None:
        """Tell the client at once, if it is there, that the server goes."""
        with contextlib.suppress(SocketClosed):
            for message in self.restarting():
                await self._socket.send(message.text)

    async def hand_over(self) -> None:
        """Write down what the next daemon needs; a full disk costs the session."""
        # From here on nothing is told that the file does not know.
        self._socket.mute()
        folder, state = self._services.state, self._state()
        assert folder is not None, "else it cannot be handed over"
        wait_s = self._services.resumption.wait_s
        try:
            await asyncio.to_thread(folder.write, state, wait_s=wait_s)
        except OSError as error:
            self._services.metrics.error("state")
            self._log.error("it cannot be handed over: %s", error)

    def _state(self) -> HandedOver:
        offer, audio = self._offer, self._undecided
        assert offer is not None, "else it cannot be handed over"
        return HandedOver(
            token=offer.token,
            key_name=offer.caller.key_name,
            address=offer.caller.address,
            handshake=offer.protocol.handshake,
            told=tuple(offer.protocol.told),
            seq=self._socket.seq,
            start=self.start + audio.start,
            is_ended=self._session.state is not State.LIVE,
            until=0.0,
            audio=audio.read(audio.start, audio.end),
        )

    async def refeed(self, take: Callable[[Event], None]) -> None:
        """Give the session what the daemon before had received and not decided."""
        before = self._before
        if before is None:
            return
        ingest = Ingest(open_stream("float32"), self._services.detector())
        ingest.push(before.audio.astype("<f4").tobytes())
        if before.is_ended:
            ingest.finish()
        while ingest.has_more:
            frames = await self._loop.run_in_executor(self._services.pool, ingest.pull)
            if frames is None:
                break
            take(frames)
        if before.is_ended:
            take(EndOfAudio())

    # ------------------------------------------------------------- the client's sockets

    @property
    def _session(self) -> Session:
        assert self._begun is not None, "asked while there is a session"
        return self._begun

    def _restart(self) -> None:
        assert self._ingest is not None, "who is read has an ingest"
        self._ingest.restart(open_stream(self._audio_format))

    def _note(self, change: Change) -> None:
        self._log.info("%s", change)
        if change in ("detached", "resumed"):
            stall_s = self._services.config.stream.stall_flush_s
            self._back_until = self._loop.time() + stall_s
        if change == "detached":
            self._services.metrics.session_detached()
        else:
            self._services.metrics.session_attached(change)
