"""OpenAI's own client, unmodified, with this server as its base URL."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import wave
from collections.abc import AsyncIterator, Iterator

import numpy as np
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.realtime.realtime_transcription_session_audio_input_turn_detection_param import (  # noqa: E501
    RealtimeTranscriptionSessionAudioInputTurnDetectionParam,
)

from tests.e2e.support import running, with_http
from tests.real.support import Kept
from tests.weights import real_model
from whisper_live.audio import Samples
from whisper_live.config.model import EngineConfig
from whisper_live.inference.ctranslate2.engine import load
from whisper_live.media.files import read_file
from whisper_live.testing.recordings import shipped
from whisper_live.text.wer import plain_words, word_errors
from whisper_live.vad.whisper_boost import speech_detectors

Turns = RealtimeTranscriptionSessionAudioInputTurnDetectionParam | None

RECORDING = shipped("demo")
SPEECH = RECORDING.audio
SAID = "Good morning. Turn on the kitchen light. Set a timer for ten minutes."


@pytest.fixture(scope="module")
def demo() -> Iterator[Kept]:
    """The model that ships with the package."""
    config = EngineConfig(model="demo", device="cpu")
    engine = load(config, max_batch=4, progress=lambda line: None)
    yield Kept(engine)
    asyncio.run(engine.close())


@contextlib.asynccontextmanager
async def served(engine: Kept) -> AsyncIterator[AsyncOpenAI]:
    """A client of a server with this engine."""
    config = with_http()
    detector = speech_detectors(config.speech)
    async with running(config, engine=engine, detector=detector) as server:
        url = f"http://127.0.0.1:{server.http_port}/v1"
        async with AsyncOpenAI(
            base_url=url,
            api_key="any",
            max_retries=0,
        ) as client:
            yield client


async def test_text_alone(demo: Kept) -> None:
    async with served(demo) as client:
        answer = await client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=SPEECH, include=["logprobs"]
        )
    assert answer.text.startswith(SAID)
    assert answer.usage is not None and answer.usage.type == "duration"
    assert [language.code for language in answer.languages or ()] == ["en"]
    assert answer.logprobs is not None
    assert "".join(str(p.token) for p in answer.logprobs).strip() == answer.text
    assert all(p.logprob is not None and p.logprob <= 0 for p in answer.logprobs)


async def test_everything(demo: Kept) -> None:
    async with served(demo) as client:
        answer = await client.audio.transcriptions.create(
            model="whisper-1",
            file=SPEECH,
            language="en",
            prompt="A list of commands.",
            temperature=0.2,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
    assert answer.text.startswith(SAID) and answer.language == "english"
    assert answer.duration == 27.006
    assert answer.words is not None and answer.segments is not None
    words = [word.word for word in answer.words]
    assert " ".join(words) == answer.text
    assert abs(answer.words[0].start - RECORDING.sentences[0][0].start_s) < 0.3
    assert "".join(segment.text for segment in answer.segments).strip() == answer.text
    for segment in answer.segments:
        assert segment.avg_logprob < 0 <= segment.no_speech_prob <= 1
        assert segment.compression_ratio > 0
        assert 0 < float(getattr(segment, "confidence")) <= 1


async def test_text_and_subtitles(demo: Kept) -> None:
    async with served(demo) as client:
        create = client.audio.transcriptions.create
        text = await create(model="whisper-1", file=SPEECH, response_format="text")
        srt = await create(model="whisper-1", file=SPEECH, response_format="srt")
        vtt = await create(model="whisper-1", file=SPEECH, response_format="vtt")
    assert text.splitlines()[0] == "Good morning."
    assert srt.startswith("1\n00:00:00,000 --> 00:00:01,000\nGood morning.\n\n2\n")
    assert vtt.startswith("WEBVTT\n\n00:00:00.")


async def test_a_stream_of_events(demo: Kept) -> None:
    async with served(demo) as client:
        events = await client.audio.transcriptions.create(
            model="gpt-4o-mini-transcribe", file=SPEECH, stream=True
        )
        heard = ""
        async for event in events:
            if event.type == "transcript.text.delta":
                heard += event.delta
            else:
                assert event.type == "transcript.text.done"
                assert event.text == heard
    assert heard.startswith(SAID)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_other_containers_and_translation(demo: Kept) -> None:
    async with served(demo) as client:
        answer = await client.audio.translations.create(
            model="whisper-1", file=RECORDING.webm
        )
    reference = plain_words(RECORDING.text)
    assert word_errors(reference, plain_words(answer.text)) <= 2


async def test_curl(demo: Kept) -> None:
    async with served(demo) as client:
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--fail", f"{client.base_url}audio/transcriptions"),
            *("-F", f"file=@{SPEECH}", "-F", "model=whisper-1"),
            *("-F", "response_format=text"),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
    assert process.returncode == 0
    assert " ".join(printed.decode().split()).startswith(SAID)


async def test_models(demo: Kept) -> None:
    async with served(demo) as client:
        assert [model.id async for model in client.models.list()] == ["auto"]
        assert (await client.models.retrieve("whisper-1")).id == "auto"


async def test_errors_are_its_own_classes(demo: Kept) -> None:
    async with served(demo) as client:
        create = client.audio.transcriptions.create
        with pytest.raises(openai.BadRequestError) as bad:
            await create(model="m", file=SPEECH, language="klingon")
        assert "klingon" in bad.value.message
        assert bad.value.param == "language"
        assert bad.value.code == "unsupported_language"
        with pytest.raises(openai.UnprocessableEntityError):
            await create(model="m", file=("a.wav", b""))
        with pytest.raises(openai.APIStatusError) as unknown:
            await create(model="m", file=("a.wav", b"nothing that anybody knows"))
        assert unknown.value.status_code == 415 and unknown.value.param == "file"


async def heard_live(
    client: AsyncOpenAI, samples: Samples, turns: Turns
) -> tuple[list[str], str]:
    """What a realtime session says: each transcript, and all deltas joined."""
    raised = np.fft.irfft(np.fft.rfft(samples), len(samples) * 3 // 2) * 1.5
    data = (np.clip(raised, -1, 1) * 32767).astype("<i2").tobytes()
    transcripts: list[str] = []
    deltas = ""
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as live:
        await live.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24000},
                        "transcription": {"model": "whisper-1", "language": "en"},
                        "turn_detection": turns,
                    }
                },
            }
        )
        for at in range(0, len(data), 4800):
            audio = base64.b64encode(data[at : at + 4800]).decode()
            await live.input_audio_buffer.append(audio=audio)
        await live.input_audio_buffer.commit()
        commits, is_last = 0, False
        async for event in live:
            assert event.type != "error", event
            if event.type == "input_audio_buffer.committed":
                commits += 1
            elif event.type == "conversation.item.input_audio_transcription.delta":
                deltas += event.delta or ""
            elif event.type == "conversation.item.input_audio_transcription.completed":
                transcripts.append(event.transcript)
                is_last = not event.transcript  # the commit's, behind the silence
            if (is_last or turns is None) and len(transcripts) == commits > 0:
                break
    return transcripts, deltas


@pytest.mark.parametrize(
    "turns", [{"type": "server_vad"}, None], ids=["turns", "commit"]
)
async def test_realtime(demo: Kept, turns: Turns) -> None:
    with wave.open(str(SPEECH)) as recording:
        pcm = recording.readframes(recording.getnframes())
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
    samples = np.concatenate([samples, np.zeros(32_000, np.float32)])
    async with served(demo) as client:
        transcripts, deltas = await heard_live(client, samples, turns)
    reference = plain_words(RECORDING.text)
    assert word_errors(reference, plain_words(" ".join(transcripts))) <= 2
    assert plain_words(deltas) == plain_words("".join(transcripts))
    assert len([text for text in transcripts if text]) == (1 if turns is None else 10)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """Whisper's own weights."""
    cache = tmp_path_factory.mktemp("weights")
    real_model("tiny.en", cache)
    config = EngineConfig(model="tiny.en", model_cache=str(cache), device="cpu")
    engine = load(config, max_batch=4, progress=lambda line: None)
    yield Kept(engine)
    asyncio.run(engine.close())


@pytest.mark.real
@pytest.mark.timeout(180)
async def test_ordinary_english_with_real_weights(tiny: Kept) -> None:
    recording = shipped("meeting")
    reference = plain_words(recording.text)
    async with served(tiny) as client:
        answer = await client.audio.transcriptions.create(
            model="whisper-1",
            file=recording.audio,
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
    assert word_errors(reference, plain_words(answer.text)) <= 0.03 * len(reference)
    assert answer.words is not None
    assert " ".join(word.word for word in answer.words).split() == answer.text.split()


@pytest.mark.real
@pytest.mark.timeout(180)
async def test_ordinary_english_live_with_real_weights(tiny: Kept) -> None:
    recording = shipped("meeting")
    samples = np.concatenate(
        [*read_file(recording.audio), np.zeros(32_000, np.float32)]
    )
    reference = plain_words(recording.text)
    async with served(tiny) as client:
        transcripts, deltas = await heard_live(client, samples, {"type": "server_vad"})
    heard = plain_words(" ".join(transcripts))
    assert word_errors(reference, heard) <= 0.1 * len(reference)
    assert plain_words(deltas) == plain_words("".join(transcripts))
