"""WhisperLive's call forms, as its README shows them, in words of our own."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import sites
from tests.sound import Sound
from tests.unit.client.peers import Peer, Script, segment, server
from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client import StreamingTranscriptionClient, TranscriptionClient
from whisper_live.client import microphone as microphone_module
from whisper_live.errors import Overloaded, WhisperLiveError


@pytest.fixture(autouse=True)
def in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def recorded(path: Path, samples: Samples) -> str:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return str(path)


async def speaks(peer: Peer) -> None:
    """Two segments, the second completed only at the end."""
    await peer.ready()
    await peer.hears(1)
    await peer.shows(segment("0.100", "0.900", " Good morning.", False))
    await peer.shows(
        segment("0.100", "0.900", " Good morning."),
        segment("1.000", "3661.5", " Nice", False),
    )
    await peer.hears_all()
    await peer.shows(
        segment("0.100", "0.900", " Good morning."),
        segment("1.000", "3661.5", " Nice day."),
    )


SRT = (
    "1\n00:00:00,100 --> 00:00:00,900\nGood morning.\n\n"
    "2\n00:00:01,000 --> 01:01:01,500\nNice day.\n\n"
)


async def call(
    *arguments: Any, make: Callable[[int], TranscriptionClient], **keywords: Any
) -> tuple[str, TranscriptionClient, Peer]:
    async with server(speaks) as (url, peers):
        client = make(int(url.rpartition(":")[2]))
        text = await asyncio.to_thread(client, *arguments, **keywords)
    (peer,) = peers
    return text, client, peer


def plain(port: int) -> TranscriptionClient:
    return TranscriptionClient("127.0.0.1", port)


async def test_a_file_gives_text_and_subtitles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded(tmp_path / "a.wav", silence(0.3))
    text, client, peer = await call(path, make=plain)
    assert text == "Good morning. Nice day."
    assert (tmp_path / "output.srt").read_text() == SRT
    assert capsys.readouterr().out == "Good morning.\nNice day.\n"
    assert len(peer.audio) == 0.3 * SAMPLE_RATE * 4
    assert [each["text"] for each in client.client.transcript] == [
        " Good morning.",
        " Nice day.",
    ]
    assert client.client.last_segment is None and not client.client.recording


async def test_every_wish_of_the_constructor_reaches_the_server(tmp_path: Path) -> None:
    def make(port: int) -> TranscriptionClient:
        return TranscriptionClient(
            *("127.0.0.1", port, "de", True, "large-v3", False, False),
            save_output_recording=True,
            output_recording_filename="./said.wav",
            output_transcription_path="./said.srt",
            log_transcription=False,
            mute_audio_playback=True,
            send_last_n_segments=5,
            no_speech_thresh=0.5,
            clip_audio=True,
            same_output_threshold=7,
            enable_translation=True,
            target_language="hi",
            hotwords="Ada,Grace",
            enable_diarization=True,
            max_speakers=4,
            word_timestamps=True,
            initial_prompt="Jane Doe",
            vad_parameters={"threshold": 0.6},
            max_clients=4,  # of 0.7, which no server takes from a client any more
            max_connection_time=600,
        )

    path = recorded(tmp_path / "a.wav", silence(0.1))
    _, _, peer = await call(path, make=make)
    assert peer.hello.pop("uid")
    assert peer.hello == {
        "language": "de",
        "task": "translate",
        "model": "large-v3",
        "use_vad": False,
        "audio_format": "float32",
        "send_last_n_segments": 5,
        "no_speech_thresh": 0.5,
        "clip_audio": True,
        "same_output_threshold": 7,
        "enable_translation": True,
        "target_language": "hi",
        "hotwords": "Ada,Grace",
        "enable_diarization": True,
        "max_speakers": 4,
        "word_timestamps": True,
        "initial_prompt": "Jane Doe",
        "vad_parameters": {"threshold": 0.6},
        "resume": True,
    }
    assert (tmp_path / "said.srt").read_text() == SRT


async def test_a_callback_gets_the_newest_segments_and_nothing_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, list[bool]]] = []

    def callback(text: str, segments: list[dict[str, Any]]) -> None:
        told.append((text, [each["completed"] for each in segments]))
        raise ValueError("a fault of the script's")

    def make(port: int) -> TranscriptionClient:
        return TranscriptionClient("127.0.0.1", port, transcription_callback=callback)

    await call(recorded(tmp_path / "a.wav", silence(0.1)), make=make)
    assert told == [
        ("Good morning.", [False]),
        ("Good morning. Nice", [True, False]),
        ("Good morning. Nice day.", [True, True]),
    ]
    assert capsys.readouterr().out == ""


async def test_times_are_printed_where_they_are_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(port: int) -> TranscriptionClient:
        return TranscriptionClient("127.0.0.1", port, enable_timestamps=True)

    await call(recorded(tmp_path / "a.wav", silence(0.1)), make=make)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "[0.100 -> 0.900] Good morning."
    assert second == "[1.000 -> 3661.500] Nice day."


class Elsewhere:
    """A scripted server in a thread of its own, for a client in the main thread."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.peers: list[Peer] = []

    def __enter__(self) -> int:
        self._runner = asyncio.Runner()
        self._server = server(self._script)
        self._ended = threading.Event()
        self._port: queue.Queue[int] = queue.Queue()
        self._thread = threading.Thread(target=self._runner.run, args=(self._serve(),))
        self._thread.start()
        return self._port.get()

    async def _serve(self) -> None:
        async with self._server as (url, peers):
            self.peers = peers
            self._port.put(int(url.rpartition(":")[2]))
            await asyncio.to_thread(self._ended.wait)

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._runner.close()


def test_the_microphone_is_heard_until_ctrl_c_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = np.linspace(-0.5, 0.5, SAMPLE_RATE).astype(np.float32)
    arrived = threading.Event()

    async def script(peer: Peer) -> None:
        await peer.ready()
        await peer.hears(len(said) * 4)
        await peer.shows(segment("0", "0.5", " Good", False))
        arrived.set()
        await peer.hears_all()
        await peer.shows(segment("0", "1", " Good night."))

    def interrupt() -> None:
        arrived.wait()
        me = threading.main_thread().ident
        assert me is not None
        signal.pthread_kill(me, signal.SIGINT)

    sound = Sound(said, heard=interrupt)
    monkeypatch.setattr(microphone_module, "_library", lambda: sound)
    elsewhere = Elsewhere(script)
    with elsewhere as port:
        client = TranscriptionClient(
            *("127.0.0.1", port),
            save_output_recording=True,
            output_recording_filename="said.wav",
        )
        assert client() == "Good night."
    assert (np.frombuffer(elsewhere.peers[0].audio, "<f4") == said).all()
    with wave.open(str(tmp_path / "said.wav")) as kept:
        assert (kept.getnframes(), kept.getframerate()) == (len(said), SAMPLE_RATE)
    srt = "1\n00:00:00,000 --> 00:00:01,000\nGood night.\n\n"
    assert (tmp_path / "output.srt").read_text() == srt
    assert sound.closed == 1


async def test_a_camera_is_heard_until_it_ends() -> None:
    with sites.camera(silence(0.5)) as url:
        text, _, peer = await call(rtsp_url=url, make=plain)
    assert text == "Good morning. Nice day."
    assert len(peer.audio) > 0.4 * SAMPLE_RATE * 4


async def test_a_playlist_is_heard_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "hls"
    folder.mkdir()
    with sites.site() as site:
        url = sites.playlist(site, folder, silence(0.7))
        text, _, peer = await call(hls_url=url, save_file="kept.wav", make=plain)
    assert text == "Good morning. Nice day."
    with wave.open(str(tmp_path / "kept.wav")) as kept:
        assert kept.getnframes() * 4 == len(peer.audio) > 0.6 * SAMPLE_RATE * 4


async def test_one_source_at_a_time() -> None:
    client = plain(1)
    with pytest.raises(ValueError, match="one of audio, rtsp_url and hls_url"):
        client("a.wav", rtsp_url="rtsp://x/")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("output_recording_filename", "said.mp3"),
        ("output_transcription_path", "said.txt"),
        ("translation_srt_file_path", "said.vtt"),
    ],
)
def test_a_wrong_ending_of_a_file_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must end with"):
        make: Any = TranscriptionClient
        make("localhost", 9090, **{name: value})


async def test_a_failure_is_an_error_and_no_empty_text(tmp_path: Path) -> None:
    async def full(peer: Peer) -> None:
        await peer.say(status="WAIT", message=1.5)
        await peer.socket.wait_closed()

    async def fails(peer: Peer) -> None:
        await peer.ready()
        await peer.hears(1)
        await peer.shows(segment("0.100", "0.900", " Good morning."))
        await peer.say(status="ERROR", message="no more")
        await peer.socket.close(1008)

    path = recorded(tmp_path / "a.wav", silence(0.1))
    async with server(full, fails) as (url, _):
        client = plain(int(url.rpartition(":")[2]))
        with pytest.raises(Overloaded):
            await asyncio.to_thread(client, path)
        assert (client.client.waiting, client.client.server_error) == (True, False)
        assert not (tmp_path / "output.srt").exists()
        with pytest.raises(WhisperLiveError, match="no more"):
            await asyncio.to_thread(client, path)
        assert (client.client.waiting, client.client.server_error) == (False, True)
    srt = "1\n00:00:00,100 --> 00:00:00,900\nGood morning.\n\n"
    assert (tmp_path / "output.srt").read_text() == srt


# --------------------------------------------------------- audio that the caller has


class Told:
    """What the callbacks were given, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_session_started": lambda: self.calls.append(("ready",)),
            "on_partial_transcript": lambda text, _: self.calls.append(("…", text)),
            "on_committed_transcript": lambda text, _: self.calls.append(("✓", text)),
            "on_error": lambda error: self.calls.append(("error", str(error))),
            "on_close": lambda: self.calls.append(("closed",)),
        }


async def test_pieces_of_audio_give_callbacks() -> None:
    told = Told()

    def script(port: int) -> StreamingTranscriptionClient:
        client = StreamingTranscriptionClient(
            *("127.0.0.1", port), lang="en", model="small", **told.callbacks()
        )
        with client:
            client.send(np.array([0, 16384], "<i2").tobytes(), pcm_format="int16")
            client.send(b"")
            client.send(np.array([0.25], "<f4").tobytes(), pcm_format="float32")
            client.send_array(np.array([-32768, 8192], np.int16))
            client.send_array(np.array([0.125]))
            with pytest.raises(ValueError, match="one channel"):
                client.send_array(np.zeros((2, 2)))
            with pytest.raises(ValueError, match="mp3"):
                client.send(b"x", pcm_format="mp3")  # type: ignore[arg-type]
        return client

    async with server(speaks) as (url, peers):
        client = await asyncio.to_thread(script, int(url.rpartition(":")[2]))
    assert np.frombuffer(peers[0].audio, "<f4").tolist() == [
        *(0, 0.5, 0.25, -1, 0.25, 0.125),
    ]
    assert told.calls == [
        ("ready",),
        ("…", "Good morning."),
        ("✓", "Good morning."),
        ("…", "Nice"),
        ("✓", "Nice day."),
        ("closed",),
    ]
    assert [each["start"] for each in client.transcript] == ["0.100", "1.000"]
    assert client.last_partial is None and client.last_segment is None
    client.close()  # again, which is nothing


async def test_what_ends_a_session_is_told_once() -> None:
    async def fails(peer: Peer) -> None:
        await peer.ready()
        await peer.say(status="ERROR", message="no more")
        await peer.socket.close(1008)

    told = Told()

    def with_callback(port: int) -> None:
        with StreamingTranscriptionClient("127.0.0.1", port, **told.callbacks()):
            pass

    def without(port: int) -> None:
        with pytest.raises(RuntimeError, match="no more"):
            with StreamingTranscriptionClient("127.0.0.1", port):
                pass

    async with server(fails, fails) as (url, _):
        port = int(url.rpartition(":")[2])
        await asyncio.to_thread(with_callback, port)
        await asyncio.to_thread(without, port)
    _, error, closed = told.calls
    assert error[0] == "error" and "no more" in error[1] and closed == ("closed",)


async def test_a_server_that_is_not_there_or_not_ready_is_an_error() -> None:
    async def silent(peer: Peer) -> None:
        await peer.socket.wait_closed()

    async with server(silent) as (url, _):
        port = int(url.rpartition(":")[2])
        late = StreamingTranscriptionClient("127.0.0.1", port, ready_timeout=0.05)
        with pytest.raises(TimeoutError, match="not ready in time"):
            await asyncio.to_thread(late.connect)
    gone = StreamingTranscriptionClient("127.0.0.1", port)
    with pytest.raises(RuntimeError, match="no server at"):
        await asyncio.to_thread(gone.connect)
    with pytest.raises(RuntimeError, match="not connected"):
        gone.send(b"\0\0")
