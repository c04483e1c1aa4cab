"""Stand-ins for servers of OpenAI's API, in this process.

A language model whose tokens come at a set pace, and whatever else a test serves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

__all__ = ["Chat", "serving"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(routes: Mapping[str, Handler]) -> AsyncIterator[str]:
    """A server of these POST (and ``/v1/models``, GET) paths; its base URL."""
    app = web.Application()
    for path, handler in routes.items():
        method = "GET" if path == "/v1/models" else "POST"
        app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()


class Chat:
    """Streams ``tokens``, with ``pace_s`` before the first and between all.

    A stand-in for a language model: it answers everything with the same words.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        first_s: float = 0.0,
        pace_s: float = 0.0,
        breaks_off: bool = False,
    ) -> None:
        self.tokens = tokens
        self._first_s, self._pace_s = first_s, pace_s
        self._breaks_off = breaks_off
        self.asked: list[dict[str, Any]] = []
        self.ended = asyncio.Event()  # a request is over, by either side

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._stream(response)
        finally:
            self.ended.set()
        return response

    async def _stream(self, response: web.StreamResponse) -> None:
        await asyncio.sleep(self._first_s)
        await response.write(_chunk({"role": "assistant", "content": None}))
        for token in self.tokens:
            await response.write(_chunk({"content": token}))
            await asyncio.sleep(self._pace_s)
        if self._breaks_off:
            await response.write(b'data: {"id": "1", "cho\n\n')
        else:
            await response.write(_chunk(None))
            await response.write(b"data: [DONE]\n\n")


def _chunk(delta: Mapping[str, Any] | None) -> bytes:
    """One event; without a delta it is the last, which has no choice in it."""
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    chunk = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "stand-in",
        "choices": [] if delta is None else [choice],
    }
    return f"data: {json.dumps(chunk)}\n\n".encode()
