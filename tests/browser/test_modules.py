"""The page's modules that touch neither a microphone nor a socket, run by Node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.page import need
from tests.decode_media import decode

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "whisper_live/data/page"
RECORDINGS = ROOT / "tests/data/browser"

pytestmark = pytest.mark.browser

# What a test says: levels that last for some seconds, one every 20 ms.
Levels = list[tuple[float, float]]


def run(script: str, given: Any = None) -> Any:
    """What a script prints that has ``given``; imports are the page's own files."""
    need(shutil.which("node"), "node")
    program = f"const given = {json.dumps(given)};\n{script}"
    for name in ("conversation", "gate", "webm", "mp4", "uplink", "transcript"):
        program = program.replace(
            f'"./{name}.js"', json.dumps(str(PAGE / f"{name}.js"))
        )
    done = subprocess.run(
        ["node", "--input-type=module"],
        input=program,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def verdicts(levels: Levels) -> str:
    """For each tenth of a second, as far as it is decided: + sent, - silence."""
    spoken = run(
        """
        import { Gate } from "./gate.js";
        const gate = new Gate();
        let out = "";
        let at = 0;
        for (const [seconds, db] of given) {
            for (const end = at + seconds; at < end - 0.001; ) {
                gate.hear((at += 0.02), db);
                const from = out.length / 10;
                const to = from + 0.1;
                const verdict = to > at ? null : gate.verdict(from, to);
                if (verdict !== null) out += verdict ? "+" : "-";
            }
        }
        console.log(JSON.stringify(out));
        """,
        levels,
    )
    assert isinstance(spoken, str)
    return spoken


def test_what_is_heard_is_sent_with_what_is_around_it() -> None:
    told = verdicts([(2.0, -66), (1.0, -25), (2.0, -66)])
    # Until the room is known, 0.3 s and 0.3 s behind them; then 0.3 s before the voice,
    # the voice and 0.3 s behind it.  Of the newest 0.3 s nothing is known yet.
    assert re.fullmatch(r"\+{5,7}-{9,12}\+{15,18}-{12,14}", told), told
    assert set(told[17:33]) == {"+"} and len(told) in (46, 47)


def test_soft_speech_in_a_quiet_room_is_sent() -> None:
    told = verdicts([(2.0, -68), (1.0, -55), (1.0, -68)])
    assert set(told[17:33]) == {"+"} and told.endswith("-")


def test_a_long_vowel_is_not_taken_for_the_room() -> None:
    told = verdicts([(2.0, -66), (10.0, -30), (1.0, -66)])
    assert set(told[17:123]) == {"+"} and told.endswith("-")


def test_in_a_loud_place_nothing_is_silence() -> None:
    assert set(verdicts([(1.0, -28), (3.0, -30), (2.0, -29)])) == {"+"}


def test_a_fan_is_silence_after_a_while() -> None:
    told = verdicts([(2.0, -70), (30.0, -55)])
    assert re.fullmatch(r"\+{5,7}-{9,12}\+{60,120}-{150,240}", told), told


JOIN = """
    import { readFileSync } from "node:fs";
    import { WebmSplitter } from "./webm.js";
    import { Mp4Splitter } from "./mp4.js";
    const { file, size, Splitter } = given;
    const splitter = new (Splitter === "webm" ? WebmSplitter : Mp4Splitter)();
    const bytes = new Uint8Array(readFileSync(file));
    const packets = [];
    for (let at = 0; at < bytes.length; at += size) {
        packets.push(...splitter.push(bytes.subarray(at, at + size)));
    }
    const parts = [splitter.header];
    for (let at = 0; at < packets.length; at += 7) {
        parts.push(splitter.join(packets.slice(at, at + 7)));
    }
    const hex = parts.map((part) => Buffer.from(part).toString("hex")).join("");
    console.log(JSON.stringify([hex, packets.map(({ ms }) => ms)]));
"""


@pytest.mark.parametrize("size", [1, 250, 100_000])
@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("chrome_webm_250", "webm"),
        ("firefox_webm_250", "webm"),
        ("chrome_mp4_opus_250", "mp4"),
    ],
)
def test_what_browsers_record_is_the_same_when_joined_again(
    name: str, container: str, size: int
) -> None:
    file = RECORDINGS / name / "media.bin"
    given = {"file": str(file), "size": size, "Splitter": container}
    joined, times = run(JOIN, given)
    whole, _ = decode(file.read_bytes(), container)
    again, _ = decode(bytes.fromhex(joined), container)
    # A recorder's last packet may be cut off by its end.
    assert len(whole) - len(again) in (0, 960)
    np.testing.assert_array_equal(again, whole[: len(again)])
    assert times == sorted(times) and len(times) > 20


UPLINK = """
    import { Uplink } from "./uplink.js";
    const { packets, silent } = given;
    const splitter = {
        push: (bytes) => bytes.map((ms) => ({ ms, bytes: new Uint8Array(100) })),
        join: (packets) => new Uint8Array(packets.length * 100),
    };
    let heardTo = 0;
    const gate = { verdict: (start, end) => end > heardTo ? null
        : !silent.some(([from, to]) => from <= start && end <= to) };
    const items = [];
    const uplink = new Uplink({ splitter, gate, emit: (item) => items.push(item) });
    for (const ms of packets) {
        uplink.push([ms]);
        heardTo = ms / 1000;
        uplink.decide();
    }
    uplink.finish();
    const size = ({ message, bytes }) =>
        message ? JSON.parse(message).seconds : bytes.length / 100;
    console.log(JSON.stringify(items.map((item) =>
        [size(item), item.startMs, item.endMs, Boolean(item.message)])));
"""


def test_sent_and_silent_add_up_to_all_that_was_recorded() -> None:
    packets = [round(index * 60.3) for index in range(200)]
    given = {"packets": packets, "silent": [[1.0, 2.0], [4.0, 9.5]]}
    items = run(UPLINK, given)
    ends = [item[2] for item in items]
    assert [item[1] for item in items] == [0, *ends[:-1]], "each begins where one ended"
    told = sum(seconds for seconds, _, _, is_told in items if is_told)
    sent = sum(count for count, _, _, is_told in items if not is_told)
    assert told == pytest.approx(sent and ends[-1] / 1000 - sent * 0.0603, abs=0.1)
    assert told == pytest.approx(6.3, abs=0.2)
    pieces = [
        seconds for seconds, start, _, is_told in items if is_told and start < 2000
    ]
    assert max(pieces) < 0.35, "an utterance ends while silence is told"


def test_a_gate_that_hears_nothing_holds_nothing_back() -> None:
    packets = [index * 60 for index in range(200)]
    script = UPLINK.replace("heardTo = ms / 1000;", "")
    items = run(script, {"packets": packets, "silent": []})
    assert not any(is_told for *_, is_told in items)
    assert sum(count for count, *_ in items) == 200


CONVERSATION = """
    import { Conversation } from "./conversation.js";
    const sockets = [];
    const log = [];
    globalThis.document = { baseURI: "https://example.org/whisper/" };
    globalThis.WebSocket = class {
        static OPEN = 1;
        readyState = 0;
        sent = [];
        constructor(url) { this.url = String(url); sockets.push(this); }
        send(message) { this.sent.push(message); }
        close(code = 1005, reason = "") {
            this.readyState = 3;
            this.onclose({ code, reason });
        }
        open() { this.readyState = 1; this.onopen(); }
        say(message) { this.onmessage({ data: JSON.stringify(message) }); }
    };
    let timer = null;
    globalThis.setTimeout = (call, ms) => { timer = call; return ms; };
    globalThis.clearTimeout = () => {};
    const conversation = new Conversation({
        hello: () => ({ uid: "u" }),
        header: () => "header",
        on: (event, detail) => log.push([event, detail]),
    });
    const READY = { uid: "u", message: "SERVER_READY" };
    const item = (from, to) => ({ bytes: `${from}-${to}`, startMs: from, endMs: to });
    const segment = (start, end, text) => ({ start, end, text, completed: true });
"""


def test_a_session_begins_with_what_the_one_before_had_not_completed() -> None:
    script = """
        sockets[0].open();
        sockets[0].say(READY);
        for (const from of [0, 1000, 2000, 3000]) {
            conversation.send(item(from, from + 1000));
        }
        sockets[0].say({ segments: [segment("0.1", "2.0", " One.")] });
        sockets[0].close(1006);
        conversation.send(item(4000, 5000));
        timer();
        sockets[1].open();
        sockets[1].say(READY);
        sockets[1].say({ segments: [segment("0.5", "1.5", " Two.")] });
        conversation.end();
        sockets[1].close(1000);
        console.log(JSON.stringify([sockets.map(({ url, sent }) => [url, sent]), log]));
    """
    sockets, log = run(CONVERSATION + script)
    begin = ['{"uid":"u"}', "header"]
    first = ["0-1000", "1000-2000", "2000-3000", "3000-4000"]
    second = [*first[2:], "4000-5000", "END_OF_AUDIO"]
    address = "wss://example.org/whisper/live"
    assert sockets == [[address, [*begin, *first]], [address, [*begin, *second]]]
    texts = [detail["segments"][-1] for event, detail in log if event == "text"]
    assert [(text["start"], text["end"]) for text in texts] == [(0.1, 2.0), (2.5, 3.5)]
    events = ["ready", "text", "lost", "ready", "text", "ended"]
    assert [event for event, *_ in log] == events
    assert log[3][1] == {"again": True, "lostS": 0}


def test_what_is_said_without_a_server_is_kept_for_a_minute_and_the_rest_told() -> None:
    script = """
        sockets[0].open();
        sockets[0].say(READY);
        sockets[0].close(1006);
        for (let from = 0; from < 90_000; from += 1000) {
            conversation.send(item(from, from + 1000));
        }
        timer();
        sockets[1].open();
        sockets[1].say(READY);
        sockets[1].say({ segments: [segment("1.0", "2.0", " Late.")] });
        console.log(JSON.stringify([sockets[1].sent.length, log]));
    """
    count, log = run(CONVERSATION + script)
    assert count == 2 + 60
    assert log[2] == ["ready", {"again": True, "lostS": 30}]
    assert log[3][1]["segments"][0]["start"] == 31


@pytest.mark.parametrize(
    ("said", "code", "reason", "event"),
    [
        ({"status": "WAIT", "message": 1.5}, 1013, "capacity", "refused"),
        ({"status": "ERROR", "message": "no"}, 1008, "wrong_key", "refused"),
        (None, 1006, "", "lost"),
        (None, 1012, "service restart", "lost"),
    ],
)
def test_who_is_refused_is_told_and_who_is_lost_tries_again(
    said: Any, code: int, reason: str, event: str
) -> None:
    script = f"""
        sockets[0].open();
        if (given) sockets[0].say(given);
        if (sockets[0].readyState === 1) sockets[0].close({code}, "{reason}");
        const tries = timer !== null;
        console.log(JSON.stringify([log, tries]));
    """
    log, tries = run(CONVERSATION + script, said)
    assert [each[0] for each in log] == [event]
    assert tries == (event == "lost")
    if event == "refused":
        kind = "full" if reason == "capacity" else reason
        assert log[0][1] == {"kind": kind, "said": said["message"]}


@pytest.mark.parametrize("again", ["room_taken", "room_off"])
def test_who_comes_back_sooner_than_the_loss_was_noticed_tries_again(
    again: str,
) -> None:
    script = """
        sockets[0].open();
        sockets[0].say(READY);
        sockets[0].close(1006);
        timer();
        timer = null;
        sockets[1].open();
        sockets[1].say({ status: "ERROR", message: "Somebody else speaks here." });
        sockets[1].close(1008, given);
        console.log(JSON.stringify([log.map(([event]) => event), timer !== null]));
    """
    events, tries = run(CONVERSATION + script, again)
    ended = ["lost"] if again == "room_taken" else ["refused"]
    assert events == ["ready", "lost", *ended]
    assert tries == (again == "room_taken")


def test_what_another_session_repeats_is_not_shown_twice() -> None:
    given = [
        [{"start": 0.5, "end": 2.0, "text": " One.", "completed": True}],
        # It goes on 0.1 s before the end of what was completed.
        [{"start": 1.9, "end": 2.6, "text": " Two", "completed": False}],
        [{"start": 1.9, "end": 3.0, "text": " Two.", "completed": True}],
        [
            {"start": 1.9, "end": 3.0, "text": " Two.", "completed": True},
            {"start": 3.0, "end": 4.0, "text": " Three.", "completed": True},
        ],
    ]
    script = """
        import { Transcript } from "./transcript.js";
        const transcript = new Transcript();
        for (const shown of given) transcript.take(shown);
        console.log(JSON.stringify(transcript.segments.map(
            ({ start, end, text }) => [start, end, text])));
    """
    assert run(script, given) == [
        [0.5, 2.0, " One."],
        [2.0, 3.0, " Two."],
        [3.0, 4.0, " Three."],
    ]


def test_files_have_their_forms() -> None:
    segments = [
        {"start": 0.5, "end": 1.2, "text": " a < b & c -->", "completed": True},
        {"start": 3599.9996, "end": 3661.25, "text": " Then.", "completed": True},
        {"start": 3662.0, "end": 3663.0, "text": " And", "completed": False},
    ]
    script = """
        import { Transcript } from "./transcript.js";
        const transcript = new Transcript();
        transcript.take(given.slice(0, 1));
        const completed = transcript.take(given).map(({ text }) => text);
        transcript.take(given);
        console.log(JSON.stringify([completed, transcript.partial,
            ...["txt", "srt", "vtt"].map((format) => transcript.as(format))]));
    """
    completed, partial, txt, srt, vtt = run(script, segments)
    assert (completed, partial) == ([" Then."], "And")
    assert txt == "a < b & c -->\n\nThen.\n"
    assert srt == (
        "1\n00:00:00,500 --> 00:00:01,200\na < b & c -->\n\n"
        "2\n01:00:00,000 --> 01:01:01,250\nThen.\n"
    )
    assert vtt == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.200\na &lt; b &amp; c --&gt;\n\n"
        "01:00:00.000 --> 01:01:01.250\nThen.\n"
    )
