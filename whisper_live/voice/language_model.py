"""Where answers come from: an OpenAI-compatible chat endpoint.

Owns the request and what its failures mean.  How long an answer may take is the loop's
affair.  Knows nothing of turns or sound.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from whisper_live.errors import WhisperLiveError
from whisper_live.voice.conversation import ChatMessage
from whisper_live.voice.extras import needs_extra, without_secrets

__all__ = ["AnswerError", "ChatEndpoint", "LanguageModel"]


class AnswerError(WhisperLiveError):
    """The language model gave no answer, or not all of it."""

    default_kind = "llm_failed"


class LanguageModel(Protocol):
    """Whatever answers."""

    @property
    def name(self) -> str:
        """Which model this is: another one's answers are others."""
        ...

    def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[str]:
        """The answer in pieces.  Raises ``AnswerError``; closing it stops the model."""
        ...


class ChatEndpoint:
    """Any server of ``/chat/completions``: Ollama, vLLM, llama.cpp, a cloud."""

    def __init__(self, url: str, *, model: str = "", key: str = "") -> None:
        """``url`` ends with ``/v1``; without ``model`` the server's first is asked.

        Raises ``ConfigError`` where the package openai is missing.
        """
        try:
            import openai
        except ImportError as error:
            raise needs_extra("the package openai") from error
        self._place = without_secrets(url)
        self._model = model
        self._client = openai.AsyncOpenAI(
            base_url=url, api_key=key or "none", max_retries=0
        )

    @property
    def name(self) -> str:
        """The endpoint and its model."""
        return f"{self._place} {self._model}"

    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[str]:
        """The content of each delta that has any."""
        import httpx2  # what openai raises in the middle of a stream
        import openai

        told: list[Any] = [
            {"role": each.role, "content": each.content} for each in messages
        ]
        try:
            stream = await self._client.chat.completions.create(
                model=self._model or await self._first_model(),
                messages=told,
                stream=True,
            )
            async with stream:
                async for chunk in stream:
                    # The last may have none, and tell of usage instead.
                    for choice in chunk.choices[:1]:
                        if choice.delta.content:
                            yield choice.delta.content
        except openai.APIStatusError as error:
            raise AnswerError(self._refused(error.status_code)) from error
        except openai.APIConnectionError as error:
            raise AnswerError(
                f"the language model at {self._place} cannot be reached: is it running?"
            ) from error
        except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
            raise AnswerError(
                f"the language model at {self._place} broke off its answer"
            ) from error

    async def _first_model(self) -> str:
        models = await self._client.models.list()
        if not models.data:
            raise AnswerError(f"{self._place} has no model: --llm-model names one")
        self._model = models.data[0].id
        return self._model

    def _refused(self, status: int) -> str:
        hint = {
            401: "; --llm-key is wrong or missing",
            403: "; --llm-key is wrong or missing",
            404: "; does the URL end with /v1, and is there this --llm-model?",
            429: "; it is asked too often",
        }.get(status, "")
        return f"the language model at {self._place} refused with HTTP {status}{hint}"

    async def close(self) -> None:
        """Let go of its connections."""
        await self._client.close()
