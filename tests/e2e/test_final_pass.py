"""A second reading of the whole recording, for those who ask for it."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import tempfile
import threading
from collections.abc import Callable
from typing import Any, Literal

import pytest

from tests.e2e.support import quick, running, whole_session
from whisper_live.config.model import Config, StreamConfig
from whisper_live.inference.types import Request, RequestKind
from whisper_live.offline import final_pass, spool
from whisper_live.offline.reader import plan
from whisper_live.protocols.whisperlive import messages
from whisper_live.session.options import VadOptions
from whisper_live.testing.marks import read_numbers, write_speech
from whisper_live.testing.oracle import Behaviour

GROUPS = [list(range(i, i + 5)) for i in range(0, 100, 5)]
WORDS = [number for group in GROUPS for number in group]
SPEECH = write_speech(GROUPS, pause_s=1.0)[0]  # about a minute


def keeping(seconds: float) -> Config:
    return dataclasses.replace(quick(), stream=StreamConfig(final_pass_max_s=seconds))


async def test_every_word_once_more_with_times_before_the_close() -> None:
    async with running() as server:
        peer = await whole_session(server, SPEECH, final_pass=True)
        page = server.metrics.render()
    assert peer.words == WORDS and peer.socket.close_code == 1000
    final = peer.messages[-1]["final_transcript"]
    assert peer.messages[-1]["uid"] == "u"
    assert read_numbers(final["text"]) == WORDS
    assert final["live_wer"] == 0.0 and "dropped" not in final
    words = [word for segment in final["segments"] for word in segment["words"]]
    assert [int(word["word"].strip()[1:]) for word in words] == WORDS
    starts = [float(word["start"]) for word in words]
    assert starts == sorted(starts)
    assert float(final["duration"]) == pytest.approx(len(SPEECH) / 16000, abs=1e-3)
    assert b'requests_total{kind="background",outcome="hypothesis"} 3.0' in page
    assert b"whisper_live_live_wer_ratio_count 1.0" in page


async def test_nothing_new_for_a_client_that_did_not_ask() -> None:
    async with running() as server:
        peer = await whole_session(server, SPEECH)
    assert not [m for m in peer.messages if "final_transcript" in m]


async def test_live_errors_show_in_the_rate_and_failures_as_dropped() -> None:
    def fails(request: Request) -> bool:
        if request.kind is RequestKind.BACKGROUND:
            return 16000 * 20 < request.start < 16000 * 35  # the second window
        return request.start < 16000 and request.kind is RequestKind.FINAL

    async with running(behaviour=Behaviour(fail_if=fails)) as server:
        peer = await whole_session(server, SPEECH, final_pass=True)
    assert peer.words == WORDS[5:]
    final = peer.messages[-1]["final_transcript"]
    heard = read_numbers(final["text"])
    [span] = final["dropped"]
    assert heard[:5] == WORDS[:5] and len(heard) < len(WORDS)
    missing = len(set(WORDS) - set(heard))
    # live lost five and had what the failed window would have had
    assert final["live_wer"] == round((5 + missing) / len(heard), 4)
    assert float(span["end"]) - float(span["start"]) <= 28.0


async def test_a_recording_longer_than_is_kept_says_so() -> None:
    async with running(keeping(20.0)) as server:
        peer = await whole_session(server, SPEECH, final_pass=True)
    final = peer.messages[-1]["final_transcript"]
    assert final["dropped"][-1]["reason"] == "too_long"
    assert peer.words == WORDS
    assert read_numbers(final["text"]) == WORDS[: len(read_numbers(final["text"]))]


async def test_a_long_recording_goes_through_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY_BYTES", 4096)
    made: list[io.FileIO] = []
    original = tempfile.TemporaryFile

    def temporary(*, buffering: Literal[0]) -> io.FileIO:
        made.append(original(buffering=buffering))
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    async with running() as server:
        peer = await whole_session(server, SPEECH, final_pass=True)
    assert read_numbers(peer.messages[-1]["final_transcript"]["text"]) == WORDS
    [recording] = made
    assert recording.closed


class Disk(io.FileIO):
    """A file on a disk that takes ``room`` bytes, the last of them in part."""

    def __init__(self, room: int) -> None:
        super().__init__(os.memfd_create("disk"), "w+")
        self._room = room

    def write(self, data: Any) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super().write(memoryview(data)[: self._room])
        self._room -= written
        return written


@pytest.mark.parametrize(
    ("memory_s", "disk_s"), [(20, 0), (20, 10), (0, 20.01), (0, 0), (20, 21.01)]
)
async def test_a_full_disk_ends_the_recording_and_not_the_session(
    memory_s: float,
    disk_s: float,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(spool, "_IN_MEMORY_BYTES", round(32_000 * memory_s))
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda buffering: Disk(round(32_000 * disk_s))
    )
    async with running() as server:
        peer = await whole_session(server, SPEECH, final_pass=True)
        page = server.metrics.render()
    assert peer.words == WORDS and peer.socket.close_code == 1000
    final = peer.messages[-1]["final_transcript"]
    kept_s = float(final["duration"])
    assert max(memory_s, disk_s) - 1 < kept_s <= max(memory_s, disk_s)
    heard = read_numbers(final["text"])
    assert heard == WORDS[: len(heard)] and len(heard) >= kept_s
    assert final["dropped"] == [
        {
            "start": final["duration"],
            "end": f"{len(SPEECH) / 16000:.3f}",
            "reason": "recording",
        }
    ]
    assert b'errors_total{type="recording"} 1.0' in page
    assert caplog.text.count("its recording for the final pass ends here") == 1


async def test_what_grows_with_the_recording_is_done_off_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An hour's word errors once kept everybody's audio waiting for 18 s."""
    threads: dict[str, threading.Thread] = {}

    def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def do(*given: Any, **named: Any) -> Any:
            threads[name] = threading.current_thread()
            return work(*given, **named)

        return do

    for module, name in (
        (final_pass, "plan"),
        (final_pass, "word_error_rate"),
        (messages, "final_transcript"),
    ):
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    async with running() as server:
        peer = await whole_session(server, SPEECH, final_pass=True)
    assert read_numbers(peer.messages[-1]["final_transcript"]["text"]) == WORDS
    assert set(threads) == {"plan", "word_error_rate", "final_transcript"}
    assert threading.current_thread() not in threads.values()


def test_windows_hold_all_speech_and_stay_under_the_limit() -> None:
    speech = ([1.0] * 100 + [0.0] * 40) * 30
    windows = plan(speech, VadOptions())
    assert all(end - start <= 28 * 16000 for start, end in windows)
    assert all(a[1] <= b[0] for a, b in zip(windows, windows[1:], strict=False))
    for utterance in range(30):
        first, last = utterance * 140 * 512, (utterance * 140 + 100) * 512
        assert any(start <= first and last <= end for start, end in windows)
