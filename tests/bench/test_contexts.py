"""What the bench of audio contexts counts."""

from __future__ import annotations

from pathlib import Path

from bench.quality.contexts import Answer, Row, is_doubtful, table
from bench.quality.real.recordings import Recording


def answer(
    text: str,
    floor: str = "10",
    *,
    name: str = "c/a",
    ratio: float = 1.0,
    **more: float,
) -> Answer:
    scores = {"average_logprob": -0.2, "no_speech_probability": 0.0, **more}
    return Answer(
        weights="w",
        recording=name,
        seconds=2.0,
        floor=floor,
        beams=5,
        text=text,
        compression_ratio=ratio,
        engine_s=1.0 if floor == "full" else 0.25,
        **scores,
    )


def recording(name: str, text: str) -> Recording:
    return Recording(name, "c", (Path(name),), (text,), "en", "read", "s", 2.0)


def test_what_is_read_again() -> None:
    assert not is_doubtful(answer(" she said yes yes and no"))
    assert is_doubtful(answer(" the end of it all. The end of it all."))
    assert is_doubtful(answer(" a", ratio=2.5))
    assert not is_doubtful(answer(" a", average_logprob=-1.1))


def test_the_table() -> None:
    recordings = [recording("c/a", "we see far away"), recording("c/b", "today")]
    answers = [
        answer("we see far day", "full"),
        answer("we see far away we see far away"),
        answer("today", "full", name="c/b"),
        answer("tomorrow", name="c/b"),
    ]
    found = {(each.recording, each.floor): each for each in answers}
    assert table(found, recordings, ["full", "10"]) == [
        Row("full", 20.0, 20.0, 0.5, 0.5, 0),
        Row("10", 100.0, 40.0, 0.125, 0.375, 1),
    ]
