"""What a sound card, a file or a pipe is given."""

from __future__ import annotations

import asyncio
import io
import threading
import wave
from typing import Any

import numpy as np
import pytest

from tests.virtual_time import settle, virtual_time
from whisper_live.voice.player import (
    Feed,
    Loudspeaker,
    PacedPlayer,
    PlayerError,
    raw_sink,
    wav_sink,
)
from whisper_live.voice.speech import Sound

SOUND = Sound(np.linspace(-1, 1, 1600, dtype=np.float32), 16000)  # 0.1 s


@virtual_time
async def test_a_sound_goes_out_at_the_pace_of_a_loudspeaker() -> None:
    loop = asyncio.get_running_loop()
    out: list[tuple[float, int]] = []
    began: list[float] = []
    start = loop.time()
    player = PacedPlayer(lambda pcm, rate: out.append((loop.time() - start, len(pcm))))
    await player.play(SOUND, lambda: began.append(loop.time() - start))
    assert [size for _, size in out] == [640] * 5
    assert [at for at, _ in out] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08])
    assert began == [0] and loop.time() - start == pytest.approx(0.1)


@virtual_time
async def test_a_play_that_is_cancelled_gives_nothing_more() -> None:
    out: list[bytes] = []
    player = PacedPlayer(lambda pcm, rate: out.append(pcm))
    play = asyncio.create_task(player.play(SOUND, lambda: None))
    await asyncio.sleep(0.03)
    play.cancel()
    await asyncio.sleep(1)
    assert play.cancelled() and len(out) == 2


async def test_a_wav_file_has_all_that_was_heard() -> None:
    file = io.BytesIO()
    sink, close = wav_sink(file)
    sink(b"\x01\x00\x02\x00", 22050)
    sink(b"\x03\x00", 22050)
    with pytest.raises(PlayerError, match="from 22050 to 16000 Hz"):
        sink(b"\x04\x00", 16000)
    close()
    with wave.open(io.BytesIO(file.getvalue())) as written:
        assert written.getframerate() == 22050
        assert written.readframes(10) == b"\x01\x00\x02\x00\x03\x00"


async def test_a_wav_file_of_nothing_is_one_too() -> None:
    file = io.BytesIO()
    wav_sink(file)[1]()
    with wave.open(io.BytesIO(file.getvalue())) as written:
        assert written.getnframes() == 0


def test_a_pipe_gets_bare_samples() -> None:
    out = io.BytesIO()
    raw_sink(out)(b"\x01\x00", 22050)
    assert out.getvalue() == b"\x01\x00"


def test_a_feed_gives_samples_then_silence_and_says_when() -> None:
    feed, calls = Feed(), []
    assert feed.take(2).tolist() == [0, 0]
    feed.put(
        np.array([1, 2, 3], np.float32),
        lambda: calls.append("began"),
        lambda: calls.append("ended"),
    )
    assert feed.take(2).tolist() == [1, 2] and calls == ["began"]
    assert feed.take(2).tolist() == [3, 0] and calls == ["began", "ended"]
    assert feed.take(2).tolist() == [0, 0] and calls == ["began", "ended"]


def test_a_feed_that_is_cleared_is_silent_at_once() -> None:
    feed, calls = Feed(), []
    feed.put(np.ones(10, np.float32), lambda: None, lambda: calls.append("ended"))
    feed.take(2)
    feed.clear()
    assert feed.take(2).tolist() == [0, 0] and calls == []


class Card:
    """PortAudio with a card whose thread asks only when a test does."""

    class PortAudioError(Exception):
        pass

    def __init__(self, *, is_there: bool = True) -> None:
        self._is_there = is_there
        self.streams: list[Any] = []
        self.active = False
        self.calls: list[str] = []

    def OutputStream(self, **options: Any) -> Any:
        if not self._is_there:
            raise self.PortAudioError("Error querying device -1")
        self.streams.append(options)
        return self

    def start(self) -> None:
        self.active = True
        self.calls.append("start")

    def abort(self) -> None:
        self.active = False
        self.calls.append("abort")

    def close(self) -> None:
        self.active = False

    def asks(self, count: int) -> list[float]:
        """The card's thread takes this many samples."""
        out = np.empty((count, 1), np.float32)
        call = self.streams[-1]["callback"]
        thread = threading.Thread(target=call, args=(out, count, None, None))
        thread.start()
        thread.join()
        return [float(each) for each in out[:, 0]]


async def test_a_loudspeaker_plays_and_stops_when_it_is_cancelled() -> None:
    card, began = Card(), asyncio.Event()
    player = Loudspeaker(sounddevice=card)
    play = asyncio.create_task(player.play(SOUND, began.set))
    while not card.streams:
        await asyncio.sleep(0)
    while card.asks(100)[0] != -1:  # the first of the sound's samples
        await settle()
    await began.wait()
    assert card.asks(100)[0] == pytest.approx(float(SOUND.samples[100]))
    play.cancel()
    await asyncio.gather(play, return_exceptions=True)
    again = asyncio.create_task(player.play(SOUND, lambda: None))
    while not again.done():
        card.asks(1600)
        await settle()
    await again
    # What the card has already is not heard either, and its stream is used again.
    assert card.calls == ["start", "abort", "start"] and len(card.streams) == 1
    player.close()


async def test_a_loudspeaker_s_play_ends_with_its_last_sample() -> None:
    card = Card()
    player = Loudspeaker(sounddevice=card)
    for _ in range(2):
        play = asyncio.create_task(player.play(SOUND, lambda: None))
        while not play.done():
            await settle()
            if card.streams:
                card.asks(160)
        await play
    assert len(card.streams) == 1  # it stays open


async def test_no_loudspeaker_is_told() -> None:
    player = Loudspeaker(sounddevice=Card(is_there=False))
    with pytest.raises(PlayerError, match="no loudspeaker: Error querying device"):
        await player.play(SOUND, lambda: None)
