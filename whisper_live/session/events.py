"""What goes into a session, what comes out of it, and what travels to the engine.

Frozen dataclasses only.  Events are past tense or nouns, effects are imperatives,
outcomes answer a request.  All positions are integer samples since session start;
all durations in seconds.  Arrays are handed over, never written to again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import Samples
from whisper_live.inference.types import Outcome, Request, Task, Word

__all__ = [
    "Cancel",
    "ClientOptions",
    "Close",
    "Drain",
    "Dropped",
    "Effect",
    "EndOfAudio",
    "Event",
    "Frames",
    "Hello",
    "PeerGone",
    "Segment",
    "Send",
    "Submit",
    "VadOptions",
]

# --------------------------------------------------------------------- options


@dataclass(frozen=True, slots=True)
class VadOptions:
    """How speech is told from silence, after limits were applied."""

    threshold: float = 0.4  # probability at which speech starts
    release: float = 0.25  # probability below which it may end (hysteresis)
    min_speech_s: float = 0.096  # voiced time below which an onset was a click
    hangover_s: float = 0.5  # silence awaited before an endpoint
    preroll_s: float = 0.3  # audio kept before the onset
    max_speech_s: float = 30.0  # split before this, where the server does not earlier
    pause_s: float = 0.16  # silence after which the final is tried in advance


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """A client's handshake, validated and brought inside the server's limits."""

    uid: str
    language: str | None = None  # None: detect
    task: Task = Task.TRANSCRIBE
    model: str | None = None
    audio_format: str | None = None  # None: float32 unless a container shows itself
    use_vad: bool = True
    vad: VadOptions = field(default_factory=VadOptions)
    send_last_n_segments: int = 10  # completed ones per message; 0 means all
    no_speech_threshold: float = 0.45
    same_output_threshold: int = 10  # accepted; our stabiliser does not need it
    clip_audio: bool = False  # accepted; we never skip audio to catch up
    initial_prompt: str = ""
    hotwords: str = ""
    word_timestamps: bool = False
    multilingual: bool = False  # detect the language again for each utterance
    final_pass: bool = False
    timings: bool = False  # put stage timings into segments messages
    ignored: tuple[str, ...] = ()  # keys that we know but have not built


# ------------------------------------------------------------- what clients are shown


@dataclass(frozen=True, slots=True)
class Segment:
    """The wire unit: ``completed`` iff committed, and then it never changes again."""

    start: int
    end: int
    text: str  # with Whisper's leading space
    completed: bool
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A span that was given up without text, and why; never kept from the client."""

    start: int
    end: int
    reason: str  # "engine_timeout", "window_rejected", "overrun", ...


# ---------------------------------------------------------------------- events in


@dataclass(frozen=True, slots=True)
class Hello:
    """The handshake was read and the client admitted."""

    options: ClientOptions


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Decoded audio with its speech probabilities.

    ``samples`` has shape ``[n]``; ``speech`` has shape ``[ceil(n / 512)]``: every
    frame but the last of a stream is whole.
    """

    samples: Samples
    speech: NDArray[np.float32]
    decode_s: float = 0.0  # CPU spent making the samples
    vad_s: float = 0.0  # and scoring them
    behind_s: float = 0.0  # how late they come, see `backlog`


@dataclass(frozen=True, slots=True)
class EndOfAudio:
    """The client will send no more; flush, then close."""


@dataclass(frozen=True, slots=True)
class PeerGone:
    """The socket is gone; nothing can be sent any more."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The server is stopping: flush, then close with 1012."""


Event = Hello | Frames | EndOfAudio | PeerGone | Drain | Outcome

# -------------------------------------------------------------------- effects out


@dataclass(frozen=True, slots=True)
class Send:
    """Send one JSON message.  A later partial may replace an unsent earlier one."""

    message: Mapping[str, Any]
    replaceable: bool = False


@dataclass(frozen=True, slots=True)
class Submit:
    """Queue a request; exactly one outcome with its id comes back as an event."""

    request: Request


@dataclass(frozen=True, slots=True)
class Cancel:
    """Withdraw a request; its outcome still comes, maybe as ``Cancelled``."""

    request_id: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close the websocket after everything sent before.

    ``hold_s``: seconds to leave it open for a client that closes by itself
    (PRACTICE of WhisperLive clients: they miss a status sent right before a close).
    """

    code: int
    reason: str = ""
    hold_s: float = 0.0


Effect = Send | Submit | Cancel | Close
