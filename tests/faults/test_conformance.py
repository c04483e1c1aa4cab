"""Other people's WebSocket clients: each speaks, is pinged, and gets every word.

Row 16.  WhisperLive's own clients (on websocket-client) are in ``tests/protocol``,
Chromium in ``tests/browser``; here are aiohttp and npm's ws, installed for the test.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.process import daemon
from whisper_live.testing.marks import read_numbers, write_speech

AIOHTTP = """
import asyncio, json, pathlib, sys
import aiohttp
async def main(url, file):
    hello = {"uid": "x", "language": "en", "task": "transcribe"}
    hello["audio_format"] = "int16"
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        await socket.send_json(hello)
        audio = pathlib.Path(file).read_bytes()
        for at in range(0, len(audio), 8000):
            await socket.send_bytes(audio[at : at + 8000])
        await socket.send_bytes(b"END_OF_AUDIO")
        messages = [m.json() async for m in socket if m.type is aiohttp.WSMsgType.TEXT]
        print(json.dumps([socket.close_code, messages]))
asyncio.run(main(*sys.argv[1:]))
"""

WS = """
const WebSocket = require("ws"), fs = require("fs");
const [url, file] = process.argv.slice(2), messages = [];
const socket = new WebSocket(url);
socket.on("open", () => {
  socket.send(JSON.stringify(
    { uid: "x", language: "en", task: "transcribe", audio_format: "int16" }));
  const audio = fs.readFileSync(file);
  for (let at = 0; at < audio.length; at += 8000)
    socket.send(audio.subarray(at, at + 8000));
  socket.send("END_OF_AUDIO");
});
socket.on("message", (data) => messages.push(JSON.parse(data)));
socket.on("close", (code) => console.log(JSON.stringify([code, messages])));
"""


def install(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{command[0]} cannot install: {done.stderr.splitlines()[-1:]}")


async def every_word(program: Sequence[str], folder: Path, **environment: str) -> None:
    numbers = [list(range(10)), list(range(10, 20))]
    samples, _ = write_speech(numbers, pause_s=0.8)
    audio = folder / "audio"
    audio.write_bytes((samples * 32768).astype("<i2").tobytes())
    async with daemon(folder) as server:
        done = subprocess.run(
            [*program, f"ws://127.0.0.1:{server.port}", str(audio)],
            cwd=folder,
            env=environment or None,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    code, messages = json.loads(done.stdout)
    texts = {
        segment["start"]: segment["text"]
        for message in messages
        for segment in message.get("segments", ())
        if segment["completed"]
    }
    assert code == 1000
    heard = [
        n for start in sorted(texts, key=float) for n in read_numbers(texts[start])
    ]
    assert heard == [number for group in numbers for number in group]


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_aiohttp(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--target", "packages")
    install(*pip, "aiohttp==3.14.5", cwd=tmp_path)
    (tmp_path / "client.py").write_text(AIOHTTP)
    program = (sys.executable, "client.py")
    await every_word(program, tmp_path, PYTHONPATH=str(tmp_path / "packages"))


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_npm_ws(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    install("npm", "install", "--silent", "--no-audit", "ws@8", cwd=tmp_path)
    (tmp_path / "client.js").write_text(WS)
    await every_word(("node", "client.js"), tmp_path)
