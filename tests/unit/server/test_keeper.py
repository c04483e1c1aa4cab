"""What keeps a session for its client, without a connection around it."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.faults.collector import no_collector
from tests.virtual_time import settle
from whisper_live.config.model import Config, SpeechConfig
from whisper_live.observability.metrics import Metrics
from whisper_live.observability.session_log import SessionLog
from whisper_live.protocols.base import Resume
from whisper_live.protocols.whisperlive.server import WhisperLive
from whisper_live.server.access import Caller
from whisper_live.server.handover import HandedOver, StateFolder
from whisper_live.server.keeper import Keeper
from whisper_live.server.resume import Change, ResumableSocket, Resumption
from whisper_live.server.sender import Sender
from whisper_live.server.services import Services
from whisper_live.server.socket import SocketClosed
from whisper_live.session.session import State

HELLO = {"uid": "u", "language": "en", "task": "transcribe"}
CALLER = Caller("local", "alice")
STALL_FLUSH_S = Config().stream.stall_flush_s


class Carrier:
    """A real socket that breaks when it is told to."""

    peer = "local"
    own_close_code = peer_close_code = 0

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.broken = asyncio.Event()

    async def receive(self) -> str | bytes:
        await self.broken.wait()
        raise SocketClosed

    async def send(self, text: str) -> None:
        self.sent.append(text)

    async def ping(self) -> Awaitable[object]:
        raise AssertionError("nobody is asked here")

    async def close(self, code: int, reason: str = "") -> None:
        self.broken.set()

    async def wait_closed(self) -> None:
        await self.broken.wait()


class Kept:
    """A keeper and what is around it; the session is only what it asks for."""

    def __init__(self, *, wait_s: float = 60.0, state: StateFolder | None = None):
        loop = asyncio.get_running_loop()
        unused: Any = None
        self.session = SimpleNamespace(
            received=0, undecided=0, state=State.LIVE, deadline=lambda: loop.time()
        )
        self.resumption = Resumption(wait_s=wait_s, clock=loop.time)
        self.services = Services(
            config=Config(),
            registry=unused,
            metrics=Metrics(),
            pool=unused,
            ids=unused,
            detector=unused,
            access=unused,
            admission=unused,
            resumption=self.resumption,
            rooms=unused,
            state=state,
        )
        self.carrier = Carrier()
        self.socket = ResumableSocket(self.carrier)
        sender = Sender(self.socket, limit=9, sent=lambda seconds: None)
        self.keeper = Keeper(self.socket, sender, self.services, SessionLog("1"))
        self.protocol = WhisperLive(SpeechConfig())
        self.protocol.read_hello(json.dumps({**HELLO, "resume": True}))

    def begin(
        self, changed: Callable[[Change], None], before: HandedOver | None = None
    ) -> Keeper:
        session: Any = self.session
        if before is not None:
            self.keeper.continue_from(before)
        self.keeper.begin(session)
        self.keeper.keep(self.protocol, CALLER, changed=changed)
        return self.keeper

    def received(self, samples: int, *, undecided: int) -> None:
        self.session.received += samples
        self.session.undecided = undecided
        self.keeper.note_received(np.full(samples, 0.5, np.float32))
        self.keeper.forget_decided()


async def test_who_is_away_has_no_deadline_and_who_is_back_has_time_to_go_on() -> None:
    kept, changes = Kept(), list[Change]()
    due_at = asyncio.get_running_loop().time()
    kept.session.deadline = lambda: due_at
    keeper = kept.begin(changes.append)
    ingest: Any = SimpleNamespace(restart=lambda stream: None)
    keeper.take_audio_by(ingest, "float32")
    assert keeper.deadline() == due_at
    reading = asyncio.create_task(kept.socket.receive())
    await settle()
    kept.carrier.broken.set()
    await settle()
    assert keeper.deadline() is None and changes == ["detached"]
    back = Carrier()
    coming = asyncio.create_task(kept.socket.carry_on(back, 0))
    await settle()
    deadline = keeper.deadline()
    assert deadline is not None and deadline >= due_at + STALL_FLUSH_S
    assert changes == ["detached", "resumed"]
    back.broken.set()
    await settle()
    keeper.end()
    with pytest.raises(SocketClosed):
        await reading
    await coming
    assert changes == ["detached", "resumed", "detached", "ended"]


async def test_the_next_daemon_gets_the_audio_that_is_not_decided(
    tmp_path: Path,
) -> None:
    folder = StateFolder(tmp_path, clock=lambda: 1000.0)
    kept = Kept(state=folder)
    keeper = kept.begin(lambda change: None)
    kept.received(2048, undecided=2048)
    kept.received(2048, undecided=1000)  # 3096 are decided: six frames and a part
    assert keeper.can_hand_over and keeper.reached() == (4096, 3096)
    await keeper.announce_restart()
    await keeper.hand_over()
    await kept.socket.send('{"message": "nobody hears this"}')
    keeper.end()
    (told,) = kept.carrier.sent
    assert json.loads(told)["restarting"] == 2.0
    (state,) = folder.take()
    assert (state.start, len(state.audio), state.seq) == (3072, 1024, 1)
    assert (state.key_name, state.is_ended) == ("alice", False)


async def test_a_session_of_before_goes_on_where_it_was_with_its_token() -> None:
    audio = np.zeros(0, np.float32)
    before = HandedOver(*("t", "alice", "local", {}, ()), 7, 512, False, 0.0, audio)
    kept = Kept()
    keeper = kept.begin(lambda change: None, before)
    kept.session.received, kept.session.undecided = 1024, 24
    assert keeper.is_continued and not keeper.has_ended_before
    assert keeper.reached() == (1536, 1512) and kept.socket.seq == 8
    coming = asyncio.create_task(
        kept.resumption.resume(Resume("t", 8), Carrier(), CALLER)
    )
    await settle()
    assert not coming.done()
    keeper.end()
    with pytest.raises(Exception, match="cannot be resumed"):
        await coming


@pytest.mark.parametrize("wait_s", [0.0, 60.0])
async def test_a_server_that_keeps_no_sessions_hands_none_over(
    wait_s: float, tmp_path: Path
) -> None:
    kept = Kept(wait_s=wait_s, state=StateFolder(tmp_path, clock=lambda: 1000.0))
    keeper = kept.begin(lambda change: None)
    assert keeper.can_hand_over == kept.socket.is_kept == bool(wait_s)
    assert len(keeper.restarting()) == bool(wait_s)
    keeper.end()


async def test_at_its_end_nothing_leads_back_to_the_connection() -> None:
    """Else all of it would stay in memory until the collector comes."""

    class Owner:
        def changed(self, change: Change) -> None:
            raise AssertionError("nothing changes")

    with no_collector():
        kept, owner = Kept(), Owner()
        of_all = kept.resumption  # the server's: it stays
        seen: list[weakref.ref[Any]] = [
            weakref.ref(owner),
            weakref.ref(kept.keeper),
            weakref.ref(kept.socket),
        ]
        kept.begin(owner.changed).end()
        del owner
        assert seen[0]() is None
        kept.carrier.broken.set()
        await settle()
        del kept
        assert [each() for each in seen] == [None] * 3 and of_all.wait_s
