"""Rooms over real sockets: a session speaks, readers read, and who may do either."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.e2e.support import (
    KEY,
    Client,
    client,
    quick,
    running,
    whole_session,
    with_http,
)
from tests.e2e.test_http_port import ask
from tests.e2e.test_realtime import ITEM, Peer, at_24_khz
from tests.faults.certificates import certificate
from whisper_live.config.model import AccessConfig
from whisper_live.server import connection
from whisper_live.server.server import Server
from whisper_live.testing.marks import read_numbers, write_speech

TWO = write_speech([[1, 2, 3], [4]], pause_s=0.8)[0]
ONE = write_speech([[5, 6]], pause_s=0.2)[0]


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.05)


@dataclass
class RoomReader:
    """One ``EventSource``: what it was told, in order."""

    answer: aiohttp.ClientResponse
    events: list[tuple[str, str, Any]] = field(default_factory=list)

    async def next(self) -> tuple[str, str, Any]:
        """Name, id and data of the next event; ``IncompleteReadError`` at the end."""
        while True:
            block = await self.answer.content.readuntil(b"\n\n")
            if not block:
                raise EOFError
            lines = block.decode().rstrip("\n").split("\n")
            fields = dict(line.split(": ", 1) for line in lines if line[0] != ":")
            if "data" in fields:
                data = json.loads(fields["data"])
                event = fields["event"], fields.get("id", ""), data
                self.events.append(event)
                return event

    async def until(self, state: str) -> None:
        while True:
            name, _, data = await self.next()
            if name == "state" and data["state"] == state:
                return

    async def rest(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                await self.next()

    @property
    def numbers(self) -> list[int]:
        """The oracle's words in all lines."""
        said = [data["text"] for name, _, data in self.events if name == "line"]
        return [number for text in said for number in read_numbers(text)]

    @property
    def states(self) -> list[str]:
        return [data["state"] for name, _, data in self.events if name == "state"]


@contextlib.asynccontextmanager
async def reader(
    server: Server, room: str = "hall", **headers: str
) -> AsyncIterator[RoomReader]:
    """Somebody who reads a room, from its state on."""
    url = f"http://127.0.0.1:{server.http_port}/room/{room}/events"
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session:
        async with session.get(url, headers=given) as answer:
            assert answer.status == 200, await answer.text()
            yield RoomReader(answer)


async def test_readers_are_told_what_the_speaker_is(keyed: AccessConfig) -> None:
    async with running(with_http(room_grace_s=0.0)) as server:
        async with reader(server) as early, reader(server) as second:
            await early.until("waiting")
            speaker = await whole_session(server, TWO, room="hall")
            await asyncio.gather(early.rest(), second.rest())
    assert speaker.words == [1, 2, 3, 4]
    assert early.numbers == second.numbers == speaker.words
    assert early.states == ["waiting", "live", "left", "over"]
    lines = [data for name, _, data in early.events if name == "line"]
    told = sorted((float(at), text.strip()) for at, text in speaker.completed.items())
    assert [(line["start"], line["text"]) for line in lines] == told
    assert "partial" in {name for name, _, _ in early.events}


async def test_the_answer_is_one_for_eventsource() -> None:
    async with running(with_http()) as server:
        async with reader(server) as one:
            headers = one.answer.headers
            assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert headers["Cache-Control"] == "no-store"
            assert await one.answer.content.readuntil(b"\n\n") == b"retry: 2000\n\n"


async def test_who_comes_late_or_again_gets_what_is_missing() -> None:
    async with running(with_http()) as server:
        await whole_session(server, TWO, room="hall")
        async with reader(server) as late:
            while len(late.numbers) < 4:
                await late.next()
        assert late.states == ["left"] and late.numbers == [1, 2, 3, 4]
        lines = [event for event in late.events if event[0] == "line"]
        async with reader(server, Last_Event_ID=lines[0][1]) as back:
            while len(back.events) < len(lines):
                await back.next()
        assert back.events == [late.events[0], *lines[1:]]


async def test_a_session_on_the_http_port_publishes_too() -> None:
    async with running(with_http(room_grace_s=0.0)) as server:
        async with reader(server) as one:
            await whole_session(server, ONE, port=server.http_port, room="hall")
            await one.rest()
    assert one.numbers == [5, 6]


async def test_a_realtime_session_publishes_too() -> None:
    async with running(with_http()) as server, reader(server) as one:
        url = f"ws://127.0.0.1:{server.http_port}/v1/realtime?room=hall"
        async with connect(url) as socket:
            peer = Peer(socket)
            await peer.send("session.update", session={"type": "transcription"})
            await peer.say(at_24_khz(ONE))
            await peer.send("input_audio_buffer.commit")
            await peer.until(f"{ITEM}.completed")
        await one.until("left")
    assert one.numbers == [5, 6]


async def test_a_realtime_sessions_room_has_a_name_that_can_be() -> None:
    async with running(with_http()) as server:
        url = f"ws://127.0.0.1:{server.http_port}/v1/realtime?room=two%20words"
        with pytest.raises(InvalidStatus) as refused:
            await connect(url)
    assert refused.value.response.status_code == 400
    assert b"room must be 1 to 64 letters" in refused.value.response.body


async def test_a_room_goes_on_with_the_speakers_next_session() -> None:
    async with running(with_http()) as server:
        async with reader(server) as one:
            await whole_session(server, TWO, room="hall")
            await one.until("left")
            await whole_session(server, ONE, room="hall")
            await one.until("left")
    assert one.numbers == [1, 2, 3, 4, 5, 6]
    starts = [data["start"] for name, _, data in one.events if name == "line"]
    assert starts == sorted(starts)


async def test_the_subtitles_go_on_until_the_speaker_leaves() -> None:
    async with running(with_http()) as server:
        url = f"http://127.0.0.1:{server.http_port}/room/hall.vtt"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as none:
                assert none.status == 404
                assert (await none.json())["error"]["code"] == "no_room"
            async with client(server) as peer, reader(server) as one:
                await peer.hello(room="hall")
                await one.until("live")
                async with session.get(url) as live:
                    assert live.headers["Content-Type"] == "text/vtt; charset=utf-8"
                    assert await live.content.readuntil(b"\n\n") == b"WEBVTT\n\n"
                    async with session.get(f"{url}?live=0") as none_yet:
                        assert await none_yet.text() == "WEBVTT\n\n"
                    await peer.say(TWO)
                    await peer.end()
                    cues = await live.text()
            for query in ("", "?live=0"):
                async with session.get(url + query) as late:
                    assert await late.text() == "WEBVTT\n\n" + cues
                    assert late.headers["Content-Type"] == "text/vtt; charset=utf-8"
    spoken = [line for line in cues.split("\n") if " --> " not in line]
    assert read_numbers(" ".join(spoken)) == [1, 2, 3, 4]
    assert cues.count(" --> ") >= 2 and cues.endswith("\n\n")


async def test_a_second_speaker_is_refused_and_the_first_goes_on() -> None:
    async with running(with_http()) as server:
        async with client(server) as peer, client(server) as other:
            await peer.hello(room="hall")
            await peer.wait_for("message")
            await other.hello(room="hall")
            refused = await other.wait_for("status")
            assert refused["status"] == "ERROR"
            assert refused["message"].startswith("Somebody else speaks in this room")
            assert await other.rest() == 1008
            await peer.say(ONE)
            await peer.end()
            assert await peer.rest() == 1000
        assert peer.words == [5, 6]
        assert b'rejected_total{reason="room_taken"} 1.0' in server.metrics.render()


@pytest.mark.parametrize(
    "name", ["no spaces", "../etc", "a" * 65, "-x", "h\u00e4", "a\n"]
)
async def test_a_name_that_is_none_is_refused(name: str) -> None:
    async with running(with_http()) as server:
        async with client(server) as peer:
            await peer.hello(room=name)
            refused = await peer.wait_for("status")
            assert await peer.rest() == 1008
        assert refused["message"].startswith("room must be 1 to 64 letters")
        assert b'reason="handshake_room"} 1.0' in server.metrics.render()


@pytest.mark.parametrize(
    "path", ["/room/", "/room/-x", "/room/a.b", "/room/a/b/events"]
)
async def test_there_is_nothing_under_such_a_name(path: str) -> None:
    async with running(with_http()) as server:
        status, body, _ = await ask(server, path)
    assert (status, json.loads(body)["error"]["code"]) == (404, "unknown_url")


async def test_http_1_0_gets_the_same_without_chunks() -> None:
    async with running(with_http(room_grace_s=0.0)) as server:
        source, sink = await asyncio.open_connection("127.0.0.1", server.http_port)
        sink.write(b"GET /room/hall/events HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        head = await source.readuntil(b"\r\n\r\n")
        assert b"chunked" not in head
        assert await source.readuntil(b"\n\n") == b"retry: 2000\n\n"
        await whole_session(server, ONE, room="hall")
        told = await source.read()
        sink.close()
    assert told.endswith(b'data: {"state":"over","language":"en"}\n\n')
    assert b'"text":"' in told and b"\r\n" not in told


# --------------------------------------------------------------------- who may do what


async def test_a_reader_needs_a_key_where_there_are_keys(keyed: AccessConfig) -> None:
    async with running(with_http(keyed)) as server:
        for path in ("/room/hall/events", "/room/hall.vtt"):
            status, body, _ = await ask(server, path, method="GET")
            assert status == 401
            assert json.loads(body)["error"]["code"] == "invalid_api_key"
            assert (await ask(server, f"{path}?token=wrong"))[0] == 401
        assert (await ask(server, "/room/hall/events", method="HEAD"))[0] == 401
        head = await ask(server, f"/room/hall/events?token={KEY}", method="HEAD")
        assert head[:2] == (200, "")
        async with reader(server, Authorization=f"Bearer {KEY}") as one:
            await one.until("waiting")
        assert b'rejected_total{reason="no_key"} 3.0' in server.metrics.render()


async def test_open_rooms_need_none_but_speakers_do(keyed: AccessConfig) -> None:
    async with running(with_http(replace(keyed, rooms="open"))) as server:
        async with reader(server) as one:
            await one.until("waiting")
            async with client(server) as stranger:
                await stranger.hello(room="hall")
                assert (await stranger.wait_for("status"))["status"] == "ERROR"
            await whole_session(server, ONE, room="hall", token=KEY)
            await one.until("left")
    assert one.numbers == [5, 6]


async def test_only_the_named_may_publish(keyed: AccessConfig) -> None:
    access = replace(keyed, room_speakers="carol")
    async with running(with_http(access)) as server:
        async with client(server) as peer:
            await peer.hello(room="hall", token=KEY)
            refused = await peer.wait_for("status")
            assert refused["message"] == (
                "The holder of this key may not publish in rooms."
            )
        async with client(server) as peer:
            await peer.hello(token=KEY)
            assert (await peer.next())["message"] == "SERVER_READY"


async def test_rooms_can_be_off() -> None:
    async with running(with_http(AccessConfig(rooms="off"))) as server:
        for path in ("/room/hall", "/room/hall/events", "/room/hall.vtt"):
            assert (await ask(server, path))[0] == 404
        async with client(server) as peer:
            await peer.hello(room="hall")
            refused = await peer.wait_for("status")
            assert refused["message"] == "This server has no rooms."


async def test_without_an_http_port_nothing_is_published() -> None:
    async with running(quick()) as server:
        async with client(server) as peer:
            await peer.hello(room="hall")
            refused = await peer.wait_for("status")
            assert refused["message"] == "This server has no rooms."


async def test_a_foreign_page_may_not_read_and_an_allowed_one_may() -> None:
    access = AccessConfig(allowed_origins="https://a.example")
    async with running(with_http(access)) as server:
        path = "/room/hall/events"
        for foreign in (
            {"Origin": "https://b.example"},
            {"Origin": "null"},
            {"Host": "b.example"},  # a name that was bound to this address
            {"Origin": "http://b.example", "Host": "b.example"},
        ):
            status, body, _ = await ask(server, path, method="HEAD", **foreign)
            assert status == 403, foreign
        status, _, headers = await ask(
            server, path, method="HEAD", Origin="https://a.example"
        )
        assert status == 200
        assert headers["Access-Control-Allow-Origin"] == "https://a.example"


async def test_a_known_name_or_a_key_is_enough(keyed: AccessConfig) -> None:
    access = replace(keyed, rooms="open", allowed_hosts="captions.example")
    async with running(with_http(access)) as server:
        path = "/room/hall/events"
        for host, token, status in (
            ("captions.example", "", 200),
            ("b.example", "", 403),
            ("b.example", KEY, 200),
        ):
            found = await ask(server, f"{path}?token={token}", method="HEAD", Host=host)
            assert found[0] == status, host


async def test_a_name_that_is_not_the_servers_is_called_so() -> None:
    async with running(with_http()) as server:
        status, body, _ = await ask(server, "/room/hall/events", Host="b.example")
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (403, "foreign_host")
    assert error["message"].endswith("--allowed-hosts.")


async def test_the_page_needs_no_key_and_may_run_nothing_but_its_files(
    keyed: AccessConfig,
) -> None:
    async with running(with_http(keyed)) as server:
        status, page, headers = await ask(server, "/room/hall")
        assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert page == (await ask(server, "/room/attic"))[1]
        names = re.findall(r'(?:src|href)="\.\.(/page/[^"]+)"', page)
        assert "/page/room.js" in names and "/page/page.css" in names
        for name in names:
            assert (await ask(server, name))[0] == 200
        assert not re.findall(r"<style|style=|\son\w+=|<script(?! [^>]*src=)", page)
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)


async def test_the_page_to_speak_to_knows_whether_there_are_rooms() -> None:
    for rooms, known in (("key", True), ("off", False)):
        async with running(with_http(AccessConfig(rooms=rooms))) as server:
            _, body, _ = await ask(server, "/page/settings.json")
        assert json.loads(body)["rooms"] is known


async def test_rooms_are_read_over_tls(tmp_path: Path) -> None:
    certificate(tmp_path, "localhost")
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    trust = ssl.create_default_context(cafile=cert)
    access = AccessConfig(tls_cert=cert, tls_key=key)
    async with running(with_http(access, room_grace_s=0.0)) as server:
        url = f"https://127.0.0.1:{server.http_port}/room/hall/events"
        async with aiohttp.ClientSession() as session:
            async with session.get(url, ssl=trust) as answer:
                one = RoomReader(answer)
                async with connect(
                    f"wss://127.0.0.1:{server.port}", ssl=trust
                ) as socket:
                    peer = Client(socket)
                    await peer.hello(room="hall")
                    await peer.say(ONE)
                    await peer.end()
                    await peer.rest()
                await one.rest()
    assert one.numbers == [5, 6] and one.states[-1] == "over"


async def test_readers_have_places_and_give_them_back() -> None:
    async with running(with_http(max_room_readers=1)) as server:
        async with reader(server) as one:
            await one.until("waiting")
            status, body, headers = await ask(server, "/room/attic/events")
            assert (status, json.loads(body)["error"]["code"]) == (503, "room_readers")
            assert int(headers["Retry-After"]) >= 1
            status, body, _ = await ask(server, "/room/attic/events", method="HEAD")
            assert (status, body) == (503, "")
        while b"whisper_live_room_readers 0.0" not in server.metrics.render():
            await asyncio.sleep(0)
        async with reader(server) as one:
            await one.until("waiting")


async def test_the_log_names_neither_the_room_nor_what_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    async with running(with_http()) as server:
        async with reader(server, "attic-42") as one:
            await whole_session(server, ONE, room="attic-42")
            await one.until("left")
    [opened] = [r for r in caplog.records if r.getMessage().startswith("opened ")]
    assert " room=" in opened.getMessage()
    said = next(data["text"] for name, _, data in one.events if name == "line")
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("whisper_live")]
    assert not [line for line in ours if "attic" in line or said in line]


async def test_a_session_without_a_room_says_nothing_of_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with running(with_http()) as server:
        await whole_session(server, ONE)
    [opened] = [r for r in caplog.records if r.getMessage().startswith("opened ")]
    assert "room" not in opened.getMessage()
