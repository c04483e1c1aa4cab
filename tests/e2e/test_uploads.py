"""Whole files over HTTP: what comes back, and what no upload can do to the server."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import io
import json
import socket
import threading
import wave
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from tests.e2e.support import KEY, client, running, whole_session, with_http
from tests.unit.media.test_files import HOSTILE
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.config.model import AccessConfig
from whisper_live.inference.types import Request, RequestKind
from whisper_live.server import server as server_module
from whisper_live.server.server import Server
from whisper_live.testing.marks import read_numbers, write_speech
from whisper_live.testing.oracle import Behaviour, OracleDetector, OracleEngine

PATH = "/v1/audio/transcriptions"
LONG = write_speech([[n, n + 1] for n in range(0, 60, 2)], pause_s=1.0)[0]
SPEECH = write_speech([[1, 2, 3], [4, 5]], pause_s=1.0)[0]


def wav(samples: Samples) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> Any:
        return self.json["error"]["code"]


async def post(
    server: Server,
    content: bytes | None,
    *fields: tuple[str, str],
    path: str = PATH,
    body: Any = None,
    **headers: str,
) -> Answer:
    """One upload: a WAV file and fields, or any other ``body``."""
    if body is None:
        body = aiohttp.FormData(default_to_multipart=True)
        if content is not None:
            body.add_field("file", io.BytesIO(content), filename="a.wav")
        for name, value in fields:
            body.add_field(name, value)
    url = f"http://127.0.0.1:{server.http_port}{path}"
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=body, headers=given) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))


async def test_an_upload_becomes_its_words() -> None:
    async with running(with_http()) as server:
        answer = await post(server, wav(SPEECH), ("model", "whisper-1"))
        assert answer.status == 200
        assert read_numbers(answer.json["text"]) == [1, 2, 3, 4, 5]
        assert answer.json["usage"] == {
            "type": "duration",
            "seconds": round(len(SPEECH) / SAMPLE_RATE, 3),
        }
        page = server.metrics.render()
    assert b'whisper_live_uploads_total{outcome="finished"} 1.0' in page
    assert b"whisper_live_uploads 0.0" in page
    assert b'audio_seconds_total{codec="file"}' in page


async def test_all_of_it_is_read_behind_live_finals() -> None:
    kinds = set()

    def watch(request: Request) -> bool:
        kinds.add(request.kind)
        return False

    async with running(with_http(), Behaviour(fail_if=watch)) as server:
        await post(server, wav(SPEECH))
    assert kinds == {RequestKind.BACKGROUND}


async def test_verbose_json_has_words_segments_and_how_sure_they_are() -> None:
    async with running(with_http()) as server:
        answer = await post(
            server,
            wav(SPEECH),
            ("language", "en"),
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
        )
    body = answer.json
    assert (body["task"], body["language"]) == ("transcribe", "english")
    assert read_numbers(" ".join(w["word"] for w in body["words"])) == [1, 2, 3, 4, 5]
    assert [w["probability"] for w in body["words"]] == [1.0] * 5
    starts = [word["start"] for word in body["words"]]
    assert starts == sorted(starts) and body["words"][-1]["end"] <= body["duration"]
    assert [read_numbers(s["text"]) for s in body["segments"]] == [[1, 2, 3, 4, 5]]
    for segment in body["segments"]:
        assert {"avg_logprob", "no_speech_prob", "compression_ratio"} <= set(segment)
        assert segment["confidence"] == 1.0
    assert body["confidence"] == 1.0


@pytest.mark.parametrize(
    ("name", "kind", "begins"),
    [
        ("text", "text/plain", ""),
        ("srt", "application/x-subrip", "1\n00:00:0"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:0"),
    ],
)
async def test_texts_and_subtitles(name: str, kind: str, begins: str) -> None:
    async with running(with_http()) as server:
        answer = await post(server, wav(SPEECH), ("response_format", name))
    assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert answer.text.startswith(begins)
    lines = [line for line in answer.text.splitlines() if "-->" not in line]
    spoken = " ".join(line for line in lines if not line.strip().isdigit())
    assert read_numbers(spoken.removeprefix("WEBVTT")) == [1, 2, 3, 4, 5]


async def test_lines_say_all_that_a_session_would() -> None:
    async with running(with_http()) as server:
        answer = await post(server, wav(SPEECH), ("response_format", "jsonl"))
    assert answer.headers["Content-Type"] == "application/jsonl"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[-1] == {"end": "finished"}
    texts = [s["text"] for line in lines for s in line.get("completed", ())]
    assert read_numbers(" ".join(texts)) == [1, 2, 3, 4, 5]


async def test_events_add_up_to_the_text() -> None:
    async with running(with_http()) as server:
        answer = await post(
            server, wav(SPEECH), ("stream", "true"), ("include[]", "logprobs")
        )
    assert answer.headers["Content-Type"] == "text/event-stream"
    events = [
        json.loads(e.removeprefix("data: ")) for e in answer.text.split("\n\n")[:-1]
    ]
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert "".join(event["delta"] for event in deltas) == done["text"]
    assert read_numbers(done["text"]) == [1, 2, 3, 4, 5]
    assert [entry["logprob"] for entry in done["logprobs"]] == [0.0] * 5


async def test_silence_is_an_empty_text() -> None:
    async with running(with_http()) as server:
        answer = await post(server, wav(np.zeros(SAMPLE_RATE, np.float32)))
    assert (answer.status, answer.json["text"]) == (200, "")


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_what_the_engine_cannot_read_is_no_silence(stream: str) -> None:
    async with running(with_http(), Behaviour(fail_every=1)) as server:
        answer = await post(server, wav(SPEECH), ("stream", stream))
    if stream == "false":
        assert answer.status == 503
        assert answer.json["error"]["type"] == "server_error"
    else:
        assert '"error"' in answer.text and "text.done" not in answer.text


# ------------------------------------------------------------------- what is no request


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("response_format", "pdf")], "response_format"),
        ([("temperature", "2")], "temperature"),
        ([("temperature", "nan")], "temperature"),
        ([("stream", "maybe")], "stream"),
        ([("timestamp_granularities[]", "letter")], "timestamp_granularities"),
        ([("language", "klingon")], "language"),
    ],
)
async def test_a_field_that_makes_no_sense_is_named(
    fields: Sequence[tuple[str, str]], param: str | None
) -> None:
    async with running(with_http()) as server:
        answer = await post(server, wav(SPEECH), *fields)
    assert answer.status == 400
    assert answer.json["error"]["param"] == param
    assert answer.json["error"]["type"] == "invalid_request_error"


FORM = {"Content_Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nv\r\n'
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{}", {"Content_Type": "application/json"}, 415, "content_type"),
        (b"", {"Content_Type": "multipart/form-data"}, 400, "bad_form"),
        (b"", FORM, 400, "bad_form"),
        (b"--b--\r\n", FORM, 400, None),
        (PART + b"--b--\r\n", FORM, 400, None),
        (PART * 100 + b"--b--\r\n", FORM, 400, None),
        (PART * 101 + b"--b--\r\n", FORM, 400, "too_many_parts"),
        (PART * 10_000 + b"--b--\r\n", FORM, 400, "too_many_parts"),
        (HEAD + b"audio", FORM, 400, "bad_form"),
        (HEAD + b"a\r\n" + HEAD + b"b\r\n--b--\r\n", FORM, 400, None),
        (b"x" * 300_000, FORM, 400, "bad_form"),
        (b"--b\r\n" + b"X: y\r\n" * 10_000, FORM, 400, "bad_form"),
        (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n", FORM, 400, None),
        (PART.replace(b"v", b"v" * 20_000), FORM, 413, "field_too_long"),
        (PART.replace(b"v", b"\xff"), FORM, 400, "bad_form"),
        (
            gzip.compress(bytes(1 << 20)),
            {**FORM, "Content_Encoding": "gzip"},
            415,
            "content_encoding",
        ),
        (HEAD + b"audio\r\n--b--\r\n", FORM, 415, "unknown_format"),
        (HEAD + b"\r\n--b--\r\n", FORM, 422, "empty"),
        (HEAD + wav(SPEECH)[:30] + b"\r\n--b--\r\n", FORM, 415, "unknown_format"),
        (HEAD + b"ffconcat version 1.0\nfile /etc/passwd\n\r\n--b--", FORM, 415, None),
    ],
)
async def test_what_is_no_form_or_no_audio_is_refused_and_the_next_is_served(
    body: bytes, headers: dict[str, str], status: int, code: str | None
) -> None:
    async with running(with_http()) as server:
        answer = await post(server, None, body=body, **headers)
        assert answer.status == status
        if code is not None:
            assert answer.code == code
        assert (await post(server, wav(SPEECH))).status == 200


@pytest.mark.parametrize(("data", "kind"), HOSTILE)
async def test_a_hostile_file_is_refused_and_neighbours_lose_nothing(
    data: bytes, kind: str
) -> None:
    async with running(with_http()) as server, client(server) as live:
        await live.hello()
        await live.say(SPEECH)
        answer = await post(server, data)
        await live.end()
        assert await live.rest() == 1000
    wrong_format = kind in ("unknown_format", "unsupported_codec")
    assert (answer.status, answer.code) == (415 if wrong_format else 422, kind)
    assert live.words == [1, 2, 3, 4, 5]


@pytest.mark.filterwarnings("ignore::aiohttp.multipart.BadContentDispositionHeader")
async def test_any_cut_of_a_form_is_refused_in_one_way_or_another() -> None:
    whole = PART + HEAD + b"audio\r\n--b--"
    async with running(with_http()) as server:
        for end in range(len(whole)):
            answer = await post(server, None, body=whole[:end], **FORM)
            assert answer.status in (400, 415, 422), whole[:end]


async def test_a_file_that_is_too_large_or_too_long_is_refused() -> None:
    async with running(with_http(max_upload_bytes=10_000)) as server:
        large = await post(server, bytes(10_001))
        assert (large.status, large.code) == (413, "file_too_large")
        declared = await post(server, bytes(2_000_000))
        assert (declared.status, declared.code) == (413, "file_too_large")
    async with running(with_http(max_upload_s=1.0)) as server:
        long = await post(server, wav(SPEECH))
        assert (long.status, long.code) == (413, "file_too_long")


async def test_a_body_that_trickles_gets_408() -> None:
    async with running(with_http(handshake_timeout_s=0.5)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + HEAD
        )
        answer = await reader.readline()
        assert answer.startswith(b"HTTP/1.1 408")
        writer.close()


async def test_who_goes_away_is_worked_for_no_longer() -> None:
    began, seen = asyncio.Event(), []

    def watch(request: Request) -> bool:
        seen.append(request.id)
        began.set()
        return True  # its call never returns

    async with running(with_http(), Behaviour(hang_if=watch)) as server:
        sending = asyncio.create_task(post(server, wav(SPEECH)))
        await began.wait()
        assert b"whisper_live_uploads 1.0" in server.metrics.render()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        while b"whisper_live_uploads 0.0" not in server.metrics.render():
            await asyncio.sleep(0)
        page = server.metrics.render()
        assert b'uploads_total{outcome="peer_gone"} 1.0' in page
        server.cut_short()


async def test_ten_uploads_take_nothing_from_live_streams() -> None:
    """Every word of everybody comes, and finals are never behind a file's windows."""
    order: list[RequestKind] = []

    def watch(request: Request) -> bool:
        order.append(request.kind)
        return False

    config = with_http(max_uploads=10)
    async with running(config, Behaviour(call_s=0.02, fail_if=watch)) as server:
        uploads = [asyncio.create_task(post(server, wav(LONG))) for _ in range(10)]
        streams = [asyncio.create_task(whole_session(server, SPEECH)) for _ in range(8)]
        peers = await asyncio.gather(*streams)
        answers = await asyncio.gather(*uploads)
    assert [peer.words for peer in peers] == [[1, 2, 3, 4, 5]] * 8
    assert not any(peer.dropped for peer in peers)
    for answer in answers:
        assert read_numbers(answer.json["text"]) == list(range(60))
    last_live = max(n for n, kind in enumerate(order) if kind is RequestKind.FINAL)
    assert RequestKind.BACKGROUND in order[last_live:], "files end last"


async def test_memory_is_given_back_when_no_upload_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "_RESTS_AFTER_S", 0.0)
    rested = threading.Event()
    server = Server(
        with_http(),
        engine=OracleEngine(),
        detector=OracleDetector,
        at_rest=rested.set,
    )
    async with server:
        await post(server, wav(SPEECH))
        assert await asyncio.to_thread(rested.wait, 30)


async def test_each_upload_has_a_line_in_the_log_and_no_text(
    keyed: AccessConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "whisper_live.server")
    key = {"Authorization": f"Bearer {KEY}"}
    limited = with_http(keyed, requests_per_minute=2.0)
    async with running(limited) as server:
        for content in (wav(SPEECH), b"no audio", wav(SPEECH)):
            await post(server, content, ("prompt", "secret"), **key)
    lines = [r.getMessage() for r in caplog.records if "127.0.0.1" in r.getMessage()]
    read, refused, late = lines
    assert read.startswith("upload u1: 4.3 s of audio in ")
    assert read.endswith(" peer=127.0.0.1 key=alice outcome=finished")
    assert refused.startswith("upload u2: 0.0 s of audio in ")
    assert refused.endswith(" outcome=unknown_format")
    assert late == "refused kind=rate peer=127.0.0.1"
    assert "w1" not in caplog.text and "secret" not in caplog.text


async def test_uploads_have_places_of_their_own() -> None:
    hangs = Behaviour(hang_if=lambda request: request.kind is RequestKind.BACKGROUND)
    async with running(with_http(max_uploads=1, max_sessions=1), hangs) as server:
        first = asyncio.create_task(post(server, wav(SPEECH)))
        while b"whisper_live_uploads 1.0" not in server.metrics.render():
            await asyncio.sleep(0)
        second = await post(server, wav(SPEECH))
        assert (second.status, second.code) == (503, "capacity")
        assert int(second.headers["Retry-After"]) >= 1
        async with client(server) as live:
            await live.hello()
            assert (await live.next())["message"] == "SERVER_READY"
        first.cancel()
        server.cut_short()


async def test_one_address_has_no_more_than_its_share() -> None:
    hangs = Behaviour(hang_if=lambda request: True)
    limits = with_http(max_sessions_per_address=1)
    async with running(limits, hangs) as server:
        first = asyncio.create_task(post(server, wav(SPEECH)))
        while b"whisper_live_uploads 1.0" not in server.metrics.render():
            await asyncio.sleep(0)
        second = await post(server, wav(SPEECH))
        assert (second.status, second.code) == (429, "rate_limit_exceeded")
        assert "Retry-After" in second.headers
        first.cancel()
        server.cut_short()


async def test_who_asks_too_often_or_sends_too_much_comes_back_later(
    keyed: AccessConfig,
) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    async with running(with_http(keyed, audio_s_per_minute=1.0)) as server:
        assert (await post(server, wav(SPEECH), **key)).status == 200
        second = await post(server, wav(SPEECH), **key)
        assert (second.status, second.code) == (429, "rate_limit_exceeded")
        # 4.3 s were sent, and one was there: what is missing is earned at 1 / 60.
        assert 190 <= int(second.headers["Retry-After"]) <= 198
        page = server.metrics.render()
    assert b'whisper_live_key_audio_seconds_total{key="alice"} 4.3' in page


async def test_live_audio_counts_for_its_key(keyed: AccessConfig) -> None:
    async with running(with_http(keyed)) as server:
        async with client(server, f"/?token={KEY}") as peer:
            await peer.hello()
            await peer.say(SPEECH)
            await peer.end()
            await peer.rest()
        page = server.metrics.render()
    assert b'whisper_live_key_audio_seconds_total{key="alice"} 4.3' in page


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, asyncio.Queue[tuple[str, str, str]]]]:
    """Where a webhook arrives: its host, and id, content type and text of each."""
    arrived: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        headers = request.headers
        await arrived.put(
            (headers["X-Upload-Id"], headers["Content-Type"], await request.text())
        )
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/done", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{host}:{port}", arrived
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", ["json", "srt", "jsonl"])
async def test_a_webhook_is_brought_the_text(name: str) -> None:
    async with listening() as (host, arrived):
        access = AccessConfig(webhook_hosts=f"a.example,{host}")
        async with running(with_http(access)) as server:
            answer = await post(
                server,
                wav(SPEECH),
                ("response_format", name),
                ("webhook_url", f"http://{host}/done?of=me"),
            )
            assert (answer.status, answer.json["status"]) == (202, "accepted")
            upload, _, text = await arrived.get()
            while (
                b'uploads_total{outcome="finished"} 1.0' not in server.metrics.render()
            ):
                await asyncio.sleep(0)
    assert upload == answer.json["id"]
    assert "w1 w2 w3" in text and "w4 w5" in text
    if name == "json":
        assert read_numbers(json.loads(text)["text"]) == [1, 2, 3, 4, 5]


async def test_a_webhook_is_told_why_there_is_no_text() -> None:
    hangs = Behaviour(hang_if=lambda request: True)
    async with listening() as (host, arrived):
        access = AccessConfig(webhook_hosts=host)
        where = ("webhook_url", f"http://{host}/done")
        async with running(with_http(access)) as server:
            assert (await post(server, b"no audio", where)).status == 202
            _, _, text = await arrived.get()
            assert json.loads(text)["error"]["code"] == "unknown_format"
        async with running(with_http(access, drain_timeout_s=0.2), hangs) as server:
            assert (await post(server, wav(SPEECH), where)).status == 202
            await server.close()
            _, _, text = await arrived.get()
            assert json.loads(text)["error"]["code"] == "draining"


@pytest.mark.parametrize(
    ("name", "address", "comes"),
    [
        ("localhost", "127.0.0.1", True),
        ("a.example", "127.0.0.1", False),
        ("a.example", "::ffff:127.0.0.1", False),
        ("a.example", "169.254.169.254", False),
        ("a.example", "0.0.0.0", False),
    ],
)
async def test_a_name_that_leads_to_this_machine_is_not_followed(
    name: str, address: str, comes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(self: object, host: str, port: int = 0, family: int = 0) -> Any:
        assert host == name
        keys = ("hostname", "host", "port", "family", "proto", "flags")
        values = (host, address, port, socket.AF_INET, socket.IPPROTO_TCP, 0)
        return [dict(zip(keys, values, strict=True))]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", found)
    async with listening() as (host, arrived):
        place = f"{name}:{host.partition(':')[2]}"
        access = AccessConfig(webhook_hosts=place)
        async with running(with_http(access)) as server:
            where = ("webhook_url", f"http://{place}/done")
            assert (await post(server, wav(SPEECH), where)).status == 202
            await server.close()
        assert arrived.empty() is not comes
        failed = b'errors_total{type="webhook"} 1.0' in server.metrics.render()
        assert failed is not comes


@pytest.mark.parametrize(
    "url",
    [
        "http://b.example/",
        "http://a.example:81/",
        "http://a.example@b.example/",
        "http://b.example@a.example/",
        "file://a.example/etc/passwd",
        "//a.example/",
        "http://[/",
        "a.example",
    ],
)
async def test_a_webhook_elsewhere_is_refused(url: str) -> None:
    access = AccessConfig(webhook_hosts="a.example")
    async with running(with_http(access)) as server:
        answer = await post(server, wav(SPEECH), ("webhook_url", url))
    assert (answer.status, answer.code) == (400, "webhook_host")


async def test_at_the_end_an_upload_gets_its_text() -> None:
    async with running(with_http(), Behaviour(call_s=0.2)) as server:
        sending = asyncio.create_task(post(server, wav(SPEECH)))
        while b"whisper_live_uploads 1.0" not in server.metrics.render():
            await asyncio.sleep(0)
        await server.close()
        assert read_numbers((await sending).json["text"]) == [1, 2, 3, 4, 5]


async def test_at_the_end_an_upload_that_takes_too_long_gets_503() -> None:
    hangs = Behaviour(hang_if=lambda request: True)
    async with running(with_http(drain_timeout_s=0.2), hangs) as server:
        sending = asyncio.create_task(post(server, wav(SPEECH)))
        while b"whisper_live_uploads 1.0" not in server.metrics.render():
            await asyncio.sleep(0)
        await server.close()
        answer = await sending
        assert (answer.status, answer.code) == (503, "draining")


@pytest.mark.parametrize("form", [("stream", "true"), ("response_format", "jsonl")])
async def test_at_the_end_a_stream_says_that_it_is_not_whole(
    form: tuple[str, str],
) -> None:
    hangs = Behaviour(hang_if=lambda request: request.start > 10 * SAMPLE_RATE)
    async with running(with_http(drain_timeout_s=0.5), hangs) as server:
        sending = asyncio.create_task(post(server, wav(LONG), form))
        while b'outcome="hypothesis"} 1.0' not in server.metrics.render():
            await asyncio.sleep(0)
        await server.close()
        *before, last = filter(None, (await sending).text.split("\n"))
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "draining"
    assert '"w0 w1 w2 ' in "".join(before)
