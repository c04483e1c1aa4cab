"""A headless Firefox that hears what is played, driven over WebDriver BiDi.

As much as the tests need and no more, like ``devtools`` for Chromium.  Firefox takes no
file for its microphone: it hears the monitor of a PulseAudio sink.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

__all__ = ["FirefoxPage", "Speaker", "firefox", "open_firefox", "speaker"]

_PREFERENCES = {
    "media.navigator.permission.disabled": True,  # nobody is there to be asked
    "media.autoplay.default": 0,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


def firefox() -> str | None:
    """The browser's program, or None where it or PulseAudio is not there."""
    if not all(map(shutil.which, ("pulseaudio", "pactl", "paplay"))):
        return None
    return os.environ.get("FIREFOX") or shutil.which("firefox-esr")


class FirefoxPage:
    """One tab; JavaScript is evaluated in it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.context = ""
        self.requested: list[str] = []  # addresses that it asked for
        self.complaints: list[str] = []  # what it wrote to the console as wrong

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Run one command and wait for its answer."""
        command = {"id": next(self._ids), "method": method, "params": params}
        await self._socket.send(json.dumps(command))
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("id") == command["id"]:
                assert answer["type"] == "success", answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer.get("method"), answer.get("params", {}))

    def _note(self, event: str | None, params: dict[str, Any]) -> None:
        if event == "network.beforeRequestSent":
            self.requested.append(params["request"]["url"])
        elif event == "log.entryAdded" and params["level"] == "error":
            self.complaints.append(params["text"])

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression; a promise is awaited."""
        answer = await self.call(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then(JSON.stringify)",
            target={"context": self.context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer
        value = answer["result"].get("value")
        return None if value is None else json.loads(value)

    async def picture(self, path: Path) -> None:
        """What is seen of it, as a PNG."""
        taken = await self.call(
            "browsingContext.captureScreenshot", context=self.context
        )
        path.write_bytes(base64.b64decode(taken["data"]))


class Speaker:
    """A loudspeaker without a room; what it plays is what the microphone hears."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    async def play(self, recording: Path) -> None:
        """Returns when it has been played to its end."""
        process = await asyncio.create_subprocess_exec(
            "paplay", str(recording), env=self.environment
        )
        assert await process.wait() == 0, "it was not played"


@asynccontextmanager
async def speaker(folder: Path) -> AsyncIterator[Speaker]:
    """A PulseAudio of its own, which keeps its files in ``folder``."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        "pulseaudio",
        "-n",
        "--daemonize=no",
        "--exit-idle-time=-1",
        "--load=module-native-protocol-unix",
        "--load=module-null-sink sink_name=speaker rate=48000 channels=2",
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for command in ("sink speaker", "source speaker.monitor"):
            await _pactl(f"set-default-{command}", environment)
        yield Speaker(environment)
    finally:
        process.kill()
        await process.wait()


async def _pactl(command: str, environment: dict[str, str]) -> None:
    while True:  # until it serves; the test's timeout is the end of it
        process = await asyncio.create_subprocess_exec(
            "pactl",
            *command.split(),
            env=environment,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if await process.wait() == 0:
            return


@asynccontextmanager
async def open_firefox(
    url: str, *, speaker: Speaker, profile: Path
) -> AsyncIterator[FirefoxPage]:
    """A tab at ``url`` whose microphone hears ``speaker``."""
    program = firefox()
    assert program, "the test was to be skipped"
    lines = [
        f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _PREFERENCES.items()
    ]
    (profile / "user.js").write_text("\n".join(lines))
    process = await asyncio.create_subprocess_exec(
        program,
        "--headless",
        "--no-remote",
        "--remote-debugging-port=0",
        "--profile",
        str(profile),
        env=speaker.environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        while b"BiDi listening on" not in (line := await process.stderr.readline()):
            assert line, "the browser did not start"
        address = line.decode().split()[-1]
        drain = asyncio.create_task(process.stderr.read())
        async with connect(f"{address}/session", max_size=None) as socket:
            page = FirefoxPage(socket)
            await page.call("session.new", capabilities={})
            events = ["log.entryAdded", "network.beforeRequestSent"]
            await page.call("session.subscribe", events=events)
            tree = await page.call("browsingContext.getTree")
            page.context = tree["contexts"][0]["context"]
            await page.call(
                "browsingContext.navigate",
                context=page.context,
                url=url,
                wait="complete",
            )
            yield page
        drain.cancel()
    finally:
        process.kill()
        await process.wait()
