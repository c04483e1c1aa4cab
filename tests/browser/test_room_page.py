"""A room's page in real browsers: what is said, the states, and what keeps it away."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.bidi import Speaker, firefox, open_firefox
from tests.browser.devtools import Page, chromium, open_page
from tests.browser.page import need, pictures, said, serving, wait_for
from tests.browser.test_page import (
    START,
    no_serious_faults,
    opened,
    text_of,
)
from tests.e2e.support import KEY, client, running, whole_session, with_http
from whisper_live.config.model import AccessConfig
from whisper_live.server.server import Server
from whisper_live.testing.marks import read_numbers, write_speech

TWO = write_speech([[1, 2, 3], [4]], pause_s=0.8)[0]

pytestmark = pytest.mark.browser


def address(server: Server, query: str = "") -> str:
    return f"http://localhost:{server.http_port}/room/hall{query}"


@contextlib.asynccontextmanager
async def reading(
    server: Server, profile: Path, query: str = ""
) -> AsyncIterator[Page]:
    """Somebody who reads the room in Chromium."""
    need(chromium(), "chromium")
    url = address(server, query)
    async with open_page(url, microphone=None, profile=profile) as tab:
        yield tab


async def state(tab: Any, wanted: str) -> None:
    """Wait until the page says that this is the case."""
    said_now = 'document.getElementById("state").textContent'
    await wait_for(tab, f"{said_now} === {json.dumps(wanted)}")


async def test_readers_in_both_browsers_see_what_is_said_to_the_page(
    tmp_path: Path,
) -> None:
    need(firefox(), "firefox-esr or pulseaudio")
    speech = said(tmp_path / "speech.wav", (0.5, 0.8, 0.5))
    fox = tmp_path / "fox"
    fox.mkdir()
    silent = Speaker(dict(os.environ))
    async with serving() as server:
        page_url = f"http://localhost:{server.http_port}/"
        async with (
            opened(page_url, speech, tmp_path / "speaker") as page,
            reading(server, tmp_path / "reader") as tab,
            open_firefox(address(server), speaker=silent, profile=fox) as fox_tab,
        ):
            for each in (tab, fox_tab):
                await state(each, "Nobody is speaking yet")
            await page.evaluate('document.getElementById("room").value = "hall"')
            await page.evaluate(START)
            for each in (tab, fox_tab):
                await state(each, "Live")
            last = speech.sentences[-1].split()[-1]
            shown = 'document.getElementById("lines").textContent'
            for each in (tab, fox_tab):
                await wait_for(each, f"{shown}.includes({json.dumps(last)})")
            await page.evaluate(START)
            for each in (tab, fox_tab):
                await state(each, "The speaker has left")
                assert await text_of(each, "lines") == " ".join(speech.sentences)
                assert each.complaints == []
            assert await text_of(page, "text") == " ".join(speech.sentences)


async def test_the_page_is_for_all_readers(tmp_path: Path, axe: str) -> None:
    folder = pictures(tmp_path)
    async with running(with_http()) as server:
        async with reading(server, tmp_path / "profile") as tab:
            await state(tab, "Nobody is speaking yet")
            assert await tab.evaluate('document.getElementById("subtitles").hidden')
            async with client(server) as peer:
                await peer.hello(room="hall")
                await state(tab, "Live")
                await peer.say(TWO)
                await peer.end()
                await peer.rest()
            await state(tab, "The speaker has left")
            assert read_numbers(await text_of(tab, "lines")) == [1, 2, 3, 4]
            assert await text_of(tab, "partial") == ""
            assert await tab.evaluate('document.getElementById("text").lang') == "en"
            assert await tab.evaluate("document.title") == "hall - Whisper Live"
            link = await tab.evaluate('document.getElementById("subtitles").href')
            assert link == address(server, ".vtt?live=0")
            await no_serious_faults(tab, axe)
            await tab.show_as(width=900, height=600, dark=True)
            await no_serious_faults(tab, axe)
            await tab.picture(folder / "room-dark.png")
            await tab.show_as(width=390, height=844)
            wide = "document.documentElement.scrollWidth > innerWidth"
            assert not await tab.evaluate(wide), "it does not fit on a phone"
            await tab.picture(folder / "room-phone.png")
            hosts = {url.split("/")[2] for url in tab.requested}
            assert hosts == {f"localhost:{server.http_port}"}
            assert tab.complaints == []


async def test_a_key_is_asked_for(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice {KEY}\n")
    keys.chmod(0o600)
    async with running(with_http(AccessConfig(keys_file=str(keys)))) as server:
        async with reading(server, tmp_path / "profile") as tab:
            await state(tab, "A key is needed")
            await tab.picture(pictures(tmp_path) / "room-key.png")
            for key, then in (
                (KEY[:-1], "A key is needed"),
                (KEY, "Nobody is speaking yet"),
            ):
                await tab.evaluate('document.getElementById("state").textContent = ""')
                await tab.evaluate(
                    f'document.getElementById("key").value = {json.dumps(key)};'
                    'document.getElementById("key-form").requestSubmit()'
                )
                await state(tab, then)
            assert await tab.evaluate('document.getElementById("key-form").hidden')
            await whole_session(server, TWO, room="hall", token=KEY)
            await state(tab, "The speaker has left")
        async with reading(server, tmp_path / "again", f"?token={KEY}") as tab:
            await state(tab, "The speaker has left")


async def test_a_restart_is_said_and_the_page_reads_on(tmp_path: Path) -> None:
    config = with_http()
    async with running(config) as server:
        listen = dataclasses.replace(config.listen, http_port=server.http_port)
        async with reading(server, tmp_path) as tab:
            await whole_session(server, TWO, room="hall")
            await state(tab, "The speaker has left")
            await server.close()
            await state(tab, "Connection lost, trying again …")
            async with running(dataclasses.replace(config, listen=listen)) as second:
                await state(tab, "Nobody is speaking yet")
                await whole_session(second, TWO, room="hall")
                await state(tab, "The speaker has left")
                told = read_numbers(await text_of(tab, "lines"))
                assert told == [1, 2, 3, 4, 1, 2, 3, 4]
