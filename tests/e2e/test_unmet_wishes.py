"""What a model cannot do for a client is said to the client, in each protocol's way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.e2e.support import client, running, with_http
from tests.e2e.test_uploads import PATH, post, wav
from whisper_live import cli
from whisper_live.server.server import Server
from whisper_live.testing.marks import write_speech
from whisper_live.testing.oracle import OracleEngine

SPEECH = write_speech([[1, 2]], pause_s=0.8)[0]
NONSENSE = "the model knows English alone and writes nonsense for other speech"
NOTHING = "the model knows English alone and translates nothing"
TRANSLATIONS = "/v1/audio/translations"


class EnglishOnly(OracleEngine):
    """As the small models of English: and it reads four characters of a text."""

    def __init__(self) -> None:
        super().__init__(languages=("en",))

    def characters_read(self, *, hotwords: str, prompt: str) -> tuple[int, int]:
        return min(len(hotwords), 4), min(len(prompt), 4)


def english() -> Any:
    return running(with_http(), engine=EnglishOnly())


def ignored(server: Server) -> float:
    page = server.metrics.render().decode()
    [line] = [
        line
        for line in page.splitlines()
        if line.startswith("whisper_live_ignored_options_total ")
    ]
    return float(line.rpartition(" ")[2])


async def test_whisperlive_warns_once_of_each_wish_behind_server_ready() -> None:
    async with english() as server, client(server) as peer:
        await peer.hello(language="de", task="translate", hotwords=" Ada, Bob ")
        await peer.next()
        await peer.say(SPEECH)
        await peer.send(json.dumps({"type": "configure", "initial_prompt": "about"}))
        await peer.end()
        assert await peer.rest() == 1000
        assert ignored(server) == 3 + 4  # by handshake and by configure
    assert peer.messages[0]["message"] == "SERVER_READY"
    warned = [each["message"] for each in peer.messages if "status" in each]
    assert warned == [
        f"language: {NONSENSE}",
        f"task: {NOTHING}",
        "hotwords: the model reads only the first 4 characters",
        "initial_prompt: the model reads only the last 4 characters",
    ]
    assert peer.words == [1, 2]


async def test_who_wishes_what_there_is_hears_of_nothing() -> None:
    async with english() as server, client(server) as peer:
        await peer.hello(language="en", hotwords="Ada")
        await peer.end()
        assert await peer.rest() == 1000
        answer = await post(server, wav(SPEECH), ("language", "en"))
        assert ignored(server) == 0
    assert not [each for each in peer.messages if "status" in each]
    assert "X-Warning" not in answer.headers and "warnings" not in answer.json


async def test_a_realtime_session_has_its_warnings() -> None:
    def update(language: str) -> str:
        chosen = {"transcription": {"language": language, "prompt": "about"}}
        session = {"audio": {"input": chosen}}
        return json.dumps({"type": "session.update", "session": session})

    async with english() as server:
        url = f"ws://127.0.0.1:{server.http_port}/v1/realtime"
        async with connect(url) as socket:
            told = []
            await socket.recv()  # session.created
            for language in ("de", "en"):
                await socket.send(update(language))
                told.append(json.loads(await socket.recv())["session"]["warnings"])
    prompt = "prompt: the model reads only the last 4 characters"
    assert told == [[f"language: {NONSENSE}", prompt], [prompt]]


@pytest.mark.parametrize("form", ["json", "verbose_json", "srt", "jsonl"])
async def test_an_upload_is_answered_with_its_warnings(form: str) -> None:
    fields = [("response_format", form), ("language", "de"), ("prompt", "about")]
    async with english() as server:
        answer = await post(server, wav(SPEECH), *fields, path=TRANSLATIONS)
        assert ignored(server) == 3
    assert answer.status == 200
    prompt = "prompt: the model reads only the last 4 characters"
    warnings = [f"language: {NONSENSE}", f"task: {NOTHING}", prompt]
    assert answer.headers["X-Warning"] == "; ".join(warnings)
    if "json" in form and form != "jsonl":
        assert answer.json["warnings"] == warnings


async def test_the_last_event_of_a_stream_has_them() -> None:
    async with english() as server:
        fields = [("stream", "true"), ("language", "de")]
        answer = await post(server, wav(SPEECH), *fields, path=PATH)
    *_, last = filter(None, answer.text.split("\n"))
    assert json.loads(last.removeprefix("data: "))["warnings"] == [
        f"language: {NONSENSE}"
    ]


async def test_stream_prints_what_the_server_warns_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(SPEECH))
    async with english() as server:
        argv = ["stream", str(path), "--url", f"ws://127.0.0.1:{server.port}"]
        argv += ["--language", "de", "--speed", "20"]
        assert await asyncio.to_thread(cli.main, argv) == 0
    assert f": language: {NONSENSE}\n" in capsys.readouterr().err
