"""The loop with stand-ins, on a clock that takes no time: what is heard, and when."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.unit.voice.standins import (
    Bench,
    Model,
    NewsSource,
    Voice,
    never,
    refuses,
    speech,
    text,
    turn,
)
from tests.virtual_time import virtual_time
from whisper_live.client.events import Final, News
from whisper_live.errors import WhisperLiveError
from whisper_live.session.updates import SpeechMoment
from whisper_live.voice.cache import Cache
from whisper_live.voice.loop import Limits
from whisper_live.voice.speech import SpeechError

QUESTION = turn("Is it warm?", 1.0, 3.0, text_s=3.5)  # and ends at 4.0
SHORT = ["Yes.", " It", " is."]


@virtual_time
async def test_the_answer_is_heard_when_the_turn_has_ended() -> None:
    bench = Bench(Model([0.1, *SHORT]))
    await bench.hears(*QUESTION, never())
    assert bench.model.questions == ["Is it warm?"]
    assert bench.seen.lines == ["Is it warm?", "Yes.", "It is."]
    assert len(bench.seen.blocks_at_s) == 100  # two sounds of a second, 20 ms each
    assert bench.seen.blocks_at_s[0] == pytest.approx(4.0)  # it was ready at 3.7
    assert bench.count("turns_total", outcome="answered") == 1


@virtual_time
async def test_an_answer_that_takes_longer_is_heard_as_soon_as_it_is_there() -> None:
    bench = Bench(Model([0.3, *SHORT]), Voice(takes_s=0.4))
    await bench.hears(*turn("Is it warm?", 1, 3, text_s=3.5), never())
    assert bench.seen.blocks_at_s[0] == pytest.approx(4.2)


@virtual_time
async def test_the_stages_add_up_to_what_is_heard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "whisper_live.voice")
    bench = Bench(Model([0.3, "Yes", 0.2, ". It", " is."]), Voice(takes_s=0.25))
    await bench.hears(*turn("Is it warm?", 1, 3, text_s=3.5), never())
    lines = [line for line in caplog.messages if line.startswith("[PROFILING]")]
    assert lines == [
        "[PROFILING] [STT] last word to text: 0.500 s",
        "[PROFILING] [AI] question to first token: 0.300 s",
        "[PROFILING] [AI] first token to first sentence: 0.200 s",
        "[PROFILING] [TTS] sentence to sound: 0.250 s",
        "[PROFILING] [PIPELINE] sound ready to heard: 0.000 s",
        "[PROFILING] [PIPELINE] last word to first sound: 1.250 s",
        "[PROFILING] [PIPELINE] reply answered",
    ]
    stages = ("stt", "llm_first_token", "llm_sentence", "tts", "turn_end")
    parts = sum(bench.count("stage_seconds_sum", stage=stage) for stage in stages)
    heard_s = bench.seen.blocks_at_s[0] - 3.0
    assert parts == pytest.approx(heard_s, abs=0.02)
    assert bench.count("response_seconds_sum") == pytest.approx(heard_s, abs=0.02)
    assert "last word to first sound 1.250 s" in bench.told
    assert "warm" not in caplog.text  # what is said is in no log


@virtual_time
async def test_who_pauses_and_goes_on_gets_one_answer_to_the_whole() -> None:
    bench = Bench(Model([0.1, *SHORT]))
    await bench.hears(
        speech(SpeechMoment.STARTED, 1.0),
        speech(SpeechMoment.STOPPED, 2.0),
        text(2.2, "Is it", 1.0, 2.0),
        speech(SpeechMoment.TURN_PROBABLY_OVER, 2.0, 2.2),
        speech(SpeechMoment.RESUMED, 2.8),
        speech(SpeechMoment.STOPPED, 4.0),
        text(4.2, "Is it warm?", 1.0, 4.0),
        speech(SpeechMoment.TURN_PROBABLY_OVER, 4.0, 4.2),
        speech(SpeechMoment.TURN_ENDED, 4.0, 5.0),
        text(5.0, "Is it warm?", 1.0, 4.0, completed=True),
        never(),
    )
    assert bench.model.questions == ["Is it", "Is it warm?"]
    assert bench.seen.answers == ["Yes.", "It is."]  # the second one's alone
    assert bench.seen.blocks_at_s[0] == pytest.approx(5.0)
    assert bench.count("turns_total", outcome="withdrawn") == 1
    assert bench.count("turns_total", outcome="answered") == 1


@virtual_time
async def test_speech_silences_the_answer_at_once() -> None:
    """From what the server tells; telling takes it 0.1 s of speech and the way here."""
    bench = Bench(Model(["One. Two. Three. Four."]))
    await bench.hears(
        *QUESTION,
        speech(SpeechMoment.STARTED, 5.4, 5.5),
        speech(SpeechMoment.TURN_ENDED, 6.0, 7.0),
        never(),
    )
    assert bench.seen.answers == ["One.", "Two."]
    assert 5.4 < bench.seen.blocks_at_s[-1] <= 5.5
    assert bench.count("turns_total", outcome="interrupted") == 1
    assert bench.model.under_way == 0


@virtual_time
async def test_a_withdrawn_question_stops_the_model() -> None:
    bench = Bench(Model([60.0, "Late."], SHORT), limits=Limits(token_s=120))
    await bench.hears(
        *QUESTION[:4], speech(SpeechMoment.RESUMED, 3.8), (3.9, Final("", (), 0, 0))
    )
    assert bench.model.under_way == 0
    assert bench.seen.answers == ["Yes.", "It is."]  # what it was asked at the end


# --------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("script", "kind", "told"),
    [
        ([3600.0], "llm_timeout", "said nothing for 10 s"),
        (["", 3.0] * 1000, "llm_timeout", "said nothing for 10 s"),
        ([refuses()], "llm_failed", "cannot be reached"),
        ([], "empty_answer", "answered nothing"),
        ([" ", "\n"], "empty_answer", "answered nothing"),
        ([ValueError("a bug")], "internal", "the log says why"),
    ],
)
def test_a_model_that_fails_is_told_and_the_next_question_answered(
    script: list[str | float | Exception], kind: str, told: str
) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(Model(script, SHORT))
        again = turn("Is it cold?", 31.0, 33.0, text_s=33.5)
        await bench.hears(*QUESTION, *again, never())
        assert bench.count("errors_total", kind=kind) == 1
        assert bench.told.count(told) == 1
        assert bench.model.questions == ["Is it warm?", "Is it cold?"]
        assert bench.seen.answers == ["Yes.", "It is."]
        assert bench.seen.blocks_at_s[0] == pytest.approx(34.0)
        assert bench.model.under_way == 0

    run()


@virtual_time
async def test_an_answer_for_ever_is_cut_and_the_model_stopped() -> None:
    bench = Bench(Model(["More. ", 0.01] * 100_000, SHORT), most_characters=60)
    again = turn("Is it cold?", 31.0, 33.0, text_s=33.5)
    await bench.hears(*QUESTION, *again, never())
    assert bench.seen.answers == ["More."] * 11 + ["Yes.", "It is."]
    assert bench.count("errors_total", kind="answer_too_long") == 1
    assert bench.model.under_way == 0


@pytest.mark.parametrize(
    ("voice", "kind"),
    [
        (Voice(error=SpeechError("the speech server cannot be reached")), "tts_failed"),
        (Voice(takes_s=3600.0), "tts_timeout"),
    ],
)
def test_an_answer_without_sound_is_shown_and_that_told_once(
    voice: Voice, kind: str
) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(Model(SHORT), voice)
        await bench.hears(*QUESTION, never())
        assert bench.seen.answers == ["Yes.", "It is."]
        assert bench.count("errors_total", kind=kind) == 1
        assert bench.told.count("the answer is shown only") == 1
        assert bench.seen.blocks_at_s == []
        assert bench.count("turns_total", outcome="answered") == 1
        assert len(voice.said) == 1  # not tried for each sentence

    run()


@virtual_time
async def test_a_loudspeaker_that_fails_leaves_the_text() -> None:
    def broken(pcm: bytes, rate: int) -> None:
        raise SpeechError("no loudspeaker", kind="player_failed")

    bench = Bench(Model(SHORT), sink=broken)
    await bench.hears(*QUESTION, never())
    assert bench.seen.answers == ["Yes.", "It is."]
    assert bench.count("errors_total", kind="player_failed") == 1


@virtual_time
async def test_a_microphone_can_be_muted_while_it_would_hear_the_answer() -> None:
    bench = Bench(Model(["Yes."]))
    loop = asyncio.get_running_loop()
    start, sounding = loop.time(), []

    def look() -> None:
        sounding.append(bench.loop.is_sounding)

    for at_s in (3.9, 4.1, 4.9, 5.2, 5.4):  # heard from 4 s to 5 s
        loop.call_at(start + at_s, look)
    await bench.hears(*QUESTION, never())
    assert sounding == [False, True, True, True, False]


@virtual_time
async def test_without_speech_answers_are_shown() -> None:
    bench = Bench(Model(SHORT), voice=None)
    await bench.hears(*QUESTION, never())
    assert bench.seen.answers == ["Yes.", "It is."]
    assert bench.count("response_seconds_count") == 1


# ------------------------------------------------------------------------------ cache


@virtual_time
async def test_the_same_question_is_answered_from_the_cache_of_its_owner() -> None:
    cache: Cache[object] = Cache(most_bytes=1 << 20, ttl_s=1e9)

    async def asks(owner: str, words: str) -> Bench:
        bench = Bench(Model(SHORT), cache=cache, owner=owner)
        await bench.hears(*turn(words, 1.0, 3.0, text_s=3.5), never())
        assert bench.seen.answers == ["Yes.", "It is."]
        return bench

    def lookups(bench: Bench, result: str) -> list[float]:
        return [
            bench.count("cache_lookups_total", of=of, result=result)
            for of in ("answer", "speech")
        ]

    first, again, other = (
        await asks("alice", "Is it warm?"),
        await asks("alice", "is it warm"),
        await asks("bob", "Is it warm?"),
    )
    assert [len(each.model.asked) for each in (first, again, other)] == [1, 0, 1]
    assert [lookups(each, "hit") for each in (first, again, other)] == [
        [0, 0],
        [1, 2],
        [0, 0],
    ]
    assert lookups(first, "miss") == lookups(other, "miss") == [1, 2]
    assert again.voice is not None and again.voice.said == []
    assert len(again.seen.blocks_at_s) == 100


@virtual_time
async def test_half_an_answer_is_not_kept() -> None:
    cache: Cache[object] = Cache(most_bytes=1 << 20, ttl_s=600)
    bench = Bench(Model(["Yes. ", 5.0, "It is."]), cache=cache)
    await bench.hears(
        *QUESTION[:4], speech(SpeechMoment.RESUMED, 3.8), *QUESTION, never()
    )
    assert bench.count("cache_lookups_total", of="answer", result="hit") == 0
    assert len(bench.model.asked) == 2


# ---------------------------------------------------------------------------- the end


@virtual_time
async def test_what_was_said_last_is_answered_when_the_audio_is_over() -> None:
    bench = Bench(Model(SHORT))
    await bench.hears(*QUESTION[:4])  # it was only probably over
    assert bench.seen.answers == ["Yes.", "It is."]
    assert len(bench.seen.blocks_at_s) == 100


@virtual_time
async def test_who_stops_the_answers_still_has_all_written_down() -> None:
    bench = Bench(Model(SHORT))

    asyncio.get_running_loop().call_later(3.8, lambda: bench.loop.stop_answering())
    again = turn("Is it cold?", 31.0, 33.0, text_s=33.5)
    await bench.hears(*QUESTION, *again)
    assert bench.seen.answers == [] and len(bench.model.asked) == 1
    assert bench.loop.live_text == ["Is it warm?", "Is it cold?"]
    assert bench.count("turns_total", outcome="interrupted") == 1


@virtual_time
async def test_a_lost_server_is_an_error_and_ends_the_answer() -> None:
    class Lost(NewsSource):
        async def hear(self) -> News | None:
            if not self._news:
                raise WhisperLiveError("the server is gone")
            return await super().hear()

    bench = Bench(Model(SHORT))
    bench.news = Lost(*QUESTION)
    with pytest.raises(WhisperLiveError, match="gone"):
        await bench.loop.run(bench.news)
    assert bench.model.under_way == 0 and len(bench.seen.blocks_at_s) < 100


@virtual_time
async def test_the_final_transcript_comes_with_the_live_text() -> None:
    bench = Bench(Model(SHORT))
    final = Final("Is it warm, Tom?", (), 5.0, 0.25)
    assert await bench.hears(*QUESTION, (30.0, final)) == final
    assert bench.loop.live_text == ["Is it warm?"]
