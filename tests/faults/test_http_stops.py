"""SIGTERM while files are uploaded and realtime sessions talk."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from pathlib import Path

import aiohttp
from websockets.asyncio.client import connect

from tests.e2e.test_realtime import ITEM, Peer, at_24_khz
from tests.faults.process import Daemon, daemon
from whisper_live.audio import SAMPLE_RATE
from whisper_live.testing.marks import read_numbers, write_speech

SPEECH = write_speech([[1, 2, 3]], pause_s=0.2)[0]
HTTP = ("--http-port", "-1")


async def upload(server: Daemon) -> tuple[int, str]:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes((SPEECH * 32767).astype("<i2").tobytes())
    form = aiohttp.FormData({"file": io.BytesIO(file.getvalue())})
    url = f"http://127.0.0.1:{await server.http_port()}/v1/audio/transcriptions"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=form) as answer:
            return answer.status, await answer.text()


async def uploading(server: Daemon, count: int) -> None:
    async def under_way() -> bool:
        return (await server.metrics())["whisper_live_uploads"] == count

    while not await under_way():
        await asyncio.sleep(0)


async def test_each_gets_its_text_and_the_daemon_exits_with_0(tmp_path: Path) -> None:
    async with daemon(tmp_path, *HTTP, "--oracle-call-s", "0.5") as server:
        port = await server.http_port()
        url = f"ws://127.0.0.1:{port}/v1/realtime?intent=transcription"
        async with connect(url) as socket:
            peer = Peer(socket)
            await peer.next()
            await peer.update()
            await peer.next()
            await peer.say(at_24_khz(SPEECH))
            uploads = [asyncio.create_task(upload(server)) for _ in range(3)]
            await uploading(server, 3)
            server.kill()
            assert await peer.rest() == 1012
            for status, body in await asyncio.gather(*uploads):
                assert status == 200
                assert read_numbers(json.loads(body)["text"]) == [1, 2, 3]
            assert await server.ended() == 0
    [done] = peer.all(f"{ITEM}.completed")
    assert read_numbers(done["transcript"]) == [1, 2, 3]
    assert "draining 3 uploads\n" in server.log
    assert "Traceback" not in server.log


async def test_who_would_take_too_long_gets_503(tmp_path: Path) -> None:
    slow = ("--oracle-call-s", "30", "--drain-timeout-s", "1")
    async with daemon(tmp_path, *HTTP, *slow) as server:
        sending = asyncio.create_task(upload(server))
        await uploading(server, 1)
        server.kill()
        status, body = await sending
        assert (status, json.loads(body)["error"]["code"]) == (503, "draining")
        assert await server.ended() == 0
    assert "Traceback" not in server.log
