"""A headless Chromium that hears a file, driven over its DevTools socket.

As much as the tests need and no more, so that they need no package for it.
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

__all__ = ["Page", "chromium", "open_page"]


def chromium() -> str | None:
    """The browser's program, or None where there is none."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


class Page:
    """One tab; JavaScript is evaluated in it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.session: str | None = None
        self.requested: list[str] = []  # addresses that it asked for
        self.complaints: list[str] = []  # what it wrote to the console as wrong
        self._is_loaded = False

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Run one DevTools command and wait for its answer."""
        command: dict[str, Any] = {
            "id": next(self._ids),
            "method": method,
            "params": params,
        }
        if self.session:
            command["sessionId"] = self.session
        await self._socket.send(json.dumps(command))
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("id") == command["id"]:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer.get("method"), answer.get("params", {}))

    async def open(self, url: str) -> None:
        """Go there, and wait until all of it is loaded."""
        self._is_loaded = False
        await self.call("Page.navigate", url=url)
        while not self._is_loaded:
            said = json.loads(await self._socket.recv())
            self._note(said.get("method"), said.get("params", {}))

    def _note(self, event: str | None, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._is_loaded = True
        elif event == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif event == "Network.webSocketCreated":
            self.requested.append(params["url"])
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression; a promise is awaited."""
        answer = await self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def press(self, key: str) -> None:
        """One key, down and up."""
        code = {"Tab": 9, "Enter": 13}[key]
        pressed: dict[str, Any] = {
            "key": key,
            "code": key,
            "windowsVirtualKeyCode": code,
        }
        text = {"text": "\r"} if key == "Enter" else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **pressed, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    async def show_as(self, *, width: int, height: int, dark: bool = False) -> None:
        """Give the window this size, and the colours that its user prefers."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path, *, whole: bool = False) -> None:
        """What is seen of it, as a PNG; ``whole`` takes all that can be scrolled to."""
        taken = await self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    async def choose_file(self, selector: str, path: Path) -> None:
        """Give a field for files this one, as its user would."""
        found = await self.call(
            "Runtime.evaluate", expression=f"document.querySelector({selector!r})"
        )
        node = found["result"]["objectId"]
        await self.call("DOM.setFileInputFiles", objectId=node, files=[str(path)])


@asynccontextmanager
async def open_page(
    url: str, *, microphone: Path | None, profile: Path, flags: tuple[str, ...] = ()
) -> AsyncIterator[Page]:
    """A tab at ``url`` whose microphone plays a WAV file once, from its first use.

    Without one there is no microphone.
    """
    program = chromium()
    assert program, "the test was to be skipped"
    hears = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
    )
    process = await asyncio.create_subprocess_exec(
        program,
        "--headless",
        "--no-sandbox",
        "--mute-audio",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        *(hears if microphone else hears[:1]),
        *flags,
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        while b"DevTools listening on" not in (line := await process.stderr.readline()):
            assert line, "the browser did not start"
        devtools = line.decode().split()[-1]
        drain = asyncio.create_task(process.stderr.read())
        async with connect(devtools, max_size=None, compression=None) as socket:
            page = Page(socket)
            target = await page.call("Target.createTarget", url="about:blank")
            attached = await page.call(
                "Target.attachToTarget", targetId=target["targetId"], flatten=True
            )
            page.session = attached["sessionId"]
            for domain in ("Runtime", "Network", "Log", "Page"):
                await page.call(f"{domain}.enable")
            await page.open(url)
            yield page
        drain.cancel()
    finally:
        process.kill()
        await process.wait()
