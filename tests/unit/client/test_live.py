"""Events from a server on a real socket, and how a stream outlives its connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from tests.decode_media import decode
from tests.unit.client.peers import Peer, second, segment, server
from whisper_live.client import (
    Backoff,
    Closed,
    Disconnected,
    Event,
    Final,
    Gap,
    Heard,
    LanguageDetected,
    LiveClient,
    Partial,
    Reconnected,
    Segment,
    Stages,
    Turn,
    Warned,
)
from whisper_live.client.chunks import webm_chunks
from whisper_live.errors import DecodeError, Overloaded, WhisperLiveError
from whisper_live.inference.load_steps import LoadStep
from whisper_live.inference.types import Word
from whisper_live.session.updates import SpeechMoment, Timings

S = 16_000
WORD = Word(" hallo", S // 2, S * 3 // 2, 0.75)


class Waits:
    """A sleep that takes no time, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


def client(url: str, waits: Waits | None = None, **options: Any) -> LiveClient:
    known: dict[str, Any] = {"language": "en", "clock": lambda: 5.0}
    known |= {"chance": lambda: 1.0, "sleep": waits or Waits()}
    return LiveClient(url, **known | options)


async def all_events(live: LiveClient) -> list[Event]:
    return [event async for event in live]


async def test_each_kind_of_message_is_its_own_event() -> None:
    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.say(status="WARNING", message="a long prompt")
        await peer.say(language="de", language_prob=0.5)
        await peer.say(turn_event="started", at=0.5)
        await peer.shows(segment("0.500", "1.000", " ha", False))
        lost = [{"start": "2.000", "end": "3.000", "reason": "unread"}]
        word = {"word": " hallo", "start": "0.5", "end": "1.5", "probability": 0.75}
        done = segment("0.500", "1.500", " hallo")
        await peer.shows(
            done | {"words": [word]},
            segment("1.500", "1.750", " du", False),
            dropped=lost,
            timings={"queue_ms": 250.0, "load_step": 9},
        )
        await peer.shows(done)
        content = {"text": "Hallo", "duration": "3.000", "live_wer": 0.25}
        content |= {"segments": [done], "dropped": lost}
        await peer.hears_all()
        await peer.say(final_transcript=content)

    async with server(script) as (url, peers), client(url, turn_events=True) as live:
        await live.end()
        events = await all_events(live)
    assert peers[0].hello["turn_events"] is True
    assert events == [
        Warned("a long prompt"),
        LanguageDetected("de", 0.5),
        Turn(SpeechMoment.STARTED, 0.5, 0.0),
        Partial("ha", 0.5, 1.0, 0.0),
        Segment("hallo", 0.5, 1.5, 0.0, words=(WORD,)),
        Gap(2.0, 3.0, "unread"),
        Partial("du", 1.5, 1.75, 0.0),
        Stages(Timings(queue_s=0.25, load=LoadStep.GREEDY_FINALS)),
        Partial("", 0.0, 0.0, 0.0),
        Final(
            "hallo",
            (Segment("hallo", 0.5, 1.5, 0.0),),
            duration_s=3.0,
            live_wer=0.25,
            gaps=(Gap(2.0, 3.0, "unread"),),
        ),
        Closed(),
    ]


async def test_one_messages_text_can_be_heard_together() -> None:
    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.shows(segment("0", "1", " a"), segment("1", "2", " b", False))
        await peer.hears_all()

    async with server(script) as (url, _), client(url) as live:
        await live.end()
        heard = await live.hear()
        assert isinstance(heard, Heard) and heard.has_segments
        assert [each.text for each in heard.update.completed] == [" a"]
        assert heard.update.interim is not None and heard.update.interim.text == " b"
        assert await live.hear() == Closed()
        assert await live.hear() is None


async def test_samples_and_messages_arrive_in_their_order() -> None:
    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.hears_all()

    async with server(script) as (url, peers):
        async with client(url, audio_format="int16") as live:
            await live.send(np.array([0, 0.5, 1, -1.5], np.float32))
            await live.flush()
            await live.send(b"\1\0")
            await live.configure(language="de")
            await live.end()
            assert await all_events(live) == [Closed()]
    (peer,) = peers
    assert peer.audio == np.array([0, 16384, 32767, -32767, 1], "<i2").tobytes()
    assert peer.said == [
        '8 {"type": "flush"}',
        '10 {"language": "de", "type": "configure"}',
    ]


async def test_times_count_from_when_the_first_sample_was_spoken() -> None:
    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.hears(S * 4)
        await peer.shows(segment("0", "0.5", " a"))
        await peer.hears_all()

    now = 100.0
    async with server(script) as (url, _), client(url, clock=lambda: now) as live:
        await live.send(second(1))  # at 100 s, so that it began at 99 s
        now = 100.25
        assert await anext(live) == Segment("a", 0.0, 0.5, at_s=1.25)


async def first_second_then_gone(peer: Peer) -> None:
    """Completes half of the first two seconds, and breaks."""
    await peer.ready()
    await peer.hears(S * 8)
    await peer.shows(segment("0.2", "0.5", " one"), segment("0.5", "0.9", " t", False))
    await peer.breaks()


async def the_rest(peer: Peer) -> None:
    await peer.ready()
    await peer.hears_all()
    await peer.shows(segment("0.25", "1.5", " two"))


async def test_a_broken_connection_loses_and_doubles_nothing() -> None:
    waits = Waits()
    async with server(first_second_then_gone, the_rest) as (url, peers):
        async with client(url, waits) as live:
            await live.send(second(1))
            await live.send(second(2))
            events = [await anext(live) for _ in range(3)]
            await live.send(second(3))
            await live.end()
            events += await all_events(live)
    lost = events[2]
    assert isinstance(lost, Disconnected) and "a broken connection" in lost.reason
    assert events == [
        Segment("one", 0.2, 0.5, 1.0),
        Partial("t", 0.5, 0.9, 1.0),
        Disconnected(lost.reason, retry_s=0.5),
        Reconnected(resumed=False),
        Segment("two", 0.75, 2.0, 1.0),  # 0.5 s later than its server says
        Partial("", 0.0, 0.0, 1.0),
        Closed(),
    ]
    assert waits.asked == [0.5]
    # From the end of what was completed on, then what was sent without a connection.
    assert peers[1].audio == second(1)[S * 2 :] + second(2) + second(3)


async def test_a_new_session_gets_the_wishes_as_they_were_changed() -> None:
    async with server(first_second_then_gone, the_rest) as (url, peers):
        async with client(url, hotwords="Ada") as live:
            await live.configure(hotwords="Grace")
            await live.send(second(1) + second(2))
            await live.end()
            await all_events(live)
    assert [peer.hello["hotwords"] for peer in peers] == ["Ada", "Grace"]
    assert peers[1].said == []


async def refuses(peer: Peer) -> None:
    await peer.say(status="ERROR", message="no such language")
    await peer.socket.wait_closed()


async def is_full(peer: Peer) -> None:
    await peer.say(status="WAIT", message=0.5)
    await peer.socket.wait_closed()


async def test_it_tries_again_with_longer_and_longer_waits() -> None:
    async def closes(peer: Peer) -> None:
        await peer.socket.close(1012, "restart")

    waits = Waits()
    scripts = [first_second_then_gone, closes, closes, is_full, closes, the_rest]
    async with server(*scripts) as (url, _), client(url, waits) as live:
        await live.send(second(1) + second(2))
        await live.end()
        events = await all_events(live)
    assert waits.asked == [0.5, 1.0, 2.0, 30.0, 8.0]
    retries = [each.retry_s for each in events if isinstance(each, Disconnected)]
    assert retries == waits.asked
    assert events[-1] == Closed()


async def test_it_gives_up_when_told_to() -> None:
    waits, now = Waits(), 0.0

    async def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds
        await waits(seconds)

    async def closes(peer: Peer) -> None:
        await peer.socket.close(1012, "restart")

    scripts = [first_second_then_gone, *[closes] * 9]
    backoff = Backoff(first_s=1.0, most_s=4.0, give_up_s=10.0)
    options: dict[str, Any] = {
        "sleep": pass_time,
        "clock": lambda: now,
        "backoff": backoff,
    }
    async with server(*scripts) as (url, _), client(url, **options) as live:
        await live.send(second(1) + second(2))
        with pytest.raises(WhisperLiveError, match="1012"):
            await all_events(live)
        assert await all_events(live) == [], "it is over"
    assert waits.asked == [1.0, 2.0, 4.0]


async def test_a_server_that_breaks_again_and_again_is_given_up() -> None:
    now = 0.0

    async def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def crashes(peer: Peer) -> None:
        await peer.ready()
        await peer.socket.close(1011)

    backoff = Backoff(first_s=1.0, most_s=4.0, give_up_s=10.0)
    options: dict[str, Any] = {"sleep": pass_time, "clock": lambda: now}
    options["backoff"] = backoff
    async with server(*[crashes] * 5) as (url, peers), client(url, **options) as live:
        with pytest.raises(WhisperLiveError, match="1011"):
            await all_events(live)
    assert now == 7.0 and len(peers) == 4


async def test_who_waits_with_a_timeout_does_not_begin_the_try_anew() -> None:
    slept, go_on = [], asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await go_on.wait()

    scripts = [first_second_then_gone, the_rest]
    async with server(*scripts) as (url, _), client(url, sleep=sleep) as live:
        await live.send(second(1) + second(2))
        await live.end()
        while not isinstance(await anext(live), Disconnected):
            pass
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(live)
        go_on.set()
        assert (await all_events(live))[-1] == Closed()
    assert len(slept) == 1


async def test_leaving_between_two_connections_leaves_nothing_behind() -> None:
    async def sleep(seconds: float) -> None:
        await asyncio.Event().wait()

    before = asyncio.all_tasks()
    async with server(first_second_then_gone) as (url, _):
        async with client(url, sleep=sleep) as live:
            await live.send(second(1) + second(2))
            while not isinstance(await anext(live), Disconnected):
                pass
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(live)
    assert asyncio.all_tasks() == before


async def test_a_message_that_makes_no_sense_is_one_sentence() -> None:
    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.say(segments=[{"start": "now"}])
        await peer.socket.wait_closed()

    async with server(script) as (url, _), client(url) as live:
        with pytest.raises(WhisperLiveError, match="makes no sense"):
            await all_events(live)


@pytest.mark.parametrize("code", [1002, 1007, 1008, 1009])
async def test_what_would_end_the_same_way_again_is_the_end(code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.say(status="ERROR", message="that is wrong")
        await peer.socket.close(code)

    async with server(script) as (url, _), client(url) as live:
        with pytest.raises(WhisperLiveError, match=f"{code}: that is wrong"):
            await all_events(live)


async def test_a_refusal_of_the_second_session_is_the_end() -> None:
    async with server(first_second_then_gone, refuses) as (url, _):
        async with client(url) as live:
            await live.send(second(1) + second(2))
            with pytest.raises(WhisperLiveError, match="no such language"):
                await all_events(live)


async def test_the_first_connection_is_not_tried_again() -> None:
    async with server(is_full, refuses) as (url, peers):
        with pytest.raises(Overloaded):
            await client(url).connect()
        with pytest.raises(WhisperLiveError, match="no such language"):
            await client(url).connect()
    assert len(peers) == 2


@pytest.mark.parametrize("options", [{"backoff": None}, {"audio_format": "ogg"}])
async def test_without_another_try_a_break_is_an_error(options: dict[str, Any]) -> None:
    async with server(first_second_then_gone) as (url, _):
        async with client(url, **options) as live:
            await live.send(second(1) + second(2))
            with pytest.raises(WhisperLiveError, match="a broken connection"):
                await all_events(live)


async def test_a_session_whose_time_is_over_is_followed_by_another() -> None:
    async def over(peer: Peer) -> None:
        await peer.ready()
        await peer.hears(S * 8)
        await peer.shows(segment("0.2", "1.5", " one"))
        await peer.say(message="DISCONNECT")
        await peer.socket.wait_closed()

    async with server(over, the_rest) as (url, peers), client(url) as live:
        await live.send(second(1) + second(2))
        await live.end()
        events = await all_events(live)
    assert [e.reason for e in events if isinstance(e, Disconnected)] == [
        "the session's time on the server is over"
    ]
    assert peers[1].audio == second(2)[S * 2 :]


async def test_an_end_without_being_asked_for_is_no_end() -> None:
    async def leaves(peer: Peer) -> None:
        await peer.ready()
        await peer.hears(S * 8)

    async with server(leaves, the_rest) as (url, peers), client(url) as live:
        await live.send(second(1) + second(2))
        assert isinstance(await anext(live), Disconnected)
        await live.end()
        assert (await all_events(live))[-1] == Closed()
    assert peers[1].audio == second(1) + second(2)


async def test_a_live_stream_gives_up_the_oldest_and_says_so() -> None:
    async def gone(peer: Peer) -> None:
        await peer.ready()
        await peer.breaks()

    async with server(gone, the_rest) as (url, peers):
        async with client(url, buffer_s=2.0) as live:
            assert isinstance(await anext(live), Disconnected)
            for number in range(4):
                await live.send(second(number))
            await live.end()
            events = await all_events(live)
    gaps = [event for event in events if isinstance(event, Gap)]
    assert gaps == [Gap(0.0, 2.0, "unsent")], "one, however many pieces it had"
    assert peers[1].audio == second(2) + second(3)
    heard = [event for event in events if isinstance(event, Segment)]
    assert [(each.start_s, each.end_s) for each in heard] == [(2.25, 3.5)]


async def test_a_stream_that_is_not_live_waits_for_the_server() -> None:
    async def gone(peer: Peer) -> None:
        await peer.ready()
        await peer.breaks()

    async with server(gone, the_rest) as (url, peers), client(url, live=False) as live:
        assert isinstance(await anext(live), Disconnected)
        sender = asyncio.create_task(_send_all(live, 120))
        while not live.is_waiting:
            await asyncio.sleep(0)
        assert not sender.done()
        assert (await all_events(live))[-1] == Closed()
        await sender
    assert peers[1].audio == b"".join(second(number) for number in range(120))


async def _send_all(live: LiveClient, seconds: int) -> None:
    for number in range(seconds):
        await live.send(second(number))
    await live.end()


async def test_a_source_is_sent_beside_the_events() -> None:
    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.hears(S * 4)
        await peer.shows(segment("0", "1", " a"))
        await peer.hears_all()

    async def source() -> AsyncIterator[bytes]:
        yield second(1)
        yield second(2)

    async with server(script) as (url, peers), client(url) as live:
        async with live.feeding(source()):
            events = await all_events(live)
    assert events[0] == Segment("a", 0.0, 1.0, 1.0) and events[-1] == Closed()
    assert peers[0].audio == second(1) + second(2)


async def test_a_source_that_breaks_is_the_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.socket.wait_closed()

    async def source() -> AsyncIterator[bytes]:
        yield second(1)
        raise DecodeError("the file is damaged")

    async with server(script) as (url, _), client(url) as live:
        with pytest.raises(DecodeError, match="damaged"):
            async with live.feeding(source()):
                await all_events(live)


async def test_an_error_of_the_server_stops_the_source() -> None:
    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.socket.close(1008, "idle")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b""
            await asyncio.sleep(0)

    before = asyncio.all_tasks()
    async with server(script) as (url, _):
        tasks = asyncio.all_tasks()
        async with client(url) as live:
            with pytest.raises(WhisperLiveError, match="idle"):
                async with live.feeding(endless()):
                    await all_events(live)
        assert asyncio.all_tasks() <= tasks
    assert asyncio.all_tasks() == before


# ---------------------------------------------------- a server that can resume


async def keeps_and_breaks(peer: Peer) -> None:
    """Has taken in 1.75 s and decided 0.9 s when it breaks."""
    await peer.ready(resume_token="secret", resume_s=60, seq=1)
    await peer.hears(S * 8)
    await peer.shows(
        segment("0.2", "0.5", " one"), seq=2, received=S * 7 // 4, decided=S * 9 // 10
    )
    await peer.breaks()


async def resumes(peer: Peer) -> None:
    """Goes on behind 1.75 s."""
    await peer.ready(
        resumed=True, resume_token="secret", received=S * 7 // 4, snapshot=False
    )
    await peer.shows(
        segment("0.2", "0.5", " one"), segment("0.6", "1.5", " two"), seq=3
    )
    await peer.hears_all()
    await peer.shows(segment("1.5", "2.5", " three"), seq=4)


async def test_a_session_is_resumed_where_the_server_is() -> None:
    async with server(keeps_and_breaks, resumes) as (url, peers):
        async with client(url) as live:
            await live.send(second(1))
            await live.send(second(2))
            await live.end()
            events = await all_events(live)
    first, then = (peer.hello for peer in peers)
    assert first["resume"] is True and "resume_token" not in first
    assert then == first | {"resume_token": "secret", "last_seq": 2}
    assert peers[1].audio == second(2)[S * 3 :], "and the end once more"
    told = [event for event in events if not isinstance(event, Partial)]
    lost = told[1]
    assert isinstance(lost, Disconnected)
    assert told == [
        Segment("one", 0.2, 0.5, 1.0),
        lost,
        Reconnected(resumed=True),
        Segment("two", 0.6, 1.5, 1.0),
        Segment("three", 1.5, 2.5, 1.0),
        Closed(),
    ]


async def test_what_was_said_without_a_connection_is_sent_behind_the_rest() -> None:
    async with server(keeps_and_breaks, resumes) as (url, peers):
        async with client(url) as live:
            await live.send(second(1) + second(2))
            while not isinstance(await anext(live), Disconnected):
                pass
            await live.flush()
            await live.send(second(3))
            await live.end()
            await all_events(live)
    assert peers[1].audio == second(2)[S * 3 :] + second(3)
    assert peers[1].said == [f'{S} {{"type": "flush"}}']


async def test_a_session_that_is_over_is_followed_by_a_new_one() -> None:
    waits = Waits()
    scripts = [keeps_and_breaks, refuses, the_rest]
    async with server(*scripts) as (url, peers), client(url, waits) as live:
        await live.send(second(1) + second(2))
        await live.end()
        events = await all_events(live)
    assert [peer.hello.get("resume_token") for peer in peers] == [None, "secret", None]
    assert peers[2].audio == second(1)[S * 2 :] + second(2), "behind the last segment"
    assert Reconnected(resumed=False) in events
    heard = [event for event in events if isinstance(event, Segment)]
    assert [each.start_s for each in heard] == [0.2, 0.25 + 0.5]
    assert waits.asked == [0.5], "the new session is not waited for"


async def test_a_new_session_is_not_sent_what_has_long_been_decided() -> None:
    async def heard_nothing(peer: Peer) -> None:
        await peer.ready(resume_token="secret", resume_s=60, seq=1)
        await peer.hears(S * 4 * 5)
        await peer.say(seq=2, received=5 * S, decided=5 * S)
        await peer.breaks()

    scripts = [heard_nothing, refuses, the_rest]
    async with server(*scripts) as (url, peers), client(url) as live:
        for number in range(5):
            await live.send(second(number))
        await live.end()
        events = await all_events(live)
    assert peers[2].audio == second(3) + second(4), "but for the last 2 s"
    assert [each.start_s for each in events if isinstance(each, Segment)] == [3.25]


async def test_a_server_that_restarts_says_when_to_come_back() -> None:
    async def restarts(peer: Peer) -> None:
        await peer.ready(resume_token="secret", resume_s=60, seq=1)
        await peer.hears(S * 8)
        await peer.say(restarting=7.0)
        await peer.socket.close(1012)

    waits = Waits()
    async with server(restarts, resumes) as (url, _), client(url, waits) as live:
        await live.send(second(1) + second(2))
        await live.end()
        assert Disconnected in [type(event) for event in await all_events(live)]
    assert waits.asked == [7.0]


async def test_other_ends_of_a_session_leave_nothing_to_resume() -> None:
    async def over(peer: Peer) -> None:
        await peer.ready(resume_token="secret", resume_s=60, seq=1)
        await peer.hears(S * 8)
        await peer.say(message="DISCONNECT", seq=2, decided=2 * S)
        await peer.socket.wait_closed()

    async with server(over, the_rest) as (url, peers), client(url) as live:
        await live.send(second(1) + second(2))
        await live.end()
        await all_events(live)
    assert "resume_token" not in peers[1].hello

    async def elsewhere(peer: Peer) -> None:
        await peer.ready(resume_token="secret", resume_s=60, seq=1)
        await peer.socket.close(4000, "resumed elsewhere")

    async with server(elsewhere) as (url, _), client(url) as live:
        with pytest.raises(WhisperLiveError, match="resumed elsewhere"):
            await all_events(live)


@pytest.mark.parametrize("options", [{"resume": False}, {"backoff": None}])
async def test_who_does_not_resume_does_not_ask_to(options: dict[str, Any]) -> None:
    async with server(the_rest) as (url, peers), client(url, **options) as live:
        await live.end()
        await all_events(live)
    assert "resume" not in peers[0].hello


async def test_a_resumed_webm_stream_begins_with_a_block_whose_place_is_told() -> None:
    samples = np.sin(np.arange(3 * S) / 20).astype(np.float32)
    chunks = [chunk.data for chunk in webm_chunks([samples])]
    whole = b"".join(chunks)

    async def keeps(peer: Peer) -> None:
        await peer.ready(resume_token="secret", resume_s=60, seq=1)
        await peer.hears(len(whole) * 2 // 3)
        await peer.breaks()

    async with server(keeps, resumes) as (url, peers):
        async with client(url, audio_format="webm") as live:
            for chunk in chunks:
                await live.send(chunk)
            await live.end()
            assert Reconnected(resumed=True) in await all_events(live)
    place, audio = peers[1].said, peers[1].audio
    assert len(place) == 1 and place[0].startswith('0 {"type": "position", "at": ')
    at = json.loads(place[0][2:])["at"]
    assert S * 7 // 4 - 1280 - 320 <= at <= S * 7 // 4 - 1280, "80 ms for the decoder"
    rest, _ = decode(audio, "webm")
    assert len(rest) == pytest.approx(3 * S - at, abs=400)
