"""OpenAI's Realtime API on its own socket: turns, commits, and what is told of them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.support import KEY, running, with_http
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.config.model import AccessConfig
from whisper_live.server import connection
from whisper_live.server.server import Server
from whisper_live.testing.marks import read_numbers, write_speech
from whisper_live.testing.oracle import Behaviour

ITEM = "conversation.item.input_audio_transcription"
TWO = write_speech([[1, 2, 3], [4, 5]], pause_s=1.5)[0]
TAIL = np.zeros(2 * SAMPLE_RATE, np.float32)


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.05)


def at_24_khz(samples: Samples) -> bytes:
    """Without any loss below 8 kHz."""
    count = len(samples) * 3 // 2
    raised = np.fft.irfft(np.fft.rfft(samples), count) * 1.5
    return (np.clip(raised, -1, 1) * 32767).round().astype("<i2").tobytes()


class Peer:
    """One client: what it says, and what it was told."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []

    async def send(self, kind: str, **content: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **content}))

    async def update(self, **audio_input: Any) -> None:
        session = {"type": "transcription", "audio": {"input": audio_input}}
        await self.send("session.update", session=session)

    async def say(self, data: bytes, *, chunk: int = 9_600) -> None:
        for at in range(0, len(data), chunk):
            audio = base64.b64encode(data[at : at + chunk]).decode()
            await self.send("input_audio_buffer.append", audio=audio)

    async def next(self) -> dict[str, Any]:
        event = json.loads(await self.socket.recv())
        self.events.append(event)
        return dict(event)

    async def until(self, kind: str, count: int = 1) -> None:
        """Take events up to the ``count``-th of this kind."""
        while [event["type"] for event in self.events].count(kind) < count:
            await self.next()

    async def rest(self) -> int | None:
        with pytest.raises(ConnectionClosed):
            while True:
                await self.next()
        return self.socket.close_code

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def kinds(self, *without: str) -> list[str]:
        return [e["type"] for e in self.events if e["type"] not in without]


def dial(server: Server, query: str = "?intent=transcription", **options: Any) -> Any:
    return connect(f"ws://127.0.0.1:{server.http_port}/v1/realtime{query}", **options)


def words(texts: Iterable[str]) -> list[list[int]]:
    return [read_numbers(text) for text in texts]


async def test_turns_of_the_server_become_items() -> None:
    async with running(with_http()) as server, dial(server) as socket:
        peer = Peer(socket)
        assert (await peer.next())["type"] == "session.created"
        await peer.update(
            format={"type": "audio/pcm", "rate": 24000},
            transcription={"model": "gpt-4o-transcribe", "language": "en"},
            turn_detection={"type": "server_vad", "silence_duration_ms": 500},
        )
        updated = await peer.next()
        assert updated["type"] == "session.updated"
        chosen = updated["session"]["audio"]["input"]
        assert chosen["format"] == {"type": "audio/pcm", "rate": 24000}
        assert chosen["turn_detection"]["silence_duration_ms"] == 500
        await peer.say(at_24_khz(np.concatenate([TWO, TAIL])))
        await peer.until(f"{ITEM}.completed", 2)
    assert peer.kinds()[2:] == 2 * [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        f"{ITEM}.delta",
        f"{ITEM}.completed",
    ]
    done = peer.all(f"{ITEM}.completed")
    assert words(event["transcript"] for event in done) == [[1, 2, 3], [4, 5]]
    assert [e["delta"] for e in peer.all(f"{ITEM}.delta")] == [
        event["transcript"] for event in done
    ]
    assert [event["languages"] for event in done] == 2 * [[{"code": "en"}]]
    for kind in (f"{ITEM}.delta", "input_audio_buffer.committed"):
        ids = [event["item_id"] for event in peer.all(kind)]
        assert ids == [event["item_id"] for event in done]
    first, second = peer.all("input_audio_buffer.committed")
    assert first["previous_item_id"] is None
    assert second["previous_item_id"] == first["item_id"]
    started = peer.all("input_audio_buffer.speech_started")
    stopped = peer.all("input_audio_buffer.speech_stopped")
    times = [
        (a["audio_start_ms"], b["audio_end_ms"])
        for a, b in zip(started, stopped, strict=True)
    ]
    assert times == sorted(times) and all(0 <= a < b for a, b in times)
    usage = done[0]["usage"]
    assert usage["type"] == "duration"
    assert usage["seconds"] == (times[0][1] - times[0][0]) / 1000
    assert len({event["event_id"] for event in peer.events}) == len(peer.events)


async def test_a_client_that_commits_has_items_of_its_own() -> None:
    async with running(with_http()) as server, dial(server) as socket:
        peer = Peer(socket)
        await peer.next()
        await peer.update(turn_detection=None)
        for group in ([1, 2], [3]):
            await peer.say(at_24_khz(write_speech([group], pause_s=0.2)[0]))
            await peer.send("input_audio_buffer.commit")
        await peer.until(f"{ITEM}.completed", 2)
        await peer.send("input_audio_buffer.commit")  # of nothing
        await peer.until(f"{ITEM}.completed", 3)
    texts = [event["transcript"] for event in peer.all(f"{ITEM}.completed")]
    assert words(texts) == [[1, 2], [3], []]
    assert "input_audio_buffer.speech_started" not in peer.kinds()
    ids = [event["item_id"] for event in peer.all("input_audio_buffer.committed")]
    assert ids == [event["item_id"] for event in peer.all(f"{ITEM}.completed")]


async def test_what_is_cleared_is_not_told() -> None:
    async with running(with_http()) as server, dial(server) as socket:
        peer = Peer(socket)
        await peer.next()
        await peer.update(turn_detection=None)
        await peer.say(at_24_khz(write_speech([[1, 2]], pause_s=0.2)[0]))
        await peer.send("input_audio_buffer.clear")
        await peer.until("input_audio_buffer.cleared")
        await peer.say(at_24_khz(write_speech([[3]], pause_s=0.2)[0]))
        await peer.send("input_audio_buffer.commit")
        await peer.until(f"{ITEM}.completed")
    [done] = peer.all(f"{ITEM}.completed")
    assert read_numbers(done["transcript"]) == [3]


async def test_the_older_shape_and_audio_before_any_update() -> None:
    async with running(with_http()) as server:
        async with dial(server) as socket:
            peer = Peer(socket)
            await peer.next()
            await peer.send(
                "transcription_session.update",
                session={
                    "input_audio_format": "pcm16",
                    "input_audio_transcription": {"model": "whisper-1"},
                    "turn_detection": {"type": "server_vad"},
                },
            )
            updated = await peer.next()
            assert updated["type"] == "transcription_session.updated"
            assert updated["session"]["input_audio_format"] == "pcm16"
            await peer.send("nothing.that.is.known")
            await peer.say(at_24_khz(np.concatenate([TWO, TAIL])))
            await peer.until(f"{ITEM}.completed", 2)
        async with dial(server) as socket:
            peer = Peer(socket)
            await peer.say(at_24_khz(np.concatenate([TWO, TAIL])))
            await peer.until(f"{ITEM}.completed", 2)
            assert "session.updated" not in peer.kinds()
            done = peer.all(f"{ITEM}.completed")
            assert words(e["transcript"] for e in done) == [[1, 2, 3], [4, 5]]


async def test_one_item_that_fails_is_not_the_end() -> None:
    fails = Behaviour(fail_if=lambda request: request.start < 2 * SAMPLE_RATE)
    async with running(with_http(), fails) as server, dial(server) as socket:
        peer = Peer(socket)
        await peer.say(at_24_khz(np.concatenate([TWO, TAIL])))
        await peer.until(f"{ITEM}.completed")
    [failed] = peer.all(f"{ITEM}.failed")
    [done] = peer.all(f"{ITEM}.completed")
    assert failed["error"]["code"] == "oracle"
    assert failed["item_id"] != done["item_id"]
    assert read_numbers(done["transcript"]) == [4, 5]


@pytest.mark.parametrize(
    "events",
    [
        ["no json"],
        ["[]"],
        ['{"type": 7}'],
        ['{"type": "input_audio_buffer.append", "audio": "***"}'],
        ['{"type": "input_audio_buffer.append"}'],
        ['{"type": "session.update", "session": 1}'],
        ['{"type": "session.update", "session": {"audio": {"input": [1]}}}'],
        [
            '{"type": "session.update", "session": {"audio": {"input": '
            '{"format": {"type": "audio/mp3"}}}}}'
        ],
        [
            '{"type": "session.update", "session": {"audio": {"input": '
            '{"format": {"type": "audio/pcm", "rate": 16000}}}}}'
        ],
        [
            '{"type": "session.update", "session": {"audio": {"input": '
            '{"transcription": {"language": "klingon"}}}}}'
        ],
        [
            '{"type": "session.update", "session": {"audio": {"input": '
            '{"turn_detection": {"type": "telepathy"}}}}}'
        ],
        [
            '{"type": "session.update", "session": {}}',
            '{"type": "session.update", "session": {"audio": {"input": '
            '{"format": {"type": "audio/pcmu"}}}}}',
        ],
        [
            '{"type": "session.update", "session": {"audio": {"input": '
            '{"transcription": {"prompt": "' + "x" * 70_000 + '"}}}}}'
        ],
        ['{"type": "session.update", "session": ' + "[" * 50_000 + "}"],
    ],
)
async def test_nonsense_is_an_error_and_the_end(events: list[str]) -> None:
    async with running(with_http()) as server, dial(server) as socket:
        peer = Peer(socket)
        for event in events:
            await socket.send(event)
        assert await peer.rest() in (1002, 1008)
        error = peer.events[-1]
        assert error["type"] == "error"
        assert error["error"]["type"] == "invalid_request_error"


async def test_a_key_may_be_a_subprotocol(keyed: AccessConfig) -> None:
    async with running(with_http(keyed)) as server:
        offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with dial(server, subprotocols=offered) as socket:
            assert socket.subprotocol == "realtime"
            peer = Peer(socket)
            await peer.next()
            await peer.update()
            assert (await peer.next())["type"] == "session.updated"
        for wrong in (None, ["realtime", offered[1] + "x"]):
            with pytest.raises(InvalidStatus) as refused:
                async with dial(server, subprotocols=wrong):
                    pass
            assert refused.value.response.status_code == 401


async def test_a_page_has_a_key_for_a_short_time_and_sessions_alone(
    keyed: AccessConfig,
) -> None:
    session = {"audio": {"input": {"transcription": {"prompt": "about"}}}}
    async with running(with_http(keyed)) as server:
        base = f"http://127.0.0.1:{server.http_port}/v1"
        ask = {"expires_after": {"seconds": 60}, "session": session}
        headers = {"Authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession(headers=headers) as holder:
            url = f"{base}/realtime/client_secrets"
            async with holder.post(url, json=ask) as answer:
                given = await answer.json()
            for body in ("[]", '{"session": {"audio": 1}}'):
                async with holder.post(url, data=body) as answer:
                    assert answer.status == 400
            async with holder.post(url, data=b"\xff") as answer:
                assert answer.status == 400
            async with holder.post(url, data=io.BytesIO(bytes(2_000_000))) as answer:
                assert answer.status == 413
                code = (await answer.json())["error"]["code"]
                assert code == "request_entity_too_large"
        secret = given["value"]
        shown = given["session"]["audio"]["input"]["transcription"]
        assert shown == {"prompt": "about"}
        async with aiohttp.ClientSession() as page:
            async with page.get(f"{base}/models?token={secret}") as answer:
                assert answer.status == 401
            async with page.post(url, json={}) as answer:
                assert answer.status == 401
        offered = ["realtime", f"openai-insecure-api-key.{secret}"]
        async with dial(server, subprotocols=offered) as socket:
            created = await Peer(socket).next()
            begins_with = created["session"]["audio"]["input"]["transcription"]
            assert begins_with == {"prompt": "about"}
            await Peer(socket).send("input_audio_buffer.commit")
        path, whole = Path(keyed.keys_file), Path(keyed.keys_file).read_text()
        path.write_text(whole.replace("alice", "bob"))
        server.reload_keys()
        with pytest.raises(InvalidStatus):  # whose key is taken away
            async with dial(server, subprotocols=offered):
                pass
        path.write_text(whole)
        server.reload_keys()
        async with dial(server, subprotocols=offered):
            pass
        server._http._secrets._clock = lambda: 1e12  # type: ignore[union-attr]
        with pytest.raises(InvalidStatus):  # whose time is over
            async with dial(server, subprotocols=offered):
                pass


async def test_at_the_end_each_item_gets_its_text_and_1012() -> None:
    async with running(with_http()) as server:
        async with dial(server) as socket:
            peer = Peer(socket)
            await peer.next()
            await peer.update()
            await peer.next()
            await peer.say(at_24_khz(write_speech([[5, 6]], pause_s=0.0)[0]))
            closing = asyncio.create_task(server.close())
            assert await peer.rest() == 1012
            await closing
    [done] = peer.all(f"{ITEM}.completed")
    assert read_numbers(done["transcript"]) == [5, 6]
