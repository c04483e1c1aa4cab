"""The rule for gaps, jumps and duplicates."""

from __future__ import annotations

from collections import Counter

import pytest

from whisper_live.media.timeline import Timeline


def place(*times_s: float | None, length_s: float = 0.02) -> list[float | None]:
    """What each packet is told; those that are kept last ``length_s``."""
    timeline = Timeline(Counter())
    said = []
    for time_s in times_s:
        silence_s = timeline.place(time_s)
        said.append(None if silence_s is None else round(silence_s, 3))
        if silence_s is not None:
            timeline.advance(length_s)
    return said


@pytest.mark.parametrize(
    ("times_s", "said"),
    [
        ((5.0, 5.02, 5.04), [0, 0, 0]),  # any first time
        ((0.0, 0.049, 0.011, 0.06), [0, 0, 0, 0]),  # jitter
        ((0.0, 0.051, 0.071), [0, 0.031, 0]),  # a lost packet or two
        ((0.0, 30.02, 30.04), [0, 30, 0]),  # the longest silence
        ((0.0, 30.03, 30.05), [0, 0, 0]),  # longer: positions go on
        ((100.0, 0.0, 0.02), [0, 0, 0]),  # a clock that was set back
        ((10.0, 9.53, 10.02), [0, None, 0]),  # sent twice
        ((0.0, 0.02, 0.0, 0.02, 0.04), [0, 0, None, None, 0]),  # and one by one
        ((None, 3.0, None, 3.04), [0, 0, 0, 0]),  # without a time
    ],
)
def test_rule(times_s: tuple[float | None, ...], said: list[float | None]) -> None:
    assert place(*times_s) == said


def test_a_packet_that_overlaps_is_kept() -> None:
    assert place(0.0, 0.06, 0.08, length_s=0.06) == [0, 0, 0]
    assert place(0.0, 0.06, 0.059, length_s=0.06) == [0, 0, None]


def test_small_losses_add_up_until_they_are_filled() -> None:
    """Each 20 ms hole is within the jitter; the second makes 40."""
    assert place(0.0, 0.04, 0.08, 0.1) == [0, 0, 0.04, 0]


def test_silence_is_bounded_by_the_audio_around_it() -> None:
    notes: Counter[str] = Counter()
    timeline = Timeline(notes)
    inserted_s = 0.0
    for packet in range(400):
        silence_s = timeline.place(packet * 29.0)
        assert silence_s is not None
        inserted_s += silence_s
        timeline.advance(0.02)
    assert inserted_s < 60 + 20 * 400 * 0.02
    assert notes["silence_refused"] > 380
    assert notes["rebase"] == notes["silence_refused"]


def test_dtx_is_filled_for_ever() -> None:
    """One packet of 20 ms every 400 ms, which is what Opus sends into silence."""
    said = place(*(0.4 * packet for packet in range(1000)))
    assert said == [0] + [0.38] * 999


def test_a_restart_takes_the_next_time_as_it_is() -> None:
    timeline = Timeline(Counter())
    timeline.place(10.0)
    timeline.restart()
    assert timeline.place(0.0) == 0.0
