"""Successive hypotheses of one window in, a steady reading of it out.

LocalAgreement-2: a word on which two successive hypotheses agree is taken as heard;
the newest word is held back, for it may be cut off by the end of the audio.  Where two
in a row contradict an older agreement, theirs replaces it.  Words are compared without
case and punctuation.

Interim readings are made to begin with what was agreed upon (``agreed``); the final
may still change it.  tiny.en, 62 recordings of one half of the voices: words taken back
per word of the final text 0.39 instead of 0.47, errors in a hundred 14.0 and not 14.2.

What is shown changes less often than what is heard: the newest word waits for the next
hypothesis, a revision until it was heard twice, and one of words further back until
the utterance pauses; where hypotheses keep taking words back, more of the newest are
not shown.  Owns no times and no audio: positions are the session's affair.
"""

from __future__ import annotations

from collections.abc import Sequence

from whisper_live.text.words import normalise

__all__ = ["LocalAgreement"]

_FORGETTING = 0.5  # weight of the newest hypothesis in the average of words taken back
_HIDING = 3  # newest words that are not shown for each word taken back of late
# Words at the end of what is shown that interim hypotheses may revise.  tiny.en, 52
# recordings of people: words taken back per word of the final text 0.76, with older
# words held 0.67, with the newest word held back as well 0.52; each word was then seen
# for good 0.34 s later.
_LOOSE = 4
_REVISION = 2  # words whose replacement is doubted; one is often just the newest word
_PATIENCE = 3  # hypotheses for which doubt lasts


class LocalAgreement:
    """Agreement over the hypotheses of one window."""

    def __init__(self) -> None:
        self._agreed: list[str] = []
        self._tail: list[str] = []
        self._newest: list[str] = []
        self._shown: list[str] = []
        self._doubted = 0  # hypotheses in a row that would have changed what is shown
        self._taken_back = 0.0  # words per hypothesis, the last few; outlives windows

    @property
    def confirmed(self) -> int:
        """How many leading words of the newest hypothesis may be decided."""
        return _common(self._agreed, self._newest)

    @property
    def agreed(self) -> str:
        """What the next reading is to begin with: the words that may be decided."""
        return "".join(self._newest[: self.confirmed])

    @property
    def text(self) -> str:
        """All that was heard: the agreed words, then the newest reading of the rest."""
        return "".join(self._agreed + self._tail)

    @property
    def shown(self) -> str:
        """What to show of it: without doubtful revisions and doubtful newest words."""
        return "".join(self._shown)

    def update(self, words: Sequence[str]) -> None:
        """Take a newer hypothesis of the same window, longer or not."""
        rest = list(words[_standing_for(self._agreed, words) :])
        kept = _common(self._tail, rest)
        if self._tail:
            taken_back = len(self._tail) - kept
            self._taken_back += _FORGETTING * (taken_back - self._taken_back)
        common = min(kept, max(len(rest) - 1, 0))
        self._agreed += rest[:common]
        self._tail = rest[common:]
        twice = _common(self._newest, words[:-1])
        self._newest = list(words)
        if twice > self.confirmed:
            # One wrong word agreed upon would keep its window from ever being
            # shortened: two thirds of a talk were seen to end so.
            self._agreed = self._newest[:twice]
            self._tail = self._newest[twice:]
        self._show(heard_twice=twice)

    def show_all(self, words: Sequence[str]) -> None:
        """Take a hypothesis of an utterance that may be over, and show it as it is.

        It is what will be decided unless speech resumes, so that doubt would only show
        the same words a silence later.
        """
        self.update(words)
        self._shown = list(words)

    def cut(self, count: int) -> None:
        """The first ``count`` words of the newest hypothesis leave the window."""
        assert count <= self.confirmed, "only confirmed words can be decided"
        # They are decided as they were heard last.
        words = self._agreed + self._tail
        self._revise(words, heard_twice=count)
        del self._agreed[:count]
        del self._newest[:count]
        del self._shown[:count]

    def reset(self) -> None:
        """A new window: nothing was heard yet."""
        self._agreed.clear()
        self._tail.clear()
        self._newest.clear()
        self._shown.clear()
        self._doubted = 0

    def _show(self, *, heard_twice: int) -> None:
        """Bring what is shown up to what was heard, as far as that can be trusted."""
        words = self._agreed + self._tail
        held = self._shown[:-_LOOSE]
        if _common(held, words) < len(held):
            words = held + words[_standing_for(held, words) :]
        known = _common(self._shown, words)
        self._revise(words[: max(len(words) - 1, known, 1)], heard_twice=heard_twice)

    def _revise(self, words: list[str], *, heard_twice: int) -> None:
        """Show these words, unless they take back others and may be wrong in that."""
        stays = _common(self._shown, words)
        is_revision = len(self._shown) - stays >= _REVISION
        if is_revision and heard_twice <= stays and self._doubted < _PATIENCE:
            self._doubted += 1
            return
        self._doubted = 0
        hidden = _HIDING * int(self._taken_back)  # a word now and then hides none
        self._shown = words[: max(len(words) - hidden, len(self._agreed), stays, 1)]


def _standing_for(known: Sequence[str], words: Sequence[str]) -> int:
    """How many leading ``words`` the known ones stand for.

    Nearly always the words simply begin with them.  Where the engine changed its mind
    about one, the cheapest alignment decides, so that the rest is neither lost nor
    shown twice.
    """
    mine, heard = ([normalise(word) for word in each] for each in (known, words))
    if heard[: len(mine)] == mine:
        return len(mine)
    row = list(range(len(heard) + 1))  # edits from no known word to heard[:j]
    for i, one in enumerate(mine, 1):
        left, row[0] = row[0], i
        for j, theirs in enumerate(heard, 1):
            edit = min(row[j] + 1, row[j - 1] + 1, left + (one != theirs))
            left, row[j] = row[j], edit
    # Equal costs: the longer prefix, so that a known word is not repeated.
    return min(range(len(row)), key=lambda j: (row[j], -j))


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """How many leading words are the same."""
    count = 0
    for mine, theirs in zip(left, right, strict=False):
        if normalise(mine) != normalise(theirs):
            break
        count += 1
    return count
