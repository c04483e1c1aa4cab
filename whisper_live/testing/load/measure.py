"""One session's figures, computed from its log alone.

The definitions, all by the client's clock, in seconds since position 0:

partial lag         end of a word -> first message with it, final or not
commit lag          end of a word -> first message from which on it never was away
stands              end of an utterance's last word -> message after which none of its
                    words changes; words that were misheard to the end do not count
final after speech  end of an utterance's last word -> message that completes it
flush after stop    END_OF_AUDIO sent -> the server's close
first partial       start of the first word -> first message with text
erasure             words taken back while the text grew, per word of the final text
false finals        completed segments that were changed or taken back later
late sends          sends begun more than 50 ms after they were due, although the
                    one before had returned: the client's own fault

A word counts where it was spoken: with real models heard words are aligned with the
spoken ones near the segment's time, with the oracle's marks each word exists once.
What never came is ``math.inf``, so that losing words does not improve a percentile.
Upstream's last partial counts as heard, for users do get to see it.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from whisper_live.protocols.whisperlive.client import read_segments
from whisper_live.testing.load.alignment import Pair, align
from whisper_live.testing.load.material import SpokenWord
from whisper_live.testing.load.sessionlog import Ended, Sent, SessionLog
from whisper_live.testing.load.view import Shown, View
from whisper_live.testing.marks import Account, account_for

__all__ = ["LATE_S", "SessionFigures", "Span", "lags_over_time", "measure"]

LATE_S = 0.05
_NEAR_S = 2.0  # a segment's time and its words' may differ by this much


class Span(NamedTuple):
    """Monotonic moments between which words count."""

    begin_at: float
    end_at: float


EVER = Span(-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """What one client met with; lists of seconds, ``math.inf`` where it never came."""

    session: int
    ended: Ended
    code: int | None
    reason: str
    audio_s: float
    ready_s: float | None  # connecting until SERVER_READY
    first_partial_s: float | None
    flush_s: float | None
    partial_lags_s: tuple[float, ...] = ()
    commit_lags_s: tuple[float, ...] = ()
    stands_lags_s: tuple[float, ...] = ()
    final_lags_s: tuple[float, ...] = ()
    spoken: int = 0  # words
    substituted: int = 0
    missing: int = 0
    added: int = 0
    account: Account | None = None  # of marks, where each word can be told
    erased: int = 0
    shown: int = 0  # words of the final text
    false_finals: int = 0
    dropped_s: float = 0.0
    sends: int = 0
    late_sends: int = 0
    blocked_sends: int = 0  # the server did not read

    @property
    def errors(self) -> int:
        """Word errors."""
        return self.substituted + self.missing + self.added


def measure(log: SessionLog, span: Span = EVER) -> SessionFigures:
    """All figures of one session; lags only of words spoken within ``span``."""
    ready_s = None if log.started_at is None else log.started_at - log.connected_at
    if log.started_at is None:  # refused: nothing was said
        return SessionFigures(
            log.session, log.ended, log.code, log.reason, 0.0, None, None, None
        )
    matcher = _Marks(log.words) if log.is_marked else _Speech(log.words)
    history = _History(log, matcher)
    counted = [
        i
        for i, word in enumerate(log.words)
        if span.begin_at <= log.started_at + word.end_s <= span.end_at
        and word.end_s <= _said_until(log)
    ]
    said = [word.text for word in log.words if word.end_s <= _said_until(log)]
    heard = history.view.words
    account = _account(said, heard) if log.is_marked else None
    substituted, missing, added = _errors(said, heard, account)
    never_counts = log.is_marked  # else it is the model's mistake, and in the WER
    return SessionFigures(
        session=log.session,
        ended=log.ended,
        code=log.code,
        reason=log.reason,
        audio_s=log.audio_s,
        ready_s=ready_s,
        first_partial_s=_first_partial(log),
        flush_s=_difference(log.ended_s, log.stopped_s),
        partial_lags_s=_lags(history.first_s, counted, log.words, never_counts),
        commit_lags_s=_lags(history.kept_since_s, counted, log.words, never_counts),
        stands_lags_s=_stands_lags(
            history.kept_since_s, counted, log.words, never_counts
        ),
        final_lags_s=_final_lags(history.final_s, counted, log.words),
        spoken=len(said),
        substituted=substituted,
        missing=missing,
        added=added,
        account=account,
        erased=history.erased,
        shown=len(heard),
        false_finals=history.view.false_finals,
        dropped_s=history.view.dropped_s,
        sends=len(log.sends),
        late_sends=_late_sends(log.sends),
        blocked_sends=sum(s.until_s - s.at_s > LATE_S for s in log.sends),
    )


def lags_over_time(log: SessionLog) -> list[tuple[float, float]]:
    """For each word of an admitted session: when it ended (monotonic), its partial lag.

    ``math.inf`` for marks that never came; words of real models that never came are
    left out.
    """
    if log.started_at is None:
        return []
    matcher = _Marks(log.words) if log.is_marked else _Speech(log.words)
    first_s = _History(log, matcher).first_s
    return [
        (log.started_at + word.end_s, first_s.get(i, math.inf) - word.end_s)
        for i, word in enumerate(log.words)
        if i in first_s or log.is_marked
    ]


class _History:
    """The log replayed: when each spoken word was first shown, settled, completed."""

    def __init__(self, log: SessionLog, matcher: _Marks | _Speech) -> None:
        self.view = View()
        self.first_s: dict[int, float] = {}
        self.kept_since_s: dict[int, float] = {}
        self.final_s: dict[int, float] = {}
        self.erased = 0
        finals: set[int] = set()  # words in completed segments
        before: list[str] = []
        for at_s, message in log.arrivals:
            for shown in self.view.take(message):
                for pair in matcher.pairs(shown, at_s):
                    self.final_s.setdefault(pair.spoken, at_s)
                    if pair.is_equal:
                        finals.add(pair.spoken)
            if read_segments(message) is None:
                continue
            partial = self.view.partial
            pairs = matcher.pairs(partial, at_s) if partial else ()
            present = finals | {pair.spoken for pair in pairs if pair.is_equal}
            for word in self.kept_since_s.keys() - present:
                del self.kept_since_s[word]
            for word in present:
                self.first_s.setdefault(word, at_s)
                self.kept_since_s.setdefault(word, at_s)
            words = self.view.words
            self.erased += len(before) - _common(before, words)
            before = words


class _Marks:
    """Words that exist once: text tells which."""

    def __init__(self, words: Sequence[SpokenWord]) -> None:
        self._places = {word.text: i for i, word in enumerate(words)}

    def pairs(self, shown: Shown, at_s: float) -> Iterable[Pair]:
        for i, text in enumerate(shown.words):
            if text in self._places:
                yield Pair(i, self._places[text], True)


class _Speech:
    """Words of a language: told by their order, near the segment's time."""

    def __init__(self, words: Sequence[SpokenWord]) -> None:
        self._texts = [word.text for word in words]
        self._starts = [word.start_s for word in words]
        self._ends = [word.end_s for word in words]

    def pairs(self, shown: Shown, at_s: float) -> Iterable[Pair]:
        first = bisect.bisect_left(self._ends, shown.start_s - _NEAR_S)
        # a word that has not begun cannot have been heard
        last = bisect.bisect_right(self._starts, min(shown.end_s + _NEAR_S, at_s))
        aligned = align(shown.words, self._texts[first:last], part=True)
        return [pair._replace(spoken=first + pair.spoken) for pair in aligned.pairs]


# --------------------------------------------------------------------------- figures


def _lags(
    moments: Mapping[int, float],
    counted: Sequence[int],
    words: Sequence[SpokenWord],
    never_counts: bool,
) -> tuple[float, ...]:
    return tuple(
        moments.get(i, math.inf) - words[i].end_s
        for i in counted
        if i in moments or never_counts
    )


def _stands_lags(
    kept_since_s: Mapping[int, float],
    counted: Sequence[int],
    words: Sequence[SpokenWord],
    never_counts: bool,
) -> tuple[float, ...]:
    """For each utterance whose words are all counted; none for one misheard wholly."""
    utterances: dict[int, list[int]] = {}
    for i, word in enumerate(words):
        utterances.setdefault(word.utterance, []).append(i)
    lags = []
    for indices in utterances.values():
        if not set(indices) <= set(counted):
            continue
        moments = [
            kept_since_s.get(i, math.inf)
            for i in indices
            if i in kept_since_s or never_counts
        ]
        if moments:
            lags.append(max(moments) - words[indices[-1]].end_s)
    return tuple(lags)


def _final_lags(
    moments: Mapping[int, float], counted: Sequence[int], words: Sequence[SpokenWord]
) -> tuple[float, ...]:
    """Utterances whose last word is counted; one without a final never had it."""
    lasts = [
        i
        for i in counted
        if i + 1 == len(words) or words[i + 1].utterance != words[i].utterance
    ]
    return tuple(moments.get(i, math.inf) - words[i].end_s for i in lasts)


def _first_partial(log: SessionLog) -> float | None:
    if not log.words:
        return None
    for at_s, message in log.arrivals:
        if any(segment.text.strip() for segment in read_segments(message) or ()):
            return at_s - log.words[0].start_s
    return math.inf


def _said_until(log: SessionLog) -> float:
    """How much of the recording was sent."""
    return log.sends[-1].due_s if log.sends else 0.0


def _late_sends(sends: Sequence[Sent]) -> int:
    late, free_s = 0, 0.0
    for sent in sends:
        late += sent.at_s - max(sent.due_s, free_s) > LATE_S
        free_s = sent.until_s
    return late


def _account(said: Sequence[str], heard: Sequence[str]) -> Account:
    """Word by word; what is no mark at all is invented, under the number -1."""
    numbers = [
        int(word[1:]) if word[:1] == "w" and word[1:].isdecimal() else -1
        for word in heard
    ]
    return account_for([int(word[1:]) for word in said], numbers)


def _errors(
    said: Sequence[str], heard: Sequence[str], account: Account | None
) -> tuple[int, int, int]:
    """Substituted, missing, added; an account needs no alignment.

    A mark that stands behind a later one counts as substituted.
    """
    if account is not None:
        added = len(account.doubled) + len(account.invented)
        return len(account.out_of_order), len(account.lost), added
    alignment = align(heard, said)
    return alignment.substituted, alignment.missing, alignment.added


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the common beginning."""
    for i, (a, b) in enumerate(zip(left, right)):
        if a != b:
            return i
    return min(len(left), len(right))
