"""When words were said: against the durations that the synthesised voice reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.e2e.support import Client
from tests.real.support import Kept, hear, real_server, samples_of
from whisper_live.testing.load.alignment import align
from whisper_live.testing.recordings import TimedWord, shipped
from whisper_live.text.wer import plain_words

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

TOLERANCE_S = 0.2
# Starts are worse: to a word behind a pause Whisper gives some of the pause.
LEAST_WITHIN = {"start": 0.75, "end": 0.85}
MOST_MEDIAN_S = 0.1


@pytest.mark.parametrize("model", ["tiny", "base"])
async def test_words_stand_where_they_were_said(
    model: str, request: pytest.FixtureRequest
) -> None:
    engine: Kept = request.getfixturevalue(model)
    recording = shipped("meeting")
    async with real_server(engine) as server:
        peer = await hear(server, samples_of(recording.audio), word_timestamps=True)
    heard = [part for word in words_of(peer) for part in plain_parts(word)]
    said = [
        part
        for sentence in recording.sentences
        for word in sentence
        for part in plain_parts(word)
    ]
    pairs = align([w.text for w in heard], [w.text for w in said]).pairs
    edges = np.array(
        [
            (
                heard[pair.heard].start_s - said[pair.spoken].start_s,
                heard[pair.heard].end_s - said[pair.spoken].end_s,
            )
            for pair in pairs
            if pair.is_equal
        ]
    )
    assert len(edges) >= 0.95 * len(said)
    for index, (name, least) in enumerate(LEAST_WITHIN.items()):
        off = np.abs(edges[:, index])
        share = np.mean(off <= TOLERANCE_S)
        assert share >= least, f"{name}: {share:.1%} within {TOLERANCE_S} s"
        assert np.median(off) <= MOST_MEDIAN_S, f"{name}: {np.median(off):.3f} s"


def words_of(peer: Client) -> list[TimedWord]:
    """The words of all completed segments; fails if one is out of order."""
    segments: dict[str, dict[str, Any]] = {}
    for message in peer.messages:
        for segment in message.get("segments", ()):
            if segment["completed"]:
                segments[segment["start"]] = segment
    ordered = sorted(segments.values(), key=lambda segment: float(segment["start"]))
    words = [
        TimedWord(word["word"], float(word["start"]), float(word["end"]))
        for segment in ordered
        for word in segment["words"]
    ]
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    return words


def plain_parts(word: TimedWord) -> list[TimedWord]:
    """As words are compared; "$900" and "nine hundred" are not the same."""
    return [word._replace(text=text) for text in plain_words(word.text)]
