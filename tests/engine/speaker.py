"""A model that says what a test tells it to, in place of its own generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from whisper_live.inference.ctranslate2.engine import CTranslate2Engine

__all__ = ["say"]

Saying = Callable[[Sequence[int]], Sequence[int]]


class _Speaker:
    def __init__(self, model: Any, saying: Saying) -> None:
        self._model, self._saying = model, saying

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, memory: Any, prompts: list[list[int]], **options: Any) -> Any:
        length, given = options["max_length"], len(prompts[0])
        most = min(length // 2, length - (given - 1))  # as CTranslate2 counts
        return [
            SimpleNamespace(
                sequences_ids=[list(self._saying(prompt))[:most]],
                scores=[-0.1],
                no_speech_prob=0.0,
            )
            for prompt in prompts
        ]


def say(engine: CTranslate2Engine, saying: Saying) -> None:
    """Answer each prompt with the tokens that ``saying`` makes of it."""
    for call in engine._calls:
        call._model = _Speaker(call._model, saying)
