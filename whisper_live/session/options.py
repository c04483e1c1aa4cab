"""What one client may ask of its session, whatever protocol it speaks.

A protocol reads a client's wishes and brings them inside the server's limits; what
arrives here is valid.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from whisper_live.config.model import StreamConfig
from whisper_live.inference.types import Task

__all__ = ["SessionOptions", "VadOptions", "plainly"]

_PLAIN_PACE_S = 1.0  # of new audio before a reading, as in WhisperLive


@dataclass(frozen=True, slots=True)
class VadOptions:
    """How speech is told from silence, after limits were applied."""

    threshold: float = 0.4  # probability at which speech starts
    release: float = 0.25  # probability below which it may end (hysteresis)
    min_speech_s: float = 0.096  # voiced time below which an onset was a click
    hangover_s: float = 0.5  # silence awaited before an endpoint
    early_s: float = 0.3  # and before one whose text is stable
    preroll_s: float = 0.3  # audio kept before the onset
    max_speech_s: float = 30.0  # split before this, where the server does not earlier
    pause_s: float = 0.16  # silence after which the final is tried in advance

    def hearing_everything(self) -> VadOptions:
        """All audio is speech, whatever its probability.

        What is read in silence is still judged by the probabilities.
        """
        return replace(self, threshold=0.0, release=0.0)


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How one client's speech is found, decoded and told."""

    language: str | None = None  # None: detect
    task: Task = Task.TRANSCRIBE
    vad: VadOptions = field(default_factory=VadOptions)
    no_speech_threshold: float = 0.45
    initial_prompt: str = ""
    hotwords: str = ""
    word_timestamps: bool = False
    multilingual: bool = False  # detect the language again for each utterance
    beam_size: int = 0  # of finals; 0: the server's
    # Read as ``plainly`` says, without a prefix, and try no final in advance.
    plain: bool = False


def plainly(stream: StreamConfig) -> StreamConfig:
    """Read the whole window again at a fixed pace: no cuts in it, and no context."""
    return replace(
        stream,
        partial_floor_s=_PLAIN_PACE_S,
        partial_interval_s=_PLAIN_PACE_S,
        commit_after_s=stream.max_window_s,
        context_chars=0,
    )
