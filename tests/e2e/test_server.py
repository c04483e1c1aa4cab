"""The daemon on real sockets: one client's way from handshake to close."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.e2e.support import client, quick, running, whole_session
from tests.faults.attacks import open_raw
from whisper_live.server import connection
from whisper_live.testing.marks import write_speech
from whisper_live.testing.oracle import Behaviour


@pytest.fixture(autouse=True)
def short_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connection._REFUSAL_HOLD_S >= 2.0
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.05)


TWO = write_speech([[1, 2, 3], [4]], pause_s=0.8)[0]


async def test_every_word_is_completed_once_and_the_server_closes() -> None:
    async with running() as server:
        peer = await whole_session(server, TWO)
    assert peer.messages[0] == {
        "uid": "u",
        "message": "SERVER_READY",
        "backend": "faster_whisper",
    }
    assert peer.words == [1, 2, 3, 4]
    assert peer.socket.close_code == 1000


@pytest.mark.parametrize("mark", [b"END_OF_AUDIO", "END_OF_AUDIO"])
async def test_the_tail_is_flushed_whether_the_end_mark_is_binary_or_text(
    mark: str | bytes,
) -> None:
    samples, _ = write_speech([[7, 8]], pause_s=0.0)
    async with running() as server, client(server) as peer:
        await peer.hello()
        await peer.say(samples)
        await peer.end(mark)
        assert await peer.rest() == 1000
        assert peer.words == [7, 8]


@pytest.mark.parametrize("audio_format", ["int16", "uint8"])
async def test_other_sample_formats(audio_format: str) -> None:
    kinds = {"int16": ("<i2", 32768, 0), "uint8": ("u1", 128, 128)}
    kind, scale, zero = kinds[audio_format]
    data = np.clip(np.round(TWO * scale + zero), zero - scale, zero + scale - 1)
    async with running() as server, client(server) as peer:
        await peer.hello(audio_format=audio_format)
        await peer.send(data.astype(kind).tobytes())
        await peer.end()
        assert await peer.rest() == 1000
        assert peer.words == [1, 2, 3, 4]


async def test_a_detected_language_is_told_before_the_first_segments() -> None:
    behaviour = Behaviour(language="de", language_probability=0.93)
    async with running(behaviour=behaviour) as server, client(server) as peer:
        await peer.send(
            json.dumps({"uid": "u", "language": None, "task": "transcribe"})
        )
        await peer.say(TWO)
        await peer.end()
        await peer.rest()
    assert peer.messages[1] == {"uid": "u", "language": "de", "language_prob": 0.93}
    assert [m for m in peer.messages[2:] if "segments" not in m] == []


@pytest.mark.parametrize(
    ("first", "hint"),
    [
        ("not json", "JSON"),
        ("[1, 2]", "object"),
        ('{"language": "en", "task": "transcribe"}', "uid"),
        ('{"uid": "u", "task": "transcribe"}', "language"),
        ('{"uid": "u", "language": "en", "task": "sing"}', "task"),
        (
            '{"uid": "u", "language": "en", "task": "transcribe", '
            '"audio_format": "mp3"}',
            "audio_format",
        ),
        (b"\x00\x01\x02", "JSON"),
    ],
)
async def test_a_bad_handshake_gets_one_error_and_1008(
    first: str | bytes, hint: str
) -> None:
    async with running() as server, client(server) as peer:
        await peer.send(first)
        assert await peer.rest() == 1008
        [message] = peer.messages
        assert message["status"] == "ERROR" and hint in message["message"]
        assert b"whisper_live_sessions 0.0" in server.metrics.render()


async def test_a_handshake_in_a_binary_message_is_fine() -> None:
    hello = {"uid": "u", "language": "en", "task": "transcribe"}
    async with running() as server, client(server) as peer:
        await peer.send(json.dumps(hello).encode())
        assert (await peer.next())["message"] == "SERVER_READY"


async def test_a_silent_connection_is_told_and_closed() -> None:
    async with running(quick(handshake_timeout_s=0.5)) as server:
        async with client(server) as peer:
            assert await peer.rest() == 1008
            assert "0.5 s" in peer.messages[0]["message"]


async def test_one_session_too_many_is_told_to_wait_in_minutes() -> None:
    async with running(quick(max_sessions=1, max_session_s=600.0)) as server:
        async with client(server) as first, client(server) as second:
            await first.hello()
            await first.next()
            await second.hello(uid="v")
            assert await second.rest() == 1013
            [message] = second.messages
            assert (message["uid"], message["status"]) == ("v", "WAIT")
            assert 9.0 < message["message"] <= 10.0
            await first.say(TWO)
            await first.end()
            await first.rest()
            assert first.words == [1, 2, 3, 4]
        page = server.metrics.render()
    assert b'whisper_live_sessions_rejected_total{reason="capacity"} 1.0' in page


async def test_text_in_place_of_audio_keeps_what_was_said_before() -> None:
    async with running() as server, client(server) as peer:
        await peer.hello()
        await peer.say(TWO)
        await peer.send("what is this")
        assert await peer.rest() == 1002
        assert peer.words == [1, 2, 3, 4]
        assert peer.messages[-1]["status"] == "ERROR"


async def test_media_that_is_no_media_is_refused_with_1007() -> None:
    async with running() as server, client(server) as peer:
        await peer.hello(audio_format="auto")
        await peer.send(b"<!DOCTYPE html><html>" * 100)
        assert await peer.rest() == 1007
        assert peer.messages[-1]["status"] == "ERROR"


async def test_an_oversize_message_is_closed_with_1009_and_costs_nobody_else() -> None:
    async with running(quick(max_message_bytes=65536)) as server:
        async with client(server) as bad, client(server) as good:
            await bad.hello()
            await good.hello()
            await good.say(TWO[:30000])
            await bad.send(bytes(65537))
            assert await bad.rest() == 1009
            await good.say(TWO[30000:])
            await good.end()
            assert await good.rest() == 1000
            assert good.words == [1, 2, 3, 4]


async def test_a_ragged_last_message_does_not_end_the_session() -> None:
    async with running() as server, client(server) as peer:
        await peer.hello()
        await peer.send(TWO.astype("<f4").tobytes() + b"\x01\x02\x03")
        await peer.end()
        assert await peer.rest() == 1000
        assert peer.words == [1, 2, 3, 4]


async def test_a_client_that_sends_no_bytes_is_told_and_closed() -> None:
    async with running(quick(idle_timeout_s=1.0)) as server, client(server) as peer:
        await peer.hello()
        assert await peer.rest() == 1008
        assert peer.messages[-1] == {
            "uid": "u",
            "status": "ERROR",
            "message": "no data for 1 s",
        }


async def test_over_time_the_text_comes_before_disconnect() -> None:
    async with running(quick(max_session_s=1.0)) as server, client(server) as peer:
        await peer.hello()
        await peer.say(write_speech([[5, 6]], pause_s=0.1)[0])
        while peer.messages[-1:] != [{"uid": "u", "message": "DISCONNECT"}]:
            await peer.next()
        assert peer.words == [5, 6]
        await peer.end()  # the socket is still open for it
        assert await peer.rest() == 1000


async def test_stopping_flushes_every_session_and_says_1012() -> None:
    async with running() as server:
        async with client(server) as one, client(server) as two:
            for peer, word in ((one, 1), (two, 2)):
                await peer.hello()
                await peer.next()
                samples = write_speech([range(word, word + 60, 10)], pause_s=0.0)[0]
                await peer.say(samples)
            closing = asyncio.create_task(server.close())
            assert [await one.rest(), await two.rest()] == [1012, 1012]
            await closing
            assert one.words == [1, 11, 21, 31, 41, 51]
            assert two.words == [2, 12, 22, 32, 42, 52]


async def test_a_failed_window_is_reported_and_the_next_is_transcribed() -> None:
    behaviour = Behaviour(fail_if=lambda request: request.start < 16000)
    async with running(behaviour=behaviour) as server:
        peer = await whole_session(server, TWO)
    assert peer.words == [4]
    [span] = peer.dropped
    assert span["reason"] == "oracle"
    assert float(span["start"]) < 0.5 < 1.4 < float(span["end"])


async def test_a_slow_engine_stops_the_reading_and_loses_nothing() -> None:
    """Ninety seconds offered at once, thirty in the buffer at most."""
    numbers = [[10 * i + j for j in range(5)] for i in range(30)]
    samples, _ = write_speech(numbers, pause_s=0.9)
    behaviour = Behaviour(call_s=0.02)
    async with running(behaviour=behaviour) as server:
        peer = await whole_session(server, samples, chunk=200_000)
    assert peer.words == [number for group in numbers for number in group]


async def test_pages_beside_the_socket() -> None:
    async with running() as server:
        base = f"http://127.0.0.1:{server.port}"

        def get(path: str, method: str = "GET") -> tuple[int, str]:
            request = urllib.request.Request(base + path, method=method)
            try:
                with urllib.request.urlopen(request) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        assert await asyncio.to_thread(get, "/healthz") == (200, "ok\n")
        assert await asyncio.to_thread(get, "/readyz") == (200, "ready\n")
        assert await asyncio.to_thread(get, "/readyz/place") == (200, "a place\n")
        status, page = await asyncio.to_thread(get, "/metrics")
        assert status == 200 and "whisper_live_engine_up 1.0" in page
        assert "whisper_live_places 64.0" in page
        status, page = await asyncio.to_thread(get, "/nothing")
        assert status == 404 and "/healthz" in page and "--http-port" in page
        assert (await asyncio.to_thread(get, "/healthz", "DELETE"))[0] == 405


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
)
async def test_an_upload_to_the_sockets_port_is_told_where_it_belongs(
    head: bytes,
) -> None:
    async with running() as server:
        reader, writer = await open_raw(server.port)
        writer.write(b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\n" + head)
        status, *lines = (await reader.read()).decode().split("\r\n")
        writer.close()
    assert status == "HTTP/1.1 405 Method Not Allowed"
    assert "Allow: GET, HEAD" in lines and "the HTTP port (--http-port)" in lines[-1]


async def test_a_page_from_elsewhere_may_not_connect() -> None:
    async with running() as server:
        url = f"ws://127.0.0.1:{server.port}/"
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, origin="https://evil.example")  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403
        async with client(server, origin=f"http://127.0.0.1:{server.port}") as peer:
            await peer.hello()
            assert (await peer.next())["message"] == "SERVER_READY"


async def test_audio_after_the_end_mark_is_no_harm() -> None:
    async with running() as server, client(server) as peer:
        await peer.hello()
        await peer.say(TWO)
        await peer.end()
        try:
            await peer.end()
            await peer.send(bytes(400))
        except ConnectionClosed:
            pass
        assert await peer.rest() == 1000
        assert peer.words == [1, 2, 3, 4]


async def test_who_asks_is_told_how_long_the_message_before_took_to_send() -> None:
    async with running() as server:
        peer = await whole_session(server, TWO, timings=True)
    told = [m["timings"] for m in peer.messages if "segments" in m]
    assert len(told) > 1
    assert all(0 <= timings["emit_ms"] < 60_000 for timings in told)
