"""The page in real browsers, with a recording for their microphone."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

from tests.browser.bidi import firefox, open_firefox, speaker
from tests.browser.devtools import Page, chromium, open_page
from tests.browser.page import (
    Said,
    need,
    pictures,
    said,
    serving,
    shown,
    wait_for,
)
from tests.faults.process import daemon
from whisper_live.config.model import AccessConfig
from whisper_live.inference import model_packages as packages
from whisper_live.server import connection
from whisper_live.server.server import Server
from whisper_live.text.wer import plain_words, word_errors

# Browsers start slowly where others work beside them: 5 s each on two busy cores.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

START = 'document.getElementById("start").click()'
NOTICE = '!!document.getElementById("notice").textContent'
KEY = "a-long-secret-key"


def address(server: Server) -> str:
    return f"http://localhost:{server.http_port}/"


@asynccontextmanager
async def opened(url: str, speech: Said, folder: Path) -> AsyncIterator[Page]:
    """The page in Chromium, all of it there."""
    need(chromium(), "chromium")
    folder.mkdir()
    page = open_page(url, microphone=speech.audio, profile=folder)
    async with page as tab:
        await loaded(tab)
        yield tab


async def loaded(tab: Any) -> None:
    languages = 'document.getElementById("language")'
    await wait_for(tab, f"{languages}.length > 1 || {languages}.disabled")


async def text_of(tab: Any, part: str) -> str:
    text = await tab.evaluate(f'document.getElementById("{part}").innerText')
    return re.sub(r"\s+", " ", str(text)).strip()


async def saved(tab: Any, button: str) -> str:
    """What a button gives the reader to save."""
    content = await tab.evaluate(f"""new Promise(done => {{
        const make = URL.createObjectURL;
        URL.createObjectURL = (blob) => {{
            URL.createObjectURL = make;
            blob.text().then(done);
            return "#";
        }};
        document.getElementById("{button}").click();
    }})""")
    return str(content)


async def no_serious_faults(tab: Any, axe: str) -> None:
    """What axe-core finds that keeps people out."""
    await tab.evaluate(f"(() => {{ {axe} }})()")
    found = await tab.evaluate("""axe.run().then(({violations}) => violations
        .filter(({impact}) => ["serious", "critical"].includes(impact))
        .map(({id, nodes}) => id + ": " + nodes.map(({html}) => html).join(" ")))""")
    assert found == []


async def test_chromium_shows_what_is_said_and_leaves_silence_at_home(
    tmp_path: Path, axe: str
) -> None:
    speech = said(tmp_path / "speech.wav", (1.0, 3.5, 4.0, 3.0))
    folder = pictures(tmp_path)
    async with serving() as server:
        async with opened(address(server), speech, tmp_path / "profile") as tab:
            await tab.show_as(width=900, height=760)
            await tab.picture(folder / "start.png")
            await no_serious_faults(tab, axe)
            for part in ("settings", "figures"):
                await tab.evaluate(f'document.getElementById("{part}").open = true')
            await tab.evaluate('document.getElementById("compare").click()')
            await tab.evaluate("document.activeElement.blur()")
            await tab.press("Tab")
            await tab.press("Enter")
            await wait_for(tab, shown("kitchen"))
            await tab.evaluate("scrollTo(0, 0)")
            await tab.picture(folder / "live.png")
            await wait_for(tab, shown(speech.sentences[-1]))
            # What is behind the last word is silence: all is completed without Stop.
            completed = "document.querySelectorAll('#columns .text span:not(.partial)')"
            await wait_for(tab, f"{completed}.length === {2 * len(speech.sentences)}")
            assert not await tab.evaluate(
                "document.querySelectorAll('.partial').length"
            )
            await tab.evaluate(START)
            await wait_for(tab, 'document.getElementById("state").textContent === ""')
            assert await text_of(tab, "text") == " ".join(speech.sentences)
            assert await text_of(tab, "plain-text") == " ".join(speech.sentences)
            assert await text_of(tab, "spoken") == " ".join(speech.sentences)
            check_subtitles(await saved(tab, "srt"), speech)
            assert (await saved(tab, "vtt")).startswith("WEBVTT\n\n00:00:0")
            words = (await saved(tab, "txt")).split()
            assert words == " ".join(speech.sentences).split()
            check_figures(json.loads(await saved(tab, "export")), speech)
            await tab.show_as(width=900, height=1900, dark=True)
            await wait_for(tab, 'document.querySelectorAll("canvas").length === 4')
            await no_serious_faults(tab, axe)
            await tab.picture(folder / "dark.png")
            await tab.show_as(width=390, height=844)
            wide = "document.documentElement.scrollWidth > innerWidth"
            assert not await tab.evaluate(wide), "it does not fit on a phone"
            await tab.picture(folder / "phone.png")
            await check_requests(tab, server)
            await check_files(tab, speech)


def check_subtitles(srt: str, speech: Said) -> None:
    """The text and, but for when the microphone was opened, the times."""
    cues = [cue.split("\n", 2) for cue in srt.strip().split("\n\n")]
    assert [cue[2] for cue in cues] == list(speech.sentences)
    assert [cue[0] for cue in cues] == ["1", "2", "3"]
    starts = [cue[1].partition(" ")[0].replace(",", ":") for cue in cues]
    parts = [[int(part) for part in start.split(":")] for start in starts]
    seconds = [h * 3600 + m * 60 + s + ms / 1000 for h, m, s, ms in parts]
    begun = seconds[0] - speech.starts_s[0]
    found = [second - begun for second in seconds]
    assert found == pytest.approx(speech.starts_s, abs=0.25)


def check_figures(figures: dict[str, Any], speech: Said) -> None:
    """Both sessions have points in every chart, and silence was not sent."""
    assert list(figures["sessions"]) == ["tuned", "plain"]
    for session in figures["sessions"].values():
        counts = {k: each["count"] for k, each in session["percentiles"].items()}
        assert counts["completed"] == counts["stands"] == len(speech.sentences)
        assert counts["first"] >= 2
        stages = {"decode_ms", "vad_ms", "queue_ms", "infer_ms", "emit_ms"}
        assert stages | {"batch_size"} <= set(session["stages"][-1])
    assert len(figures["sessions"]["tuned"]["bytes"]) > 10
    sent, kept = figures["bytes"]["sent"], figures["bytes"]["saved"]
    assert speech.silent > 0.6
    assert kept / (sent + kept) >= 0.45


async def check_files(tab: Page, speech: Said) -> None:
    """A recording that is opened is read; a broken one that is dropped is called so."""
    ended = 'document.getElementById("state").textContent === ""'
    await tab.evaluate("""(() => {
        const dropped = new DataTransfer();
        dropped.items.add(new File(["RIFF nothing"], "broken.wav"));
        document.body.dispatchEvent(
            new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
    })()""")
    await wait_for(tab, f"{ended} && {NOTICE}")
    assert "cannot be transcribed" in await text_of(tab, "notice")
    assert await text_of(tab, "text") == ""
    await tab.choose_file("#file", speech.audio)
    await wait_for(tab, f"{ended} && {shown(speech.sentences[-1])}")
    assert await text_of(tab, "text") == " ".join(speech.sentences)
    assert not await tab.evaluate(NOTICE)


async def check_requests(tab: Any, server: Server) -> None:
    """Nothing was asked of another host, and nothing was forbidden by the policy."""
    hosts = {url.split("/")[2] for url in tab.requested if not url.startswith("data:")}
    assert hosts == {f"localhost:{server.http_port}"}
    assert tab.complaints == []
    paths = {
        url for url in tab.requested if url.startswith("http") and "/live" not in url
    }
    async with aiohttp.ClientSession() as session:
        sizes = [len(await (await session.get(path)).read()) for path in paths]
    assert len(sizes) > 10 and sum(sizes) < 150_000


async def test_firefox_shows_what_is_said(tmp_path: Path) -> None:
    need(firefox(), "firefox-esr or pulseaudio")
    weights = packages.find("tiny.en")
    is_real = weights is not None and not weights.missing
    model, recording = ("tiny.en", "meeting") if is_real else ("demo", "demo")
    speech = said(tmp_path / "speech.wav", (0.3, 0.8, 0.5), recording)
    for name in ("profile", "sound"):
        (tmp_path / name).mkdir()
    async with serving(model) as server, speaker(tmp_path / "sound") as loud:
        async with open_firefox(
            address(server), speaker=loud, profile=tmp_path / "profile"
        ) as tab:
            await loaded(tab)
            await tab.evaluate(START)
            await wait_for(tab, 'document.getElementById("bytes").textContent')
            await loud.play(speech.audio)
            await tab.evaluate(START)
            await wait_for(tab, 'document.getElementById("state").textContent === ""')
            wanted = plain_words(" ".join(speech.sentences))
            shown_words = plain_words(await text_of(tab, "text"))
            # Of a synthesised voice tiny.en may mistake a word, the demo model none.
            assert word_errors(wanted, shown_words) <= is_real, shown_words
            cues = (await saved(tab, "srt")).strip().split("\n\n")
            lines = " ".join(cue.split("\n")[2] for cue in cues)
            assert plain_words(lines) == shown_words
            await tab.picture(pictures(tmp_path) / "firefox.png")
            await check_requests(tab, server)


async def test_a_daemon_that_is_killed_costs_no_words(tmp_path: Path) -> None:
    speech = said(tmp_path / "speech.wav", (0.3, 2.0, 2.0, 1.0))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ("--port", "0", "--http-port", str(port), "--model", "demo")
    program = ("-m", "whisper_live", "serve", *flags)
    ended = 'document.getElementById("state").textContent === ""'
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(daemon(tmp_path, program=program))
        page = opened(f"http://localhost:{port}/", speech, tmp_path / "profile")
        tab = await stack.enter_async_context(page)
        await tab.evaluate(START)
        await wait_for(tab, shown(speech.sentences[0][:6]))
        first.kill(signal.SIGKILL)
        await wait_for(tab, NOTICE)
        assert "trying again" in await text_of(tab, "notice")
        await tab.picture(pictures(tmp_path) / "lost.png")
        second = await stack.enter_async_context(daemon(tmp_path, program=program))
        await wait_for(tab, shown(speech.sentences[-1]))
        assert "a new session goes on" in await text_of(tab, "notice")
        await tab.evaluate(START)
        await wait_for(tab, ended)
        assert await text_of(tab, "text") == " ".join(speech.sentences)
        # Who gives up waiting for the last words keeps those that are there.
        await tab.evaluate(START)
        await wait_for(
            tab, 'document.getElementById("state").textContent === "Listening"'
        )
        second.kill(signal.SIGKILL)
        await tab.evaluate(START)
        await wait_for(
            tab, 'document.getElementById("start").textContent === "Give up"'
        )
        await tab.evaluate(START)
        await wait_for(tab, ended)
        assert "did not reach the server" in await text_of(tab, "notice")


async def test_what_is_wrong_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_REFUSAL_HOLD_S", 0.05)
    speech = said(tmp_path / "speech.wav", (5.0, 1.0))
    folder = pictures(tmp_path)
    keys = tmp_path / "keys"
    keys.write_text(f"alice {KEY}\n")
    keys.chmod(0o600)
    async with (
        serving(max_sessions=1) as full,
        serving(access=AccessConfig(keys_file=str(keys))) as keyed,
        connect(f"ws://127.0.0.1:{full.http_port}/live") as other,
    ):
        hello = {"uid": "other", "language": "en", "task": "transcribe"}
        await other.send(json.dumps(hello))
        assert json.loads(await other.recv())["message"] == "SERVER_READY"
        async with opened(address(full), speech, tmp_path / "profile") as tab:
            await tab.show_as(width=900, height=600)
            await says(tab, "no place free", folder / "full.png")
            await tab.open(address(keyed))
            await loaded(tab)
            await says(tab, "wants a key", folder / "no-key.png")
            assert await tab.evaluate("document.activeElement.id") == "key"
            await tab.evaluate('document.getElementById("key").value = "wrong"')
            await says(tab, "does not know this key", folder / "wrong-key.png")
            await tab.evaluate(f'document.getElementById("key").value = "{KEY}"')
            await tab.evaluate(START)
            await wait_for(
                tab, 'document.getElementById("state").textContent === "Listening"'
            )
            await tab.evaluate("""void (Blob.prototype.arrayBuffer =
                () => Promise.reject(new Error("torn")))""")
            await wait_for(tab, NOTICE)
            assert "cannot be read: torn." in await text_of(tab, "notice")
            await wait_for(
                tab, 'document.getElementById("start").textContent === "Start"'
            )
            for fault, words in (
                ("NotAllowedError", "may not use the microphone"),
                ("NotReadableError", "in use by another program"),
            ):
                await tab.open(address(full))
                await loaded(tab)
                await tab.evaluate(f"""void (navigator.mediaDevices.getUserMedia =
                    () => Promise.reject(new DOMException("no", "{fault}")))""")
                await says(tab, words, folder / f"{fault}.png")
        nobody = open_page(address(full), microphone=None, profile=tmp_path / "other")
        async with nobody as tab:
            await loaded(tab)
            await says(tab, "No microphone was found", folder / "no-microphone.png")


async def says(tab: Any, words: str, picture: Path) -> None:
    """Start, and be told what is wrong; another try is a press away."""
    await tab.evaluate(START)
    await wait_for(
        tab, f"document.getElementById('notice').textContent.includes('{words}')"
    )
    assert await text_of(tab, "start") == "Start"
    assert await tab.evaluate("document.getElementById('notice').role") == "alert"
    await tab.picture(picture)
