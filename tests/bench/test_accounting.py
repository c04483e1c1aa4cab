"""The bench against a server that errs on purpose: each error is reported exactly.

Real sockets, real client processes, paced audio; some seconds each.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.faulty import Faults, faulty_server
from whisper_live.testing.load.crowd import Crowd, play, run_crowd, summarise_folder
from whisper_live.testing.load.material import Speech
from whisper_live.testing.load.measure import measure
from whisper_live.testing.load.sessionlog import read_logs
from whisper_live.testing.load.speaker import Dialogue
from whisper_live.testing.load.summary import Objective, Summary, summarise

ALONE = summarise([])  # nobody erred
SPEED = 8.0  # the marks do not mind, and the test is over sooner


def crowd(url: str, clients: int = 3) -> Crowd:
    """Clients of a few seconds."""
    return Crowd(
        clients,
        Dialogue(url, chunk_s=0.1),
        Speech(duration_s=8.0, duty=0.6),
        material="marks",
        ramp_s=0.3,
        processes=2,
        speed=SPEED,
    )


async def heard(faults: Faults, folder: Path, clients: int = 3) -> Summary:
    """What a crowd met with at a server with these faults."""
    async with faulty_server(faults) as url:
        await play(crowd(url, clients), folder)
    return summarise_folder(folder)


async def test_a_faultless_server_is_reported_so(tmp_path: Path) -> None:
    summary = await heard(Faults(), tmp_path)
    assert (summary.clients, summary.admitted, summary.failed) == (3, 3, 0)
    assert summary.spoken > 25
    assert (summary.lost, summary.doubled, summary.invented) == (0, 0, 0)
    assert (summary.out_of_order, summary.false_finals, summary.erasure) == (0, 0, 0)
    assert summary.wer == 0
    assert summary.final_after_speech.never == 0


async def test_lost_doubled_and_invented_words_are_counted(tmp_path: Path) -> None:
    faults = Faults(lose_every=5, double_every=7, invent_every=6)
    summary = await heard(faults, tmp_path)
    assert faults.lost and faults.doubled and faults.invented
    assert summary.lost == len(faults.lost)
    assert summary.doubled == len(faults.doubled)
    assert summary.invented == len(faults.invented)
    wrong = len(faults.lost) + len(faults.doubled) + len(faults.invented)
    assert summary.wer == pytest.approx(wrong / summary.spoken)
    assert summary.false_finals == 0
    broken = summary.broken(Objective(), ALONE)
    for count, what in (
        (len(faults.lost), "lost"),
        (len(faults.doubled), "doubled"),
        (len(faults.invented), "invented"),
    ):
        assert f"{count} words {what}" in broken


async def test_a_delay_is_seen_in_every_latency(tmp_path: Path) -> None:
    """At least; how exactly is a matter of pure logs (``test_bench_measure``)."""
    await heard(Faults(delay_s=0.7), tmp_path)
    for log in read_logs(tmp_path):
        figures = measure(log)
        lags = (*figures.partial_lags_s, *figures.commit_lags_s, *figures.final_lags_s)
        assert lags and min(lags) >= 0.7
        assert figures.first_partial_s is not None and figures.first_partial_s >= 0.7
        assert figures.flush_s is not None and figures.flush_s >= 0.69


@pytest.mark.slow
async def test_finals_that_were_taken_back_are_counted(tmp_path: Path) -> None:
    faults = Faults(take_back_every=6)
    summary = await heard(faults, tmp_path)
    assert faults.taken_back
    assert summary.false_finals == len(faults.taken_back)
    assert summary.lost == len(faults.taken_back)
    assert summary.erasure > 0


async def test_refusals_failures_and_given_up_audio_are_told(tmp_path: Path) -> None:
    faults = Faults(admit=2, drop_s=1.5, close_code=1011)
    summary = await heard(faults, tmp_path)
    assert (summary.clients, summary.admitted, summary.refused) == (3, 2, 1)
    assert summary.failed == 2
    assert summary.dropped_s == pytest.approx(1.5)
    assert sorted(summary.reasons.values()) == [1, 2]
    broken = " ".join(summary.broken(Objective(), ALONE))
    assert "1 clients refused" in broken
    assert "2 clients failed" in broken
    assert "1.5 s of speech given up" in broken


@pytest.mark.slow
async def test_clients_in_processes_of_their_own_report_the_same(
    tmp_path: Path,
) -> None:
    faults = Faults(lose_every=4)
    async with faulty_server(faults) as url:
        run = await asyncio.to_thread(run_crowd, crowd(url), tmp_path)
    assert faults.lost
    assert run.summary.lost == len(faults.lost)
    assert run.summary == summarise_folder(tmp_path)
    assert run.client_cpu_s > 0


@pytest.mark.slow
async def test_a_log_that_was_cut_off_still_counts(tmp_path: Path) -> None:
    """As Ctrl-C or a crash of the bench leaves it."""
    await heard(Faults(), tmp_path, clients=1)
    (path,) = tmp_path.glob("session-*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    cut = len(lines) // 2
    path.write_text("".join(lines[:cut]) + lines[cut][:7])
    summary = summarise_folder(tmp_path)
    assert (summary.admitted, summary.failed) == (1, 1)
    assert 0 < summary.spoken
    assert summary.partial_lag.count > 0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_capacity_writes_is_what_admission_goes_by(tmp_path: Path) -> None:
    """Both commands as an operator gives them, with the oracle's costs."""
    settings = tmp_path / "whisper-live.toml"
    settings.write_text("engine = 'oracle'\nmax-sessions-per-address = 1\n")
    program = [sys.executable, "-m", "whisper_live"]
    subprocess.run(
        [
            *(*program, "capacity", "--config", str(settings)),
            *("--duration-s", "2", "--most", "2", "--write", str(settings)),
            *("--partial-p95-s", "30", "--final-p95-s", "30"),
        ],
        check=True,
        timeout=180,
    )
    assert "max-sessions = 2  # measured on" in settings.read_text()
    settings.write_text(settings.read_text().replace("per-address = 1", "per-key = 9"))
    serve = [*program, "serve", "--config", str(settings), "--port", "0"]
    serve += ["--http-port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            listening = (s for s in process.stdout if s.startswith("listening on "))
            url = next(listening).split()[-1]
            asyncio.run(play(crowd(url), tmp_path / "logs"))
        finally:
            process.terminate()
    summary = summarise_folder(tmp_path / "logs")
    assert (summary.admitted, summary.refused) == (2, 1)
