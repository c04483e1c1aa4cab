"""A daemon hands its sessions to the next: no word is lost, none comes twice."""

from __future__ import annotations

import asyncio
import os
import random
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.resuming import Chunked, ResumingClient, as_float32, as_webm
from tests.e2e.support import client, quick, running
from tests.e2e.test_resume import cut, decoded_s, ready, speech
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.server.handover import HandedOver, StateFolder
from whisper_live.testing.marks import account_for, write_words
from whisper_live.testing.oracle import Behaviour

SESSIONS = int(os.environ.get("RESUME_SESSIONS", "6"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("encode", [as_float32, as_webm])
async def test_restarts_lose_and_double_no_word(
    encode: Callable[[Samples], Chunked], tmp_path: Path
) -> None:
    config = quick(state_dir=str(tmp_path), max_sessions=4000, audio_rate=4.0)
    port = 0
    resumed = 0

    async def one(session: int) -> None:
        nonlocal resumed
        chance = random.Random(session)
        samples, sent = speech(session, chance, webm=encode is as_webm)
        url = lambda: f"ws://127.0.0.1:{port}/"  # noqa: E731
        speaker = ResumingClient(url, encode(samples), chance, 3)
        peer = await speaker.run()
        account = account_for(sent, peer.words)
        assert account.clean and peer.words == sent, (session, account)
        resumed += speaker.resumed

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for session in range(SESSIONS):
                group.create_task(one(session))

    speaking: asyncio.Task[None] | None = None
    while speaking is None or not speaking.done():
        async with running(config, Behaviour(call_s=0.005, row_s=0.001)) as server:
            port = server.port
            speaking = speaking or asyncio.create_task(all_of_them())
            await asyncio.wait({speaking}, timeout=1.0)
    await speaking
    assert resumed > SESSIONS
    assert not list(tmp_path.glob("*.part"))


async def test_half_a_word_goes_from_one_daemon_to_the_next(tmp_path: Path) -> None:
    samples, _ = write_words([1, 2, 3])
    half = len(samples) // 2 // 512 * 512  # within the second word
    config = quick(state_dir=str(tmp_path))
    async with running(config) as server, client(server) as peer:
        token = (await ready(peer, resume=True))["resume_token"]
        await peer.say(samples[:half])
        while decoded_s(server) < half / SAMPLE_RATE:
            await asyncio.sleep(0.01)
        await server.close()
        assert await peer.rest() == 1012
        assert peer.messages[-1]["restarting"] == 2.0
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with running(config) as server, client(server) as again:
        assert not list(tmp_path.iterdir())
        seq = peer.messages[-1]["seq"]
        told = await ready(again, resume_token=token, last_seq=seq)
        assert told["received"] == half and told["snapshot"]
        await again.say(samples[half:])
        await again.end()
        assert await again.rest() == 1000
    assert again.words == [1, 2, 3]


async def test_a_session_that_ends_while_it_is_written_ends_with_the_next_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, _ = write_words([1, 2, 3])
    config = quick(state_dir=str(tmp_path))
    is_closed = threading.Event()
    write = StateFolder.write

    def write_late(folder: StateFolder, state: HandedOver, *, wait_s: float) -> None:
        is_closed.wait(10)  # a slow disk
        write(folder, state, wait_s=wait_s)

    monkeypatch.setattr(StateFolder, "write", write_late)
    async with running(config) as server, client(server) as peer:
        token = (await ready(peer, resume=True))["resume_token"]
        closing = asyncio.create_task(server.close())
        while "restarting" not in (peer.messages[-1] if peer.messages else {}):
            await peer.next()
        await peer.say(samples)
        await peer.end()
        assert await peer.rest() == 1012
        is_closed.set()
        await closing
    assert peer.words == []
    async with running(config) as server, client(server) as again:
        told = await ready(again, resume_token=token)
        await again.say(samples[told["received"] :])
        await again.end()
        assert await again.rest() == 1000
    assert again.words == [1, 2, 3]


@pytest.mark.parametrize("damage", ["torn", "changed", "full disk"])
async def test_a_session_that_was_not_written_whole_is_over(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(state_dir=str(tmp_path))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    async with running(config) as server:
        async with client(server) as peer:
            token = (await ready(peer, resume=True))["resume_token"]
            await cut(peer)
        if damage == "full disk":
            monkeypatch.setattr(os, "fsync", full)
    files = list(tmp_path.iterdir())
    assert len(files) == (damage != "full disk")
    for file in files:
        data = file.read_bytes()
        file.write_bytes(data[:-9] if damage == "torn" else data[:-1] + b"?")
    async with running(config) as server, client(server) as again:
        assert not list(tmp_path.iterdir())
        assert (await ready(again, resume_token=token))["status"] == "ERROR"


def test_a_session_that_waited_too_long_is_over(tmp_path: Path) -> None:
    now = 1000.0
    folder = StateFolder(tmp_path, clock=lambda: now)
    audio = np.array([0.5, -0.5], np.float32)
    session = HandedOver(*("t", None, "local", {}, ("{}",)), 7, 512, False, 0.0, audio)
    folder.write(session, wait_s=60)
    now = 1059.0
    (taken,) = folder.take()
    assert (taken.token, taken.told, taken.seq, taken.start) == ("t", ("{}",), 7, 512)
    assert taken.audio.tolist() == [0.5, -0.5]
    folder.write(session, wait_s=60)
    now = 1120.0
    assert folder.take() == [] and not list(tmp_path.iterdir())
