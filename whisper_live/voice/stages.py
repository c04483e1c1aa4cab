"""Where the time of a turn goes, from the speaker's last word to the answer's sound.

Owns the moments of one reply and the stages between them.  A stage begins where the
one before it ends, so that together they are the whole.  Reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

__all__ = ["LABELS", "Moments", "Stage"]

# As the log shows them.
LABELS = {
    "stt": "STT",
    "llm_first_token": "AI",
    "llm_sentence": "AI",
    "tts": "TTS",
    "turn_end": "PIPELINE",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the time; seconds since the speaker's last word."""

    name: str
    begins_s: float
    ends_s: float

    @property
    def duration_s(self) -> float:
        return self.ends_s - self.begins_s


@dataclass(slots=True)
class Moments:
    """When each thing happened first, by one clock; None: it has not.

    In the order in which they follow one another.
    """

    speech_ended: float = field(metadata={"stage": ""})
    asked: float | None = field(default=None, metadata={"stage": "stt"})
    first_token: float | None = field(
        default=None, metadata={"stage": "llm_first_token"}
    )
    first_sentence: float | None = field(
        default=None, metadata={"stage": "llm_sentence"}
    )
    first_sound: float | None = field(default=None, metadata={"stage": "tts"})
    heard: float | None = field(default=None, metadata={"stage": "turn_end"})

    def mark(self, name: str, now: float) -> None:
        """Something happens; only its first time counts."""
        if getattr(self, name) is None:
            setattr(self, name, now)

    def stages(self) -> list[Stage]:
        """What lies between the moments, as far as they are known."""
        found = []
        begin = 0.0
        for each in fields(self)[1:]:
            moment = getattr(self, each.name)
            if moment is None:
                continue
            # The audio is timed by its samples: a word can end a little "after" it
            # was understood.
            end = max(moment - self.speech_ended, begin)
            found.append(Stage(each.metadata["stage"], begin, end))
            begin = end
        return found
