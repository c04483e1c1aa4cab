"""README's web page in a real browser, with a file for its microphone."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser.devtools import chromium, open_page
from tests.browser.page import need, said
from whisper_live.config.model import AccessConfig, Config, EngineConfig, ListenConfig
from whisper_live.server.process import load_engine
from whisper_live.server.server import Server

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.browser


@contextmanager
def served(page: str) -> Iterator[str]:
    """The page at an address of its own on localhost, where it gets a microphone."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def test_the_page_shows_what_the_microphone_hears(tmp_path: Path) -> None:
    need(chromium(), "chromium")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```js\n(.*?)```", readme, re.DOTALL)
    speech = said(tmp_path / "speech.wav", (0.3, 0.8, 0.5))
    words = re.sub(r"[^a-z ]", "", " ".join(speech.sentences).lower())
    config = Config(
        listen=ListenConfig(port=0, http_port=0),
        access=AccessConfig(allowed_origins="*"),
        engine=EngineConfig(model="demo"),
    )
    engine, detector = load_engine(config, lambda line: None)
    async with Server(config, engine=engine, detector=detector) as server:
        script = script.replace(":9090", f":{server.port}")
        # Before </body>: the page's own script needs a body to write to.
        with served(f"<!doctype html><body><script>{script}</script></body>") as url:
            async with open_page(
                url, microphone=speech.audio, profile=tmp_path
            ) as page:
                shown = await page.evaluate("""new Promise(done => {
                    const words = () => (document.body?.textContent ?? "")
                        .toLowerCase().replace(/[^\\p{L}\\p{N} ]/gu, "").trim();
                    const ends = WANTED.split(" ").slice(-2).join(" ");
                    new MutationObserver(() => words().endsWith(ends) && done(words()))
                        .observe(document, {childList: true, subtree: true});
                    setTimeout(() => done(words()), 30000);
                })""".replace("WANTED", json.dumps(words)))
    assert shown == words
