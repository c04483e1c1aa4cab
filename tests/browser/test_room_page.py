"""A room's page in a real browser: what is said, the states, and what keeps it away."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.devtools import Page, chromium, open_page
from tests.e2e.support import KEY, client, running, whole_session, with_http
from whisper_live.config.model import AccessConfig
from whisper_live.server.server import Server
from whisper_live.testing.marks import read_numbers, write_speech

SPEECH = Path(__file__).parents[1] / "data" / "speech" / "commands.wav"
TWO = write_speech([[1, 2, 3], [4]], pause_s=0.8)[0]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="no chromium"),
]


@contextlib.asynccontextmanager
async def reading(
    server: Server, profile: Path, query: str = ""
) -> AsyncIterator[Page]:
    url = f"http://localhost:{server.http_port}/room/hall{query}"
    async with open_page(url, microphone=SPEECH, profile=profile) as page:
        yield page


async def shown(page: Page, id: str, wanted: str) -> None:
    """Wait until an element's text is this."""
    await page.evaluate(f"""new Promise((done, failed) => {{
        const text = () => document.getElementById({json.dumps(id)})?.textContent;
        const look = () => text() === {json.dumps(wanted)} && done();
        new MutationObserver(look)
            .observe(document, {{childList: true, subtree: true, characterData: true}});
        setTimeout(() => failed(new Error(`it says: ${{text()}}`)), 20000);
        look();
    }})""")


async def test_readers_see_what_the_speaker_is_told(tmp_path: Path) -> None:
    async with running(with_http()) as server:
        async with reading(server, tmp_path) as page:
            await shown(page, "state", "Nobody is speaking yet")
            async with client(server) as peer:
                await peer.hello(room="hall")
                await shown(page, "state", "Live")
                await peer.say(TWO)
                await peer.end()
                await peer.rest()
            await shown(page, "state", "The speaker has left")
            told = await page.evaluate("document.getElementById('lines').innerText")
            assert read_numbers(told) == peer.words == [1, 2, 3, 4]
            assert (
                await page.evaluate("document.getElementById('partial').innerText")
                == ""
            )
            assert await page.evaluate("document.getElementById('text').lang") == "en"
            assert await page.evaluate("document.title") == "hall - Whisper Live"
            link = await page.evaluate("document.getElementById('subtitles').href")
            assert link.endswith("/room/hall.vtt?live=0")


async def test_a_key_is_asked_for(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice {KEY}\n")
    keys.chmod(0o600)
    async with running(with_http(AccessConfig(keys_file=str(keys)))) as server:
        async with reading(server, tmp_path) as page:
            await shown(page, "state", "A key is needed")
            for key, then in (
                (KEY[:-1], "A key is needed"),
                (KEY, "Nobody is speaking yet"),
            ):
                await page.evaluate("document.getElementById('state').textContent = ''")
                await page.evaluate(
                    f"document.getElementById('key').value = {json.dumps(key)};"
                    "document.getElementById('key-form').requestSubmit()"
                )
                await shown(page, "state", then)
            hidden = "document.getElementById('key-form').hidden"
            assert await page.evaluate(hidden) is True
            await whole_session(server, TWO, room="hall", token=KEY)
            await shown(page, "state", "The speaker has left")
        async with reading(server, tmp_path / "again", f"?token={KEY}") as page:
            await shown(page, "state", "The speaker has left")


async def test_a_restart_is_said_and_the_page_reads_on(tmp_path: Path) -> None:
    async with running(with_http()) as server:
        port = server.http_port
        async with reading(server, tmp_path) as page:
            await whole_session(server, TWO, room="hall")
            await shown(page, "state", "The speaker has left")
            seen = await page.evaluate("document.getElementById('lines').innerText")
            await server.close()
            await shown(page, "state", "Connection lost, trying again …")
            config = with_http()
            listen = dataclasses.replace(config.listen, http_port=port)
            async with running(dataclasses.replace(config, listen=listen)) as second:
                await shown(page, "state", "Nobody is speaking yet")
                await whole_session(second, TWO, room="hall")
                await shown(page, "state", "The speaker has left")
                told = await page.evaluate("document.getElementById('lines').innerText")
                assert told.startswith(seen)
                assert read_numbers(told) == [1, 2, 3, 4, 1, 2, 3, 4]
