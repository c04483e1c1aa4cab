"""The whole recording once more, after it has ended.

Live windows are short and decided early.  A client that asks for ``final_pass`` gets
a second reading in windows as long as the model takes, with its time to spare: at
batch-idle priority, with words, each window in the context of the text before it.
The recording is kept as 16-bit samples, in memory up to a bound, then in a file
without a name, and is gone when the session is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np

from whisper_live.audio import Samples, s_to_samples
from whisper_live.config.model import Config
from whisper_live.offline.reader import AudioWindow, Reader, Submit, plan
from whisper_live.offline.spool import Spool
from whisper_live.session.events import Frames
from whisper_live.session.options import SessionOptions
from whisper_live.session.updates import Dropped, FinalTranscript, Segment, Update
from whisper_live.text.wer import word_error_rate

__all__ = ["FinalPass"]

_BEAMS = 5  # as many as faster-whisper takes for whole files


class FinalPass:
    """Keeps one session's recording and reads it again."""

    def __init__(
        self, config: Config, options: SessionOptions, *, session: str
    ) -> None:
        self._config = config
        self._options = options
        self._session = session
        self._timeout_s = config.stream.final_pass_timeout_s
        self._most_samples = s_to_samples(config.stream.final_pass_max_s)
        self._recording = Spool()
        self._speech = bytearray()
        self._received = 0  # samples
        self._kept = 0  # of them
        self._ended_by = ""  # why no more are kept
        self._live: list[str] = []

    @property
    def language(self) -> str | None:
        """The client's choice; None: detected."""
        return self._options.language

    def keep(self, frames: Frames) -> None:
        """Add received audio, up to the longest recording that is kept.

        Raises ``OSError`` where there is no room for it, once: the recording ends
        there, and what was kept before is read.
        """
        self._received += len(frames.samples)
        if not self._ended_by and self._received > self._most_samples:
            self._ended_by = "too_long"
        if self._ended_by:
            return
        scaled = np.clip(np.round(frames.samples * 32768.0), -32768, 32767)
        try:
            self._recording.add(scaled.astype("<i2").tobytes())
        except OSError:
            self._ended_by = "recording"
            raise
        self._speech += np.round(frames.speech * 255).astype(np.uint8).tobytes()
        self._kept += len(frames.samples)

    def note(self, update: Update) -> None:
        """Remember what the client was told live, to compare it afterwards."""
        self._live += [segment.text for segment in update.completed]

    def close(self) -> None:
        """Delete the recording."""
        self._recording.close()

    async def run(self, submit: Submit, ids: Iterator[int]) -> FinalTranscript:
        """Transcribe the recording, once it is over.

        Windows follow one another, each with the text before it as context.  What
        fails or comes too late is listed as ``dropped``, and what was longer than
        the server keeps.
        """
        reader = Reader(
            self._config,
            self._options,
            submit,
            session=self._session,
            ids=ids,
            beam_size=_BEAMS,
            timeout_s=self._timeout_s,
        )
        segments: list[Segment] = []
        dropped: list[Dropped] = []
        text, read_to = "", 0
        speech: Sequence[float] = ()
        try:
            async with asyncio.timeout(self._timeout_s):
                speech, spans = await asyncio.to_thread(self._plan)
                for start, end in spans:
                    window = AudioWindow(start, self._read(start, end), speech, 0)
                    read = await reader.read(
                        window, lane=self._session, context=text, word_timestamps=True
                    )
                    read_to = end
                    segments += read.segments
                    dropped += read.dropped
                    text += read.text
        except TimeoutError:
            dropped.append(Dropped(read_to, self._kept, "timeout"))
        if self._kept < self._received:
            dropped.append(Dropped(self._kept, self._received, self._ended_by))
        live_wer = await asyncio.to_thread(word_error_rate, text, "".join(self._live))
        return FinalTranscript(
            tuple(segments),
            duration=self._kept,
            live_wer=live_wer,
            dropped=tuple(dropped),
        )

    def _plan(self) -> tuple[Sequence[float], Sequence[tuple[int, int]]]:
        """Speech probabilities and windows: a second of work for four hours."""
        speech = [level / 255 for level in self._speech]
        return speech, plan(speech, self._options.vad)

    def _read(self, start: int, end: int) -> Samples:
        data = self._recording.read(2 * start, 2 * (end - start))
        samples: Samples = np.frombuffer(data, dtype="<i2").astype(np.float32)
        return samples / np.float32(32768.0)
