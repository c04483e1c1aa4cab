"""WhisperLive's Python clients by their names and call forms, on top of ``LiveClient``.

For scripts that were written for WhisperLive: constructors, call forms, callbacks,
attributes and files are those of its package, version 0.10.  What differs is in
docs/client.md.  Everything of the network is ``LiveClient``'s affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import sys
import textwrap
import threading
import wave
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import Path
from typing import Any, Literal, Self, TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import SAMPLE_RATE, Samples
from whisper_live.client.backoff import Backoff
from whisper_live.client.broadcasts import broadcast
from whisper_live.client.captions import clock_time
from whisper_live.client.chunks import pcm_chunks
from whisper_live.client.connection import paced
from whisper_live.client.events import Heard, News, Warned
from whisper_live.client.live import LiveClient
from whisper_live.client.microphone import microphone
from whisper_live.client.stopping import until
from whisper_live.errors import Overloaded, WhisperLiveError
from whisper_live.media.files import read_file
from whisper_live.protocols.whisperlive import messages
from whisper_live.session.updates import Segment

__all__ = ["StreamingTranscriptionClient", "TranscriptionClient"]

_log = logging.getLogger("whisper_live.client")

SegmentDict = dict[str, Any]  # as on the wire
TextCallback = Callable[[str, list[SegmentDict]], object]
T = TypeVar("T")

# A dropped connection is not the end of a script; WhisperLive's gives up at once.
_BACKOFF = Backoff(give_up_s=60.0)
_ONCE = Backoff(give_up_s=0.0)


class _Background:
    """An event loop in a thread, for callers that have none."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(
        self,
        work: Coroutine[Any, Any, T],
        interrupted: Callable[[], None] | None = None,
    ) -> T:
        """The result of ``work``.

        Ctrl-C calls ``interrupted``, if there is one, and waits on; the next one, or
        the first without it, stops the work.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            try:
                return future.result()
            except KeyboardInterrupt:
                if interrupted is None:
                    raise
                self._loop.call_soon_threadsafe(interrupted)
                return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what runs, and end the thread."""
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()


class Client:
    """One session as scripts look at it; ``TranscriptionClient`` has it as ``client``.

    ``transcript`` are the completed segments, as on the wire; ``last_segment`` is the
    open one.
    """

    def __init__(
        self,
        live: Callable[[], LiveClient],
        *,
        shown_segments: int,
        on_text: Callable[[Client, list[SegmentDict]], None],
        on_ready: Callable[[], object] | None = None,
        language: str | None = None,
    ) -> None:
        self._live = live
        self._shown_segments = shown_segments
        self._on_text = on_text
        self._on_ready = on_ready
        self.language = language
        self.transcript: list[SegmentDict] = []
        self.last_segment: SegmentDict | None = None
        self.recording = False  # the server takes audio
        self.waiting = False  # it is full
        self.server_error = False
        self.error_message: Exception | None = None

    async def run(self, source: AsyncIterator[Samples | bytes]) -> None:
        """One session with this audio, to the last word."""
        with self._noting():
            async with self._live() as live:
                self._began()
                async with live.feeding(source):
                    await self.follow(live)

    async def connect(self) -> LiveClient:
        """A connected live client; whoever asks feeds, follows and closes it."""
        with self._noting():
            live = self._live()
            await live.connect()
        self._began()
        return live

    async def follow(self, live: LiveClient) -> None:
        """Take news to their end."""
        with self._noting():
            while (news := await live.hear()) is not None:
                self._take(news)
        self.recording = False

    def _began(self) -> None:
        self.transcript, self.last_segment = [], None
        self.waiting = self.server_error = False
        self.recording = True
        if self._on_ready is not None:
            self._on_ready()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Note errors where scripts look for them."""
        try:
            yield
        except WhisperLiveError as error:
            self.recording = False
            self.waiting = isinstance(error, Overloaded)
            self.server_error = not self.waiting
            self.error_message = error
            raise

    def _take(self, news: News) -> None:
        if isinstance(news, Warned):
            print(f"[WARN]: {news.text}", file=sys.stderr)
        if not isinstance(news, Heard):
            return
        if news.update.language is not None:
            self.language = news.update.language.code
        if not news.has_segments:
            return
        self.transcript += [_as_dict(segment) for segment in news.update.completed]
        interim = news.update.interim
        self.last_segment = None if interim is None else _as_dict(interim)
        shown = self.transcript[-self._shown_segments :]
        if self.last_segment is not None:
            shown = [*shown, self.last_segment]
        if shown:
            self._on_text(self, shown)

    @property
    def text(self) -> str:
        """Everything completed, as one line."""
        return _joined(self.transcript)

    def write_srt_file(self, output_path: str = "output.srt") -> None:
        """One numbered cue for each segment; the open one comes last."""
        segments = list(self.transcript)
        if self.last_segment is not None:
            segments.append(self.last_segment)
        blocks = [
            f"{number}\n{clock_time(float(each['start']))} --> "
            f"{clock_time(float(each['end']))}\n{each['text'].strip()}\n\n"
            for number, each in enumerate(segments, start=1)
        ]
        Path(output_path).write_text("".join(blocks), encoding="utf-8")


def _as_dict(segment: Segment) -> SegmentDict:
    return dict(json.loads(messages.segment(segment)))


def _joined(segments: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(str(segment["text"]).strip() for segment in segments)


class _Console:
    """The newest lines on a terminal; elsewhere each completed segment once."""

    def __init__(self, lines: int, *, with_times: bool, out: TextIO) -> None:
        self._lines = lines
        self._with_times = with_times
        self._out = out
        self._printed = 0  # completed segments

    def show(self, client: Client) -> None:
        """What the client has now."""
        if not self._out.isatty():
            for segment in client.transcript[self._printed :]:
                print(self._line(segment), file=self._out, flush=True)
            self._printed = len(client.transcript)
            return
        shown = client.transcript[-self._lines :]
        if client.last_segment is not None:
            shown = [*shown, client.last_segment]
        width = shutil.get_terminal_size().columns
        if self._with_times:
            text = [line for each in shown for line in _wrap(self._line(each), width)]
        else:
            text = _wrap(_joined(shown), width)
        clear = "\x1b[H\x1b[2J"
        print(clear + "\n".join(text[-self._lines :]), file=self._out, flush=True)

    def _line(self, segment: SegmentDict) -> str:
        text = str(segment["text"]).strip()
        if not self._with_times:
            return text
        return f"[{segment['start']} -> {segment['end']}] {text}"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width - 1, 10))


class _Recording:
    """A WAV file of what is sent, 16 kHz mono, 16 bit."""

    def __init__(self, path: str) -> None:
        self._file = wave.open(path, "wb")
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(SAMPLE_RATE)

    async def kept(self, source: AsyncGenerator[Samples]) -> AsyncGenerator[Samples]:
        """The same samples, written down as they pass."""
        try:
            async with contextlib.aclosing(source):
                async for samples in source:
                    whole = (np.clip(samples, -1, 1) * 32767).round().astype("<i2")
                    self._file.writeframes(whole.tobytes())
                    yield samples
        finally:
            self._file.close()


async def _file_audio(path: str) -> AsyncGenerator[Samples]:
    """A recording at the pace of its sound."""
    async for chunk in paced(pcm_chunks(read_file(path))):
        yield np.frombuffer(chunk.data, "<f4")


class TranscriptionClient:
    """Transcribes a file, a network stream or the microphone when it is called.

    Writes the subtitles to ``output_transcription_path`` and returns the text.
    ``enable_translation``, ``target_language``, the translation's callback and file,
    the diarization, and the limits that scripts for 0.6 and 0.7 set, are accepted, as
    by the server, and do nothing.
    ``mute_audio_playback`` changes nothing: files are never played.
    """

    def __init__(
        self,
        host: str,
        port: int,
        lang: str | None = None,
        translate: bool = False,
        model: str = "small",
        use_vad: bool = True,
        use_wss: bool = False,
        save_output_recording: bool = False,
        output_recording_filename: str = "./output_recording.wav",
        output_transcription_path: str = "./output.srt",
        log_transcription: bool = True,
        mute_audio_playback: bool = False,
        send_last_n_segments: int = 10,
        no_speech_thresh: float = 0.45,
        clip_audio: bool = False,
        same_output_threshold: int = 10,
        transcription_callback: TextCallback | None = None,
        enable_translation: bool = False,
        target_language: str = "fr",
        translation_callback: TextCallback | None = None,
        translation_srt_file_path: str = "./output_translated.srt",
        enable_timestamps: bool = False,
        display_segments: int = 4,
        hotwords: str | None = None,
        enable_diarization: bool = False,
        max_speakers: int = 10,
        word_timestamps: bool = False,
        initial_prompt: str | None = None,
        vad_parameters: Mapping[str, Any] | None = None,
        *,
        max_clients: int | None = None,
        max_connection_time: int | None = None,
        key: str | None = None,
        ca: str | None = None,
    ) -> None:
        _check_suffix("output_recording_filename", output_recording_filename, ".wav")
        _check_suffix("output_transcription_path", output_transcription_path, ".srt")
        _check_suffix("translation_srt_file_path", translation_srt_file_path, ".srt")
        self._recording_path = (
            output_recording_filename if save_output_recording else None
        )
        self._srt_path = output_transcription_path
        self._callback = transcription_callback
        self._console = (
            _Console(display_segments, with_times=enable_timestamps, out=sys.stdout)
            if log_transcription and transcription_callback is None
            else None
        )
        self._is_live = True

        def live() -> LiveClient:
            return LiveClient(
                f"{'wss' if use_wss else 'ws'}://{host}:{port}",
                language=lang,
                task="translate" if translate else "transcribe",
                key=key,
                ca=ca,
                live=self._is_live,
                backoff=_BACKOFF,
                model=model,
                use_vad=use_vad,
                send_last_n_segments=send_last_n_segments,
                no_speech_thresh=no_speech_thresh,
                clip_audio=clip_audio,
                same_output_threshold=same_output_threshold,
                enable_translation=enable_translation,
                target_language=target_language,
                hotwords=hotwords,
                enable_diarization=enable_diarization,
                max_speakers=max_speakers,
                word_timestamps=word_timestamps,
                initial_prompt=initial_prompt,
                vad_parameters=vad_parameters,
            )

        self.client = Client(
            live,
            shown_segments=send_last_n_segments or 500,
            on_text=self._show,
            language=lang,
        )

    def __call__(
        self,
        audio: str | Path | None = None,
        rtsp_url: str | None = None,
        hls_url: str | None = None,
        save_file: str | None = None,
    ) -> str:
        """Transcribe one source to its end, the microphone without one; the text.

        The microphone and endless streams end with Ctrl-C.  Raises
        ``WhisperLiveError`` where the server or the source cannot be had, after the
        subtitles of what was heard by then are written.
        """
        given = [each for each in (audio, rtsp_url, hls_url) if each is not None]
        if len(given) > 1:
            raise ValueError("give one of audio, rtsp_url and hls_url")
        self._is_live = audio is None
        if audio is not None:
            source = _file_audio(str(audio))
        elif given:
            source = broadcast(str(given[0]), _say, backoff=_ONCE)
            if save_file is not None:
                source = _Recording(save_file).kept(source)
        else:
            source = microphone()
            if self._recording_path is not None:
                source = _Recording(self._recording_path).kept(source)
        background = _Background()
        try:
            stop = asyncio.Event()
            background.run(self.client.run(until(stop, source)), stop.set)
        except BaseException:
            if self.client.transcript:
                self.client.write_srt_file(self._srt_path)
            raise
        finally:
            background.close()
        self.client.write_srt_file(self._srt_path)
        return self.client.text

    def _show(self, client: Client, shown: list[SegmentDict]) -> None:
        if self._callback is not None:
            _call(self._callback, _joined(shown), shown)
        elif self._console is not None:
            self._console.show(client)


def _check_suffix(name: str, path: str, suffix: str) -> None:
    if not str(path).endswith(suffix):
        raise ValueError(f"{name} must end with {suffix}, not {path!r}")


def _say(sentence: str) -> None:
    print(f"[INFO]: {sentence}", file=sys.stderr)


def _call(callback: Callable[..., object], *arguments: object) -> None:
    """A callback of the script's, whose errors are not ours to die of."""
    try:
        callback(*arguments)
    except Exception:
        _log.exception("a callback failed")


class StreamingTranscriptionClient:
    """Takes audio from the caller, in any pieces, and calls back with text.

    A context manager: ready inside, and everything transcribed behind it.  Without
    ``on_error``, ``send`` and ``close`` raise what ended the session.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        lang: str | None = None,
        model: str = "small",
        use_vad: bool = True,
        use_wss: bool = False,
        send_last_n_segments: int = 10,
        no_speech_thresh: float = 0.45,
        clip_audio: bool = False,
        same_output_threshold: int = 10,
        enable_translation: bool = False,
        target_language: str = "fr",
        ready_timeout: float = 30.0,
        on_session_started: Callable[[], object] | None = None,
        on_partial_transcript: TextCallback | None = None,
        on_committed_transcript: TextCallback | None = None,
        on_translation: TextCallback | None = None,
        on_error: Callable[[Exception], object] | None = None,
        on_close: Callable[[], object] | None = None,
        key: str | None = None,
        ca: str | None = None,
    ) -> None:
        self._ready_timeout_s = ready_timeout
        self._on_partial = on_partial_transcript
        self._on_committed = on_committed_transcript
        self._on_error, self._on_close = on_error, on_close
        self._committed = 0  # segments that were called back
        self._untold: WhisperLiveError | None = None  # where there is no on_error
        self._background: _Background | None = None
        self._live: LiveClient | None = None
        self._following: asyncio.Task[None] | None = None
        self._client = Client(
            lambda: LiveClient(
                f"{'wss' if use_wss else 'ws'}://{host}:{port}",
                language=lang,
                key=key,
                ca=ca,
                live=False,
                backoff=_BACKOFF,
                model=model,
                use_vad=use_vad,
                send_last_n_segments=send_last_n_segments,
                no_speech_thresh=no_speech_thresh,
                clip_audio=clip_audio,
                same_output_threshold=same_output_threshold,
                enable_translation=enable_translation,
                target_language=target_language,
            ),
            shown_segments=send_last_n_segments or 500,
            on_text=self._show,
            on_ready=on_session_started,
            language=lang,
        )

    def connect(self) -> Self:
        """Block until the server is ready.

        Raises ``TimeoutError`` or ``RuntimeError``, as WhisperLive's client does.
        """
        background = _Background()
        try:
            self._live = background.run(self._connect())
        except BaseException as error:
            background.close()
            if isinstance(error, TimeoutError):
                raise TimeoutError("the server was not ready in time") from error
            if isinstance(error, WhisperLiveError):
                raise RuntimeError(str(error)) from error
            raise
        self._background = background
        return self

    async def _connect(self) -> LiveClient:
        async with asyncio.timeout(self._ready_timeout_s):
            live = await self._client.connect()
        self._following = asyncio.create_task(self._follow(live))
        return live

    async def _follow(self, live: LiveClient) -> None:
        try:
            await self._client.follow(live)
        except WhisperLiveError as error:
            if self._on_error is not None:
                _call(self._on_error, error)
            else:
                self._untold = error
        finally:
            if self._on_close is not None:
                _call(self._on_close)

    def send(
        self, audio_bytes: bytes, pcm_format: Literal["float32", "int16"] = "int16"
    ) -> None:
        """Send mono samples of 16 kHz; a piece may have any length."""
        if pcm_format == "float32":
            samples = np.frombuffer(audio_bytes, "<f4")
        elif pcm_format == "int16":
            samples = np.frombuffer(audio_bytes, "<i2").astype(np.float32) / 32768
        else:
            raise ValueError(f"unknown pcm_format {pcm_format!r}")
        if len(samples):
            self._send(samples)

    def send_array(self, samples: NDArray[Any]) -> None:
        """Send mono samples of 16 kHz: floats in -1..1, or whole numbers."""
        if samples.ndim != 1:
            raise ValueError("one channel is expected, not an array of several")
        if np.issubdtype(samples.dtype, np.integer):
            full = -float(np.iinfo(samples.dtype).min)
            samples = samples.astype(np.float32) / full
        self._send(samples.astype(np.float32))

    def _send(self, samples: Samples) -> None:
        if self._live is None or self._background is None:
            raise RuntimeError("the client is not connected, or was closed")
        self._raise_untold()
        self._background.run(self._live.send(samples))

    def _raise_untold(self) -> None:
        error, self._untold = self._untold, None
        if error is not None:
            raise RuntimeError(str(error)) from error

    def _show(self, client: Client, shown: list[SegmentDict]) -> None:
        fresh = client.transcript[self._committed :]
        self._committed = len(client.transcript)
        for segment in fresh:
            if self._on_committed is not None:
                _call(self._on_committed, segment["text"].strip(), [segment])
        partial = client.last_segment
        if partial is not None and self._on_partial is not None:
            _call(self._on_partial, partial["text"].strip(), [partial])

    @property
    def transcript(self) -> list[SegmentDict]:
        """All completed segments."""
        return self._client.transcript

    @property
    def last_partial(self) -> SegmentDict | None:
        """The open segment, if there is one."""
        return self._client.last_segment

    last_segment = last_partial

    def close(self, timeout: float = 15.0) -> None:
        """End the audio, wait so many seconds for the rest of its text, and close."""
        background, self._background = self._background, None
        if background is None:
            return
        try:
            background.run(self._close(timeout))
        finally:
            background.close()
        self._raise_untold()

    async def _close(self, timeout_s: float) -> None:
        if self._live is None or self._following is None:
            return
        await self._live.end()
        try:
            async with asyncio.timeout(timeout_s):
                await self._following
        except TimeoutError:
            pass  # what came by now is all there is
        finally:
            await self._live.close()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *error: object) -> None:
        self.close()
