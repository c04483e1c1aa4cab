"""What goes into a session and what it asks for in return.

Frozen dataclasses only.  Events are past tense or nouns, effects are imperatives or
what the client is to be told.  All positions are integer samples since session start;
all durations in seconds.  Arrays are handed over, never written to again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisper_live.audio import FRAME_SAMPLES, Samples
from whisper_live.inference.types import Outcome, Request
from whisper_live.session.options import SessionOptions
from whisper_live.session.updates import Ending, Update

__all__ = [
    "Cancel",
    "Configure",
    "Drain",
    "Effect",
    "End",
    "EndOfAudio",
    "Event",
    "Flush",
    "Frames",
    "PeerGone",
    "Submit",
]

# ---------------------------------------------------------------------- events in


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

    def scored(self) -> Iterator[tuple[float, int]]:
        """Each frame's speech probability and how many samples it has."""
        left = len(self.samples)
        for probability in self.speech.tolist():
            size = min(left, FRAME_SAMPLES)
            left -= size
            yield probability, size
        assert left == 0, "frames without probabilities"


@dataclass(frozen=True, slots=True)
class Flush:
    """The client wants the open utterance ended here; its session goes on."""


@dataclass(frozen=True, slots=True)
class Configure:
    """The client wants what it hears from now on decoded in another way."""

    options: SessionOptions


@dataclass(frozen=True, slots=True)
class EndOfAudio:
    """The client will send no more; flush, then end."""


@dataclass(frozen=True, slots=True)
class PeerGone:
    """The client is gone; nothing can be told any more."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The server is stopping: flush, then end."""


Event = Frames | Flush | Configure | EndOfAudio | PeerGone | Drain | Outcome

# -------------------------------------------------------------------- effects out


@dataclass(frozen=True, slots=True)
class Submit:
    """Queue a request; exactly one outcome with its id comes back as an event."""

    request: Request


@dataclass(frozen=True, slots=True)
class Cancel:
    """Withdraw a request; its outcome still comes, maybe as ``Cancelled``."""

    request_id: int


@dataclass(frozen=True, slots=True)
class End:
    """The session has told everything; let the client go."""

    ending: Ending


Effect = Update | Submit | Cancel | End
