"""A voice assistant in one file: `python examples/voice_loop/assistant.py`.

Needs `pip install '.[converse]'`, `whisper-live serve` and a language model, here
Ollama's.  `whisper-live converse` is the same with settings.
"""

from __future__ import annotations

import asyncio

from whisper_live.client import LiveClient
from whisper_live.client.microphone import microphone
from whisper_live.voice.conversation import Conversation
from whisper_live.voice.language_model import ChatEndpoint, LanguageModel
from whisper_live.voice.loop import VoiceLoop
from whisper_live.voice.player import Loudspeaker, Player
from whisper_live.voice.report import Report
from whisper_live.voice.speech import PiperSpeech, Speech


class Terminal:
    """Shows what both sides say."""

    def question(self, text: str) -> None:
        print("you    ", text)

    def answer(self, sentence: str) -> None:
        print("answer ", sentence)


def assistant(model: LanguageModel, speech: Speech, player: Player) -> VoiceLoop:
    """A loop around any model, voice and player with the methods of these."""
    return VoiceLoop(
        Conversation(system="Answer in one or two short sentences."),
        model=model,
        speech=speech,
        player=player,
        screen=Terminal(),
        report=Report(),
    )


async def main() -> None:
    model = ChatEndpoint("http://127.0.0.1:11434/v1")
    loop = assistant(model, PiperSpeech.load(), Loudspeaker())
    client = LiveClient(
        "ws://127.0.0.1:9090", audio_format="int16", turn_events=True, final_pass=True
    )
    async with client, client.feeding(microphone()):
        await loop.run(client)


if __name__ == "__main__":
    asyncio.run(main())
