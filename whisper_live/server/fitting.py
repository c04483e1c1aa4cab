"""What of a client's wishes its model can fulfil, and what to say of the rest."""

from __future__ import annotations

from whisper_live.inference.engine import Counting
from whisper_live.inference.model_registry import Model
from whisper_live.protocols.base import for_model, unmet
from whisper_live.session.options import SessionOptions
from whisper_live.text.counted import counted

__all__ = ["cut_texts", "fitted"]


def fitted(
    options: SessionOptions, model: Model
) -> tuple[SessionOptions, dict[str, str]]:
    """The wishes as this model can fulfil them, and a sentence about each other one.

    These by their names in a handshake.  Raises ``HandshakeError`` where the model
    lacks the language.
    """
    why = unmet(options, model.languages) | cut_texts(options, model.worker)
    return for_model(options, model.languages), why


def cut_texts(options: SessionOptions, engine: Counting) -> dict[str, str]:
    """Texts of which the engine reads a part, and which."""
    hotwords, prompt = options.hotwords.strip(), options.initial_prompt.strip()
    if not hotwords and not prompt:
        return {}
    first, last = engine.characters_read(hotwords=hotwords, prompt=prompt)
    why: dict[str, str] = {}
    if first < len(hotwords):
        why["hotwords"] = (
            f"the model reads only the first {counted(first, 'character')}"
        )
    if last < len(prompt):
        why["initial_prompt"] = (
            f"the model reads only the last {counted(last, 'character')}"
        )
    return why
