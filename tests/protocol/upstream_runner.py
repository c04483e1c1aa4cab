"""Runs one unmodified WhisperLive client; started by ``upstream.py``, never imported.

The job is JSON in the first argument.  The client's packages come first on the path,
this repository is not on it: the import name ``whisper_live`` is the client's here.
Modules that the clients import and that have no part in the wire are stood in for:
``pyaudio`` (loudspeaker and microphone), ``scipy`` and ``ffmpeg`` (which 0.5.1 uses
only to convert a file).  What the client got goes to ``result.json``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import types
import wave
from pathlib import Path
from typing import Any


class Loudspeaker:
    """A playback stream: the file clients are paced by how long a write takes."""

    def __init__(self, speed: float) -> None:
        self._speed = speed  # 0: as fast as it goes

    def write(self, data: bytes) -> None:
        if self._speed:
            time.sleep(len(data) / 2 / 16_000 / self._speed)

    def stop_stream(self) -> None:
        pass

    def close(self) -> None:
        pass


class Microphone(Loudspeaker):
    """A recording stream: hears a file once, and then the user presses Ctrl-C."""

    def __init__(self, speed: float, wav: str) -> None:
        super().__init__(speed)
        self._wav = wave.open(wav, "rb")

    def read(self, frames: int, exception_on_overflow: bool = True) -> bytes:
        data = self._wav.readframes(frames)
        if not data:
            time.sleep(PATIENCE_S)  # the user waits for the text before leaving
            raise KeyboardInterrupt
        self.write(data)
        return data


def stand_in(job: dict[str, Any]) -> None:
    pyaudio: Any = types.ModuleType("pyaudio")

    class PyAudio:
        def open(self, **kwargs: Any) -> Loudspeaker:
            if job["mode"] == "microphone":
                return Microphone(job["speed"], job["wav"])
            return Loudspeaker(job["speed"])

        def get_format_from_width(self, width: int) -> int:
            return width

        def terminate(self) -> None:
            pass

    pyaudio.paInt16, pyaudio.PyAudio = 8, PyAudio

    def write_wav(path: str, rate: int, samples: Any) -> None:
        with wave.open(path, "wb") as out:
            out.setparams((1, 2, rate, 0, "NONE", ""))
            out.writeframes(samples.tobytes())

    scipy: Any = types.ModuleType("scipy")
    scipy.io = types.SimpleNamespace(wavfile=types.SimpleNamespace(write=write_wav))

    class Input:
        def __init__(self, path: str, **kwargs: Any) -> None:
            self._path = path

        def output(self, *args: Any, **kwargs: Any) -> Input:
            return self

        def run(self, **kwargs: Any) -> tuple[bytes, bytes]:
            with wave.open(self._path, "rb") as source:
                return source.readframes(source.getnframes()), b""

    ffmpeg: Any = types.ModuleType("ffmpeg")
    ffmpeg.input, ffmpeg.Error = Input, RuntimeError
    sys.modules |= {"pyaudio": pyaudio, "scipy": scipy, "ffmpeg": ffmpeg}


def play_or_record(upstream: Any, job: dict[str, Any]) -> dict[str, Any]:
    client = upstream.TranscriptionClient(
        "127.0.0.1", job["port"], mute_audio_playback=False, **job["options"]
    )
    client.client.disconnect_if_no_response_for = PATIENCE_S
    text = client() if job["mode"] == "microphone" else client(job["wav"])
    return {"text": text, "transcript": client.client.transcript}


def play_old(upstream: Any, job: dict[str, Any]) -> dict[str, Any]:
    client = upstream.TranscriptionClient("127.0.0.1", job["port"], **job["options"])
    client.client.disconnect_if_no_response_for = PATIENCE_S
    client(*() if job["mode"] == "microphone" else (job["wav"],))
    return {"transcript": client.client.transcript}


def stream(upstream: Any, job: dict[str, Any]) -> dict[str, Any]:
    committed: list[str] = []
    partials: list[str] = []
    errors: list[str] = []
    with wave.open(job["wav"], "rb") as source:
        samples = source.readframes(source.getnframes())
    client = upstream.StreamingTranscriptionClient(
        "127.0.0.1",
        job["port"],
        on_committed_transcript=lambda text, segments: committed.append(text),
        on_partial_transcript=lambda text, segments: partials.append(text),
        on_error=lambda error: errors.append(str(error)),
        **job["options"],
    )
    result: dict[str, Any] = {
        "committed": committed,
        "partials": partials,
        "errors": errors,
    }
    try:
        with client:
            for at in range(0, len(samples), 1600):  # 50 ms, as in its example
                client.send(samples[at : at + 1600])
                if job["speed"]:
                    time.sleep(0.05 / job["speed"])
            closing = time.monotonic()
        result["close_s"] = time.monotonic() - closing
    except RuntimeError as refusal:
        result["refusal"] = str(refusal)
    result["transcript"] = client.transcript
    return result


def reconnect(upstream: Any, job: dict[str, Any]) -> dict[str, Any]:
    """The bare client, which comes back by itself with the same uid."""
    client = upstream.Client(
        "127.0.0.1", job["port"], max_retries=1, retry_delay=0.1, **job["options"]
    )
    deadline = time.monotonic() + 20
    while not client.transcript and time.monotonic() < deadline:
        time.sleep(0.02)
    client.close_websocket()
    return {"transcript": client.transcript, "uid": client.uid}


def main() -> None:
    job = json.loads(sys.argv[1])
    global PATIENCE_S
    PATIENCE_S = job["patience_s"]
    stand_in(job)
    upstream: Any = importlib.import_module("whisper_live.client")
    assert Path(str(upstream.__file__)).is_relative_to(job["installed_in"])

    # The file clients wait in a loop that asks for the time as often as it can; on a
    # shared machine that would starve the server which they wait for.
    def unhurried_time() -> float:
        time.sleep(0.002)
        return time.time()

    upstream.time = types.SimpleNamespace(time=unhurried_time, sleep=time.sleep)
    os.nice(5)
    modes = {"stream": stream, "reconnect": reconnect}
    plays = play_old if job["version"] == "0.5.1" else play_or_record
    result = modes.get(job["mode"], plays)(upstream, job)
    Path("result.json").write_text(json.dumps(result))


PATIENCE_S = 15.0

if __name__ == "__main__":
    main()
