"""In which language the client speaks, and whether it has been told.

A detected language is kept once it is certain.  Low confidence holds a first partial
back; it never throws audio away.
"""

from __future__ import annotations

from whisper_live.audio import s_to_samples
from whisper_live.inference.types import Hypothesis
from whisper_live.session.updates import Language

__all__ = ["SpokenLanguage"]

_CERTAIN_AFTER = s_to_samples(2.0)  # speech from which a language is believed
_CERTAIN_PROBABILITY = 0.8  # or the probability with which it is believed at once


class SpokenLanguage:
    """One session's language.

    ``chosen`` is the client's choice, None to detect it; with ``multilingual`` it is
    detected again for each utterance.
    """

    def __init__(self, chosen: str | None, *, multilingual: bool) -> None:
        self._chosen = chosen
        self._multilingual = multilingual
        self._current = chosen
        self._told = chosen is not None

    @property
    def current(self) -> str | None:
        """The language to decode in; None: detect it."""
        return self._current

    def choose(self, chosen: str | None) -> None:
        """The client changed its choice; None: detect it from now on."""
        self._chosen = self._current = chosen

    def start_utterance(self) -> None:
        """A new utterance may be in another language, if the client said so."""
        if self._multilingual:
            self._current = self._chosen

    def settle(self, hypothesis: Hypothesis, heard: int, *, is_final: bool) -> bool:
        """Keep the hypothesis' language if it is certain; False: show nothing yet.

        ``heard`` is the length of the window in samples.  A final is always shown,
        but a short one with a doubtful language does not decide it for the session.
        """
        if self._current is not None:
            return True
        certain = (
            heard >= _CERTAIN_AFTER
            or hypothesis.language_probability >= _CERTAIN_PROBABILITY
        )
        # Where each utterance has its own language, a final comes too late to tell
        # the next one's.
        if certain and not (is_final and self._multilingual):
            self._current = hypothesis.language
        return certain or is_final or self._told

    def announcement(self, hypothesis: Hypothesis) -> Language | None:
        """What to tell the client, once, before any text."""
        if self._told:
            return None
        self._told = True
        return Language(hypothesis.language, hypothesis.language_probability)
