"""Subtitles of ordinary English: the limits of each cue, with real word times."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.weights import real_model
from whisper_live import cli
from whisper_live.testing.recordings import shipped
from whisper_live.text.wer import plain_words, word_errors

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

_SPAN = re.compile(r"(\d+):(\d+):(\d+),(\d+) --> (\d+):(\d+):(\d+),(\d+)")


def test_a_meeting_becomes_cues_that_can_be_read(
    model_cache: Path, tmp_path: Path
) -> None:
    real_model("tiny.en", model_cache)
    recording = shipped("meeting")
    argv = ["--model", "tiny.en", "--device", "cpu", "--format", "srt,json"]
    argv += ["--output-dir", str(tmp_path), str(recording.audio)]
    assert cli.main(["transcribe", *argv]) == 0
    blocks = (tmp_path / "meeting.srt").read_text().strip().split("\n\n")
    shown: list[str] = []
    before_s = 0.0
    for number, block in enumerate(blocks, start=1):
        head, times, *lines = block.splitlines()
        found = _SPAN.fullmatch(times)
        assert head == str(number) and found is not None
        h, m, s, ms, *end = map(int, found.groups())
        start_s = 3600 * h + 60 * m + s + ms / 1000
        end_s = 3600 * end[0] + 60 * end[1] + end[2] + end[3] / 1000
        assert before_s <= start_s
        assert 1.0 <= round(end_s - start_s, 3) <= 7.0
        assert len(lines) <= 2 and max(map(len, lines)) <= 42
        assert len(" ".join(lines)) <= 20 * (end_s - start_s) + 0.1
        shown += lines
        before_s = end_s
    text = json.loads((tmp_path / "meeting.json").read_text())["text"]
    assert " ".join(shown).split() == text.split()
    reference = plain_words(recording.text)
    assert word_errors(reference, plain_words(text)) <= 0.03 * len(reference)
    ends = [block for block in blocks if block.endswith((".", "?", "!", ","))]
    assert len(ends) > len(blocks) / 2, "tiny.en leaves the first sentences unmarked"
