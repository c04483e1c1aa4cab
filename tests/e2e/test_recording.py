"""A recorded session replays to the same effects in another process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.support import quick, running, whole_session
from whisper_live.config.model import Config, LogConfig
from whisper_live.testing.marks import write_speech
from whisper_live.testing.oracle import Behaviour

REPLAY = (
    "import sys; from pathlib import Path; from whisper_live.commands import replay; "
)
REPLAY += "sys.exit(replay.run(Path(sys.argv[1])))"


def recording(directory: Path, *, audio: bool = False) -> Config:
    log = LogConfig(record=str(directory), record_audio=audio)
    return dataclasses.replace(quick(), log=log)


async def record(directory: Path, *, audio: bool) -> None:
    behaviour = Behaviour(
        mishear=0.5, jitter_s=0.01, fail_if=lambda request: request.id % 7 == 3
    )
    config = recording(directory, audio=audio)
    groups = [range(i, i + 6) for i in range(0, 60, 6)]
    async with running(config, behaviour) as server:
        await whole_session(server, write_speech(groups, pause_s=0.7)[0], chunk=3000)


def replayed(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", REPLAY, str(path)], capture_output=True, text=True
    )


async def test_a_recorded_session_replays_byte_for_byte(tmp_path: Path) -> None:
    await record(tmp_path, audio=False)
    [log] = tmp_path.iterdir()
    assert log.stat().st_mode & 0o777 == 0o600
    done = replayed(log)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith(" steps, 0 differ\n")


async def test_a_changed_log_is_seen_to_differ(tmp_path: Path) -> None:
    await record(tmp_path, audio=True)
    [log] = tmp_path.glob("*.jsonl")
    lines = log.read_text("utf-8").splitlines()
    index = next(
        i for i, line in enumerate(lines) if '"completed":true' in line and i > 3
    )
    entry = json.loads(lines[index])
    [*_, shown] = [effect for effect in entry["out"] if effect.get("completed")]
    shown["completed"][-1]["text"] = " something else"
    lines[index] = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
    log.write_text("\n".join(lines), "utf-8")
    done = replayed(log)
    assert done.returncode == 1
    assert " 1 differs\n" in done.stdout and "something else" in done.stdout


async def test_a_log_of_another_format_is_refused_with_a_sentence(
    tmp_path: Path,
) -> None:
    await record(tmp_path, audio=False)
    [log] = tmp_path.iterdir()
    first, *rest = log.read_text("utf-8").splitlines()
    old = {**json.loads(first), "format": 1}
    log.write_text("\n".join([json.dumps(old), *rest]), "utf-8")
    done = replayed(log)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.endswith(
        "cannot be replayed: it is an event log of format 1, and this version replays "
        "format 2 alone; replay it with the version that recorded it\n"
    )
    log.write_text('{"a": 1}\n', "utf-8")
    assert replayed(log).stderr.endswith("it is not an event log\n")


async def test_the_audio_is_kept_where_it_was_asked_for(tmp_path: Path) -> None:
    await record(tmp_path, audio=True)
    [audio] = tmp_path.glob("*.s16")
    groups = [range(i, i + 6) for i in range(0, 60, 6)]
    samples, _ = write_speech(groups, pause_s=0.7)
    assert audio.stat().st_size == 2 * len(samples)


async def test_sessions_of_one_moment_have_a_log_each(tmp_path: Path) -> None:
    config = recording(tmp_path, audio=True)
    async with running(config) as server:
        peers = [
            whole_session(server, write_speech([[n, n + 10]], pause_s=0.7)[0])
            for n in range(5)
        ]
        said = [peer.words for peer in await asyncio.gather(*peers)]
    assert said == [[n, n + 10] for n in range(5)]
    logs, sounds = sorted(tmp_path.glob("*.jsonl")), sorted(tmp_path.glob("*.s16"))
    assert len(logs) == 5 and [p.stem for p in logs] == [p.stem for p in sounds]
    assert all(log.stem.rpartition("-")[2] in log.read_text("utf-8") for log in logs)


async def test_text_that_is_no_utf8_is_recorded_and_replays(tmp_path: Path) -> None:
    """Half a surrogate pair from a browser, and a path as old systems write it."""
    folder = tmp_path / os.fsdecode(b"records-\xff")
    folder.mkdir()
    half = "a\ud83d"
    async with running(recording(folder)) as server:
        peer = await whole_session(
            server,
            write_speech([[1, 2]], pause_s=0.7)[0],
            uid=half,
            initial_prompt=half,
            hotwords=half,
            model=half,
            token=half,
        )
        page = server.metrics.render()
    assert peer.words == [1, 2] and peer.socket.close_code == 1000
    assert all(message["uid"] == half for message in peer.messages)
    assert b'errors_total{type="recording"}' not in page
    [log] = folder.iterdir()
    done = replayed(log.rename(tmp_path / "log.jsonl"))
    assert done.returncode == 0 and done.stdout.endswith(" steps, 0 differ\n")
