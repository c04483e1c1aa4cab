"""The page at /docs and its document say what the handlers do, no more and no less."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import aiohttp
import pytest

from tests.e2e.support import running, with_http
from tests.e2e.test_uploads import SPEECH, post, wav
from whisper_live.config.model import SpeechConfig
from whisper_live.inference.types import Task
from whisper_live.protocols import openai_rest
from whisper_live.server.http import openapi


async def fetch(port: int, path: str) -> tuple[str, str]:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
            assert answer.status == 200
            return answer.content_type, await answer.text()


async def test_the_document_has_every_path_with_its_methods() -> None:
    async with running(with_http()) as server:
        _, body = await fetch(server.http_port, "/openapi.json")
        assert server._http is not None
        found = {
            (resource.canonical, route.method.lower())
            for resource in server._http.app.router.resources()
            for route in resource
            if route.method not in ("*", "HEAD")  # the socket's; a GET's own
        }
    paths = json.loads(body)["paths"]
    assert found == {(path, method) for path in paths for method in paths[path]}


def test_the_document_has_every_field_that_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = set()

    class Form(openai_rest._Form):
        def all(self, name: str) -> list[str]:
            asked.add(name)
            return super().all(name)

        def one(self, name: str) -> str:
            asked.add(name)
            return super().one(name)

        def flag(self, name: str, default: bool) -> bool:
            asked.add(name)
            return super().flag(name, default)

    monkeypatch.setattr(openai_rest, "_Form", Form)
    openai_rest.read_wishes([], task=Task.TRANSCRIBE, defaults=SpeechConfig())
    named = {field.name.removesuffix("[]") for field in openai_rest.FIELDS}
    assert named - asked == {"chunking_strategy"}, "it has no effect"
    assert asked <= named


@pytest.mark.parametrize("name", openai_rest.FORMATS)
async def test_an_answer_has_a_type_that_the_document_names(name: str) -> None:
    known = openapi.document()["paths"]["/v1/audio/transcriptions"]["post"]
    async with running(with_http()) as server:
        answer = await post(server, wav(SPEECH), ("response_format", name))
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert kind in known["responses"]["200"]["content"]


async def test_the_page_is_whole_and_takes_nothing_from_elsewhere() -> None:
    tags = []

    class Reader(HTMLParser):
        def handle_starttag(
            self, tag: str, attrs: list[tuple[str, str | None]]
        ) -> None:
            tags.append((tag, dict(attrs)))

    async with running(with_http()) as server:
        kind, body = await fetch(server.http_port, "/docs")
    Reader().feed(body)
    assert kind == "text/html"
    assert [a["href"] for t, a in tags if t == "a"] == ["openapi.json"]
    assert {"script", "img", "link"}.isdisjoint(tag for tag, _ in tags)
    for field in openai_rest.FIELDS:
        assert f"<code>{field.name}</code>" in body
