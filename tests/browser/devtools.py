"""A headless Chromium that hears a file, driven over its DevTools socket.

As much as the tests need and no more, so that they need no package for it.
"""

from __future__ import annotations

import asyncio
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

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Run one DevTools command and wait for its answer; events are passed over."""
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

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression; a promise is awaited."""
        answer = await self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")


@asynccontextmanager
async def open_page(
    url: str, *, microphone: Path, profile: Path
) -> AsyncIterator[Page]:
    """A tab at ``url`` whose microphone plays a WAV file once, from its first use."""
    program = chromium()
    assert program, "the test was to be skipped"
    process = await asyncio.create_subprocess_exec(
        program,
        "--headless",
        "--no-sandbox",
        "--mute-audio",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
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
            await page.call("Page.navigate", url=url)  # answered when it is there
            yield page
        drain.cancel()
    finally:
        process.kill()
        await process.wait()
