"""The recordings that ship with the package agree with themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from whisper_live.audio import SAMPLE_RATE
from whisper_live.media.files import read_file
from whisper_live.testing.load.material import shipped_sentences
from whisper_live.testing.recordings import shipped


@pytest.mark.parametrize("name", ["meeting", "demo"])
def test_audio_webm_and_word_times_are_of_the_same_recording(name: str) -> None:
    recording = shipped(name)
    audio = np.concatenate(list(read_file(recording.audio)))
    webm = np.concatenate(list(read_file(recording.webm)))
    assert abs(len(audio) - len(webm)) < 0.1 * SAMPLE_RATE
    words = [word for sentence in recording.sentences for word in sentence]
    assert words[-1].end_s < len(audio) / SAMPLE_RATE
    assert all(word.start_s < word.end_s for word in words)
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(words))
    said = " ".join(word.text for word in words)
    assert said.split() == recording.text.split()


def test_the_meeting_has_pauses_as_people_make_them() -> None:
    recording = shipped("meeting")
    assert len(recording.text.splitlines()) == len(recording.sentences) >= 8
    assert "?" in recording.text and any(c.isdigit() for c in recording.text)
    inside = [
        b.start_s - a.end_s
        for sentence in recording.sentences
        for a, b in itertools.pairwise(sentence)
    ]
    between = [
        b[0].start_s - a[-1].end_s for a, b in itertools.pairwise(recording.sentences)
    ]
    assert max(inside) >= 0.4 and min(between) >= 0.7
    audio = np.concatenate(list(read_file(recording.audio)))
    assert 40 <= len(audio) / SAMPLE_RATE <= 60


def test_each_sentence_is_cut_out_with_its_words() -> None:
    recording = shipped("meeting")
    for sentence, words in zip(
        shipped_sentences("meeting"), recording.sentences, strict=True
    ):
        assert len(sentence.words) >= len(words)
        assert sentence.words[0].start_s < 0.2
        assert sentence.words[-1].end_s < len(sentence.samples) / SAMPLE_RATE
        assert np.abs(sentence.samples).max() > 0.05
