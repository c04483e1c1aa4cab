"""What the server says of itself: its models and their languages, and what it can do.

Home Assistant asks when it starts and gives up after a second, so the answer needs no
model: where none is loaded yet, a name tells what it will know.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from wyoming.info import AsrModel, AsrProgram, Attribution, Info

from whisper_live.config.model import Config, EngineConfig
from whisper_live.protocols.languages import LANGUAGES
from whisper_live.protocols.wyoming.events import write_event

__all__ = ["NAME", "describe"]

NAME = "whisper-live"
_OURS = Attribution("whisper-live", "https://github.com/collabora/WhisperLive")
_OPENAI = Attribution("OpenAI", "https://github.com/openai/whisper")


def describe(
    config: Config, version: str, languages: Sequence[str] | None = None
) -> str:
    """The answer to ``describe``.

    ``languages`` are the main model's, None while it is being loaded.
    """
    main = config.engine.model
    models = [_model(main, _guessed(main) if languages is None else languages)]
    offered = config.engine.offered_models
    models += [_model(name, _guessed(name)) for name in sorted(offered)]
    for name, codes in sorted(_by_model(config.engine).items()):
        if name not in offered | {main}:
            models.append(_model(name, codes))
    program = AsrProgram(
        name=NAME,
        attribution=_OURS,
        installed=True,
        description="Whisper, read while somebody speaks",
        version=version,
        models=models,
        supports_transcript_streaming=True,
        requires_external_vad=not config.wyoming.wyoming_silence_ms,
        # Whisper was trained on noise, and hears what noise reduction takes away.
        prefers_auto_gain_enabled=False,
        prefers_noise_reduction_enabled=False,
    )
    return write_event(Info(asr=[program]).event())


def _by_model(engine: EngineConfig) -> dict[str, list[str]]:
    """The languages for which the operator chose a model."""
    found: dict[str, list[str]] = {}
    for code, name in engine.language_models.items():
        found.setdefault(name, []).append(code)
    return found


def _model(name: str, languages: Sequence[str]) -> AsrModel:
    shown = PurePath(name).name if name.startswith((".", "~", "/")) else name
    return AsrModel(
        name=shown,
        attribution=_OPENAI,
        installed=True,
        description=f"Whisper {shown}",
        version=None,
        languages=sorted(languages),
    )


def _guessed(name: str) -> Sequence[str]:
    """The languages of a model that is not loaded, as its name has it."""
    return ("en",) if name.endswith(".en") else LANGUAGES
