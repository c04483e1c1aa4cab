"""A session outlives its sockets: no word is lost, none comes twice."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.resuming import Chunked, ResumingClient, as_float32, as_webm
from tests.e2e.support import KEY, Client, client, quick, running
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.config.model import AccessConfig
from whisper_live.server.server import Server
from whisper_live.testing.marks import account_for, write_speech, write_words
from whisper_live.testing.oracle import Behaviour

# The whole of it: RESUME_SESSIONS=200 RESUME_CUTS=10, some minutes for each seed.
SESSIONS = int(os.environ.get("RESUME_SESSIONS", "6"))
CUTS = int(os.environ.get("RESUME_CUTS", "6"))


def speech(
    session: int, chance: random.Random, *, webm: bool
) -> tuple[Samples, list[int]]:
    first = session * 1000
    utterances = []
    for _ in range(5):
        size = chance.randint(1, 8)
        utterances.append(list(range(first, first + size)))
        first += size
    samples, words = write_speech(
        utterances, variant="robust" if webm else "plain", pause_s=0.7
    )
    return samples, [word.number for word in words]


def at(server: Server) -> Callable[[], str]:
    return lambda: f"ws://127.0.0.1:{server.port}/"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("encode", [as_float32, as_webm])
async def test_cut_sockets_lose_and_double_no_word(
    encode: Callable[[Samples], Chunked], seed: int
) -> None:
    behaviour = Behaviour(call_s=0.005, row_s=0.001, jitter_s=0.02)
    limits = {"max_sessions": 4000, "max_queue_delay_s": 0.0}
    resumed = 0
    async with running(quick(**limits), behaviour) as server:

        async def one(session: int) -> None:
            nonlocal resumed
            chance = random.Random(f"{seed} {session}")
            samples, sent = speech(session, chance, webm=encode is as_webm)
            one = ResumingClient(at(server), encode(samples), chance, CUTS)
            peer = await one.run()
            account = account_for(sent, peer.words)
            assert account.clean and peer.words == sent, (session, account)
            resumed += one.resumed

        async with asyncio.TaskGroup() as group:
            for session in range(SESSIONS):
                group.create_task(one(session))
    assert resumed > SESSIONS * CUTS / 4


async def ready(peer: Client, **hello: object) -> dict[str, Any]:
    await peer.hello(**hello)
    return await peer.next()


async def cut(peer: Client) -> None:
    peer.socket.transport.abort()
    await peer.socket.wait_closed()


def decoded_s(server: Server) -> float:
    page = server.metrics.render().decode()
    found = re.search(r'audio_seconds_total\{codec="pcm_f32"\} (\S+)', page)
    return float(found[1]) if found else 0.0


async def test_nobody_who_did_not_ask_sees_a_difference() -> None:
    samples, _ = write_words([1, 2])
    async with running() as server, client(server) as peer:
        told = await ready(peer)
        assert told == {
            "uid": "u",
            "message": "SERVER_READY",
            "backend": "faster_whisper",
        }
        await peer.say(samples)
        await peer.end()
        assert await peer.rest() == 1000
        keys = {key for message in peer.messages for key in message}
    assert keys == {"uid", "message", "backend", "segments"}


async def test_messages_are_numbered_and_acknowledged() -> None:
    samples, _ = write_words([1, 2])
    async with running() as server, client(server) as peer:
        told = await ready(peer, resume=True)
        assert told["seq"] == 1 and told["received"] == 0 and told["resume_s"] == 60
        await peer.say(samples)
        await peer.end()
        assert await peer.rest() == 1000
        assert [m["seq"] for m in peer.messages] == [*range(1, len(peer.messages) + 1)]
        last = peer.messages[-1]
        assert last["received"] == last["decided"] == len(samples)


async def test_an_open_socket_is_closed_by_the_one_that_resumes() -> None:
    samples, _ = write_words([1, 2, 3])
    async with running() as server, client(server) as old, client(server) as new:
        token = (await ready(old, resume=True))["resume_token"]
        await old.say(samples[:10_240])
        shown = await old.wait_for("segments")
        told = await ready(new, resume_token=token, last_seq=shown["seq"])
        assert told["resumed"] and shown["received"] <= told["received"] <= 10_240
        assert await old.rest() == 4000
        await new.say(samples[told["received"] :])
        await new.end()
        assert await new.rest() == 1000
        assert new.words == [1, 2, 3]
        page = server.metrics.render().decode()
    assert 'whisper_live_resumptions_total{outcome="resumed"} 1.0' in page
    assert "whisper_live_sessions_detached 0.0" in page


async def test_what_is_not_kept_any_more_comes_as_a_snapshot() -> None:
    samples, sent = write_speech([[n] for n in range(1, 30)], pause_s=0.6)
    async with running() as server, client(server) as old, client(server) as new:
        hello = {"resume": True, "send_last_n_segments": 1}
        token = (await ready(old, **hello))["resume_token"]
        await old.say(samples)
        while (await old.next()).get("decided") != len(samples) // 512 * 512:
            pass
        # A number that no message has had is behind all that is kept.
        told = await ready(new, resume_token=token, last_seq=1_000_000)
        assert told["snapshot"]
        shown = await new.next()
        assert new.words == [word.number for word in sent]
        await new.end()
        assert await new.rest() == 1000
        assert all(m["seq"] > shown["seq"] for m in new.messages[2:])


async def test_a_wrong_token_is_refused_and_counted() -> None:
    async with running() as server, client(server) as peer:
        await peer.hello(resume_token="wrong")
        assert await peer.rest() == 1008
        assert peer.messages[0]["status"] == "ERROR"
        assert peer.socket.close_reason == (kind := "resume_unknown")
        page = server.metrics.render().decode()
        assert f'whisper_live_sessions_rejected_total{{reason="{kind}"}} 1.0' in page


async def test_a_token_is_of_no_use_to_the_holder_of_another_key(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice {KEY}\nbob {KEY[::-1]}\n")
    keys.chmod(0o600)
    config = dataclasses.replace(quick(), access=AccessConfig(keys_file=str(keys)))
    async with running(config) as server, client(server) as alice:
        token = (await ready(alice, token=KEY, resume=True))["resume_token"]
        async with client(server) as bob:
            told = await ready(bob, token=KEY[::-1], resume_token=token)
            assert told["status"] == "ERROR"
        async with client(server) as again:
            assert (await ready(again, token=KEY, resume_token=token))["resumed"]


async def test_a_client_that_closes_has_left() -> None:
    async with running() as server:
        async with client(server) as peer:
            token = (await ready(peer, resume=True))["resume_token"]
        async with client(server) as late:
            assert (await ready(late, resume_token=token))["status"] == "ERROR"


async def test_a_detached_session_is_over_after_its_time_and_keeps_its_place() -> None:
    config = quick(resume_s=0.3, max_sessions=1)
    async with running(config) as server:
        async with client(server) as peer:
            token = (await ready(peer, resume=True))["resume_token"]
            await cut(peer)
        async with client(server) as other:
            assert "status" in await ready(other)
        while "whisper_live_sessions 0.0" not in server.metrics.render().decode():
            await asyncio.sleep(0.02)
        async with client(server) as late:
            assert (await ready(late, resume_token=token))["status"] == "ERROR"
        page = server.metrics.render().decode()
    assert 'whisper_live_resumptions_total{outcome="expired"} 1.0' in page


async def test_the_last_words_and_the_close_wait_for_the_client() -> None:
    samples, _ = write_words([1, 2, 3])
    async with running(behaviour=Behaviour(call_s=0.5)) as server:
        async with client(server) as peer:
            token = (await ready(peer, resume=True))["resume_token"]
            await peer.say(samples)
            await peer.end()
            # With the part of a frame at its end, so that the end mark was taken.
            while decoded_s(server) != len(samples) / SAMPLE_RATE:
                await asyncio.sleep(0.01)
            await cut(peer)
        async with client(server) as again:
            told = await ready(again, resume_token=token, last_seq=1)
            assert told["received"] == len(samples)
            assert await again.rest() == 1000
        assert again.words == [1, 2, 3]


async def test_a_position_says_how_long_nothing_was_recorded() -> None:
    samples, sent = write_words([1, 2])
    async with running() as server:
        async with client(server) as peer:
            token = (await ready(peer, resume=True))["resume_token"]
            await peer.send(json.dumps({"type": "position", "at": 32_000}))
            await peer.say(samples)
            await peer.end()
            assert await peer.rest() == 1000
    assert token and peer.words == [1, 2]
    assert float(next(iter(peer.completed))) == pytest.approx(2.0, abs=0.05)


async def test_a_server_may_let_nobody_resume() -> None:
    async with running(quick(resume_s=0.0)) as server, client(server) as peer:
        assert "resume_token" not in await ready(peer, resume=True)


async def test_a_restarting_server_says_when_to_come_back() -> None:
    async with running() as server, client(server) as peer:
        await ready(peer, resume=True)
        closing = asyncio.create_task(server.close())
        assert await peer.rest() == 1012
        assert peer.messages[-1]["restarting"] == 2.0
        await closing
