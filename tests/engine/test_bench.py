"""The bench runs, on a model of one narrow layer; its figures are not judged here."""

from __future__ import annotations

from bench.engine import measure
from whisper_live.engine.local import LocalEngine


async def test_both_sides_are_measured(nano: LocalEngine) -> None:
    figures = await measure(nano, 2, batch=2, rounds=1, calls=1)
    assert figures["bare_audio_s_per_s"] > 0
    assert figures["ours_audio_s_per_s"] > 0
    assert figures["occupancy"] == 1.0  # eight sessions always fill a batch of two
