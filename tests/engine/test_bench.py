"""The benches run, on a model of one narrow layer; figures are not judged here."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.engine import batch_gain
from bench.engine.throughput import measure
from whisper_live.inference.ctranslate2.engine import CTranslate2Engine


async def test_both_sides_are_measured(nano: CTranslate2Engine) -> None:
    figures = await measure(nano, 2, batch=2, rounds=1, calls=1)
    assert figures["bare_audio_s_per_s"] > 0
    assert figures["ours_audio_s_per_s"] > 0
    assert figures["occupancy"] == 1.0  # eight sessions always fill a batch of two


def test_the_gain_of_batching_is_measured(
    nano_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = argparse.Namespace(
        model="nano", context=2.0, batch=4, sessions=8, windows=4, rounds=1
    )
    args.device, args.compute_type, args.json = "cpu", "auto", None
    asyncio.run(batch_gain.run(args, str(nano_folder)))
    *_, gains, full = capsys.readouterr().out.splitlines()[1].split()
    assert float(full) == 1.0  # eight sessions always fill a batch of four
    assert float(gains) > 0


@pytest.mark.slow
def test_a_start_is_measured(nano_folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bench.engine.warm_start",
        "--child",
        "2",
        "--noise",
    ]
    done = subprocess.run(
        [*command, "--model", str(nano_folder), "--workers", "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert 0 < found["first_s"] and 0 < found["steady_s"] < found["ready_s"]
