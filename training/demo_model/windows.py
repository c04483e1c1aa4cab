"""Compose training windows: clips with pauses, cuts and noise, and their targets.

A window is what one decoder call sees: up to 30 s of audio with any number of
utterances, possibly beginning or ending in the middle of one. The targets follow
Whisper's own rules, and where Whisper leaves a choice, this one:

- an utterance is a segment: start timestamp, text, end timestamp;
- an utterance cut off by the window's end keeps the words that are in, has no full
  stop and no end timestamp, so that faster-whisper's long-form loop decodes it again
  from its start and a live window shows it at once;
- the first timestamp is at most 1 s, faster-whisper's ``max_initial_timestamp``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from training.demo_model import grammar
from training.demo_model.augment import Augmenter
from training.demo_model.dataset import Clip
from training.demo_model.domain import DIGITS, PHRASES
from training.demo_model.features import FLOOR, HOP_S, MELS, normalised
from training.demo_model.tokens import Tokens

__all__ = ["Composer", "Example", "LONGEST_PROMPT", "POSITION_S"]

Mel = NDArray[np.float32]
POSITION_S = 0.02
_MAX_FIRST_TIMESTAMP_S = 1.0
_POSITIONS = 448  # of the decoder
LONGEST_PROMPT = 223  # as much previous text as faster-whisper gives

# A word cut by the window's edge is kept if no more than this share of it is lost.
_LOST_SHARE = 0.25

_HUMAN_SHARE = 0.3  # of English windows have single digits of one speaker
_UNBROKEN_SHARE = 0.2  # of windows, whose speaker never pauses


@dataclass
class _Utterance:
    """A clip placed in a window; ``words`` are (text, start, end) inside it, in s.

    ``missed``: its words that were over before the window began.
    """

    clip: Clip
    missed: list[str]
    words: list[tuple[str, float, float]]
    cut_at_end: bool
    start: float
    end: float


@dataclass
class Example:
    """One training example.

    ``mel``: normalised, [frames, 80]. ``tokens``: compact ids fed and predicted.
    ``first_target``: index in ``tokens`` of the first predicted one. ``spans``:
    (token index, start, end) of tokens of a known word, in s. ``phonemes``: CTC
    target, letters joined.
    """

    mel: Mel
    tokens: list[int]
    first_target: int
    spans: list[tuple[int, float, float]] = field(default_factory=list)
    phonemes: list[int] = field(default_factory=list)


class Composer:
    """Draws windows from clips.

    ``clips``: (log10 mel, Clip) pairs. ``phonemes``: (language, word) to CTC ids.
    """

    def __init__(
        self,
        clips: list[tuple[NDArray[np.float16], Clip]],
        tokens: Tokens,
        phonemes: dict[str, list[int]],
        seed: int,
    ) -> None:
        self._rng = random.Random(seed)
        self._np = np.random.default_rng(seed)
        self._tokens = tokens
        self._phonemes = phonemes
        self._longest_prompt = 0
        self._by_language: dict[str, list[tuple[NDArray[np.float16], Clip]]] = {
            "en": [],
            "de": [],
        }
        self._digits: dict[str, list[tuple[NDArray[np.float16], Clip]]] = {}
        self._strings: list[tuple[NDArray[np.float16], Clip]] = []
        self._phrases: list[tuple[NDArray[np.float16], Clip]] = []
        digits = set(DIGITS)
        for item in clips:
            if item[1].speaker.startswith("digits:"):
                self._digits.setdefault(item[1].speaker, []).append(item)
            else:
                self._by_language[item[1].language].append(item)
                words = grammar.normalise(item[1].text)
                if len(words) > 1 and digits.issuperset(words):
                    self._strings.append(item)
                if item[1].text in PHRASES:
                    self._phrases.append(item)
        voices = [mel for mel, _ in self._by_language["en"]]
        self._augmenter = Augmenter(self._np, voices)

    def example(
        self,
        frames: int,
        strength: float,
        crowded: float,
        prompt: int,
        *,
        digits: bool = False,
    ) -> Example:
        """Compose one window of exactly ``frames`` mel rows (10 ms each).

        ``crowded`` is the probability of filling it with as many utterances as fit;
        ``prompt`` the most tokens of previous text; ``digits``: nothing but digits.
        """
        rng = self._rng
        self._longest_prompt = prompt
        content = frames
        if rng.random() < 0.45 or frames >= 3000:
            # Padding after the content. At 30 s anything from one word to all full.
            shortest = min(0.25 * frames, 100.0)
            content = round(rng.uniform(shortest, frames))
            if frames >= 3000 and rng.random() < 0.75:
                short = round(rng.uniform(shortest, 800))
                content = rng.choice((frames, frames, short))
        if rng.random() < 0.08:
            return self._silent(frames, content, strength)
        language = "de" if rng.random() < 0.28 and not digits else "en"
        translate = language == "de" and rng.random() < 0.5
        human = language == "en" and (digits or rng.random() < _HUMAN_SHARE)
        speaker = self._digit_speaker() if human and self._digits else None
        utterances, power = self._place(
            content, language, translate, speaker, strength, crowded
        )
        if not utterances:
            return self._silent(frames, content, strength)
        mel = self._finish(power, strength)
        mel = self._padded(mel, frames)
        return self._targets(mel, utterances, language, translate)

    def _silent(self, frames: int, content: int, strength: float) -> Example:
        """Compose a window without speech, which must give no text."""
        rng = self._rng
        if rng.random() < 0.2:
            mel = np.full((content, MELS), FLOOR, np.float32)
        else:
            mel = self._augmenter.background(content) + rng.uniform(-6, 2)
        mel = self._padded(normalised(np.maximum(mel, FLOOR)), frames)
        tokens = self._tokens
        sequence = [*self._prompt("en", []), tokens.sot]
        first = len(sequence)
        # Predicted after <|startoftranscript|>; what is then fed is a language, which
        # _sequence_pairs of train.py draws anew.
        sequence += [tokens.no_speech]
        sequence += [tokens.transcribe]
        if rng.random() < 0.6:
            sequence += [tokens.timestamp(0.0)]
        else:
            sequence += [tokens.no_timestamps]
        sequence += [tokens.eot]
        return Example(mel, sequence, first)

    def _place(
        self,
        frames: int,
        language: str,
        translate: bool,
        speaker: str | None,
        strength: float,
        crowded: float,
    ) -> tuple[list[_Utterance], Mel]:
        """Lay utterances out; return them and the linear mel power of the window.

        ``speaker`` of single digits, or None for sentences of any voices.
        """
        rng = self._rng
        power = np.zeros((frames, MELS), np.float32)
        utterances: list[_Utterance] = []
        most = 99 if rng.random() < crowded else rng.choice((1, 1, 1, 2, 3))
        pace = rng.choice((0.3, 0.8, 1.5))
        unbroken = rng.random() < _UNBROKEN_SHARE
        at = 0
        if rng.random() < 0.5:
            at = round(100 * min(rng.expovariate(2.0), 3.0))
        cut_start = not translate and rng.random() < 0.35
        while at < frames - 15 and len(utterances) < most:
            mel, clip = self._pick(language, speaker)
            begin = 0
            if cut_start and not utterances:
                begin, at = self._beginning(clip), 0
            room = frames - at
            fits = len(mel) - begin <= room
            if not fits and (translate or rng.random() < 0.15):
                break
            part = mel[begin : begin + room].astype(np.float32)
            words = self._words_inside(clip, at, begin, frames)
            if len(words) == 0:
                if utterances or begin:
                    at += len(part)
                    cut_start = False
                    continue
            # Few of these speakers are people: change them as much as one can.
            part = self._augmenter.speaker(part, 1.4 if speaker else strength)
            part = part - part.max() + rng.uniform(-0.5, 0.5)
            if rng.random() < 0.3 * strength:
                part = part + rng.uniform(-1, 0)
            power[at : at + len(part)] += 10**part
            if words:
                utterances.append(
                    _Utterance(
                        clip,
                        self._missed(clip, begin),
                        words,
                        not fits,
                        at * HOP_S if begin else words[0][1],
                        words[-1][2],
                    )
                )
            at += len(part)
            gap = rng.expovariate(1 / pace) + (0.05 if rng.random() < 0.3 else 0.2)
            if speaker:
                gap = rng.uniform(0.0, 1.0)
            if unbroken:
                gap = rng.uniform(-0.08, 0.03)
            at += round(100 * min(gap, 6.0))
        return utterances, power

    def _pick(
        self, language: str, speaker: str | None
    ) -> tuple[NDArray[np.float16], Clip]:
        if speaker is not None:
            if self._rng.random() < 0.5:
                return self._digit_string(speaker)
            return self._digit(speaker)
        # Nothing but the sound helps with digit strings, so they get more practice
        # than their 6 % of the clips. Of each phrase there are some 60 clips, 1 in
        # 1200: "Good morning" was taken for "the morning", which many sentences have.
        if language == "en":
            chance = self._rng.random()
            if chance < 0.1:
                return self._rng.choice(self._strings)
            if chance < 0.15 and self._phrases:
                return self._rng.choice(self._phrases)
        return self._rng.choice(self._by_language[language])

    def _digit_speaker(self) -> str:
        """Draw who says single digits: a person or voice, then one of its voices."""
        original = self._rng.choice(sorted({s.split("~")[0] for s in self._digits}))
        return self._rng.choice(
            [s for s in self._digits if s.split("~")[0] == original]
        )

    def _digit(self, speaker: str) -> tuple[NDArray[np.float16], Clip]:
        """Draw a single digit of one speaker, said at another pace.

        Who dictates digits may take twice as long for each as another does, and
        nobody divides a word's length among its sounds as another does. Factors of
        0.7 to 1.4 did not reach a slow speaker: played at 1.25 times the speed, a
        third of the wrong digits of one left out came right.
        """
        rng = self._rng
        mel, clip = rng.choice(self._digits[speaker])
        whole = 2 ** rng.uniform(-1.0, 0.5)
        paces = [whole * 2 ** rng.uniform(-0.5, 0.5) for _ in range(4)]
        steps = np.interp(np.linspace(0, 3, len(mel)), range(4), paces)
        ends = np.cumsum(1 / steps)  # where each of the old frames ends in the new
        frames = max(1, int(ends[-1]))
        mel = mel[np.minimum(np.searchsorted(ends, np.arange(frames)), len(mel) - 1)]
        return mel, replace(clip, frames=frames, words=[(0.0, frames * HOP_S)])

    def _digit_string(self, speaker: str) -> tuple[NDArray[np.float16], Clip]:
        """Join single digits of one speaker to a string of 2 to 7."""
        rng = self._rng
        chosen = [self._digit(speaker) for _ in range(rng.randint(2, 7))]
        rows: list[NDArray[np.float16]] = []
        words: list[tuple[float, float]] = []
        at = 0
        for index, (mel, _) in enumerate(chosen):
            if index:
                gap = rng.randrange(0, 30)
                rows.append(np.full((gap, MELS), mel.min(), np.float16))
                at += gap
            rows.append(mel)
            words.append((at * HOP_S, (at + len(mel)) * HOP_S))
            at += len(mel)
        text = " ".join(grammar.normalise(clip.text)[0] for _, clip in chosen)
        text = f"{text.capitalize()}."
        clip = Clip(0, at, text, "en", text, speaker, words)
        return np.concatenate(rows), clip

    def _beginning(self, clip: Clip) -> int:
        """Draw the frame from which a clip is heard: about a word's first, or any.

        Speech detection opens a window late as often as it opens one early.
        """
        chance = self._rng.random()
        if chance < 0.3:
            return self._rng.randrange(clip.frames)
        word = clip.words[0] if chance < 0.7 else self._rng.choice(clip.words)
        start = word[0] + self._rng.uniform(-0.06, 0.06)
        return min(max(round(100 * start), 0), clip.frames - 1)

    @staticmethod
    def _missed(clip: Clip, begin: int) -> list[str]:
        """Return the words that are over at frame ``begin``."""
        ends = zip(clip.text.split(), clip.words, strict=True)
        return [word for word, (_, end) in ends if end <= begin * HOP_S]

    @staticmethod
    def _words_inside(
        clip: Clip, at: int, begin: int, frames: int
    ) -> list[tuple[str, float, float]]:
        """Return the words that are (nearly) whole between the window's edges."""
        left, right = begin * HOP_S, (begin + frames - at) * HOP_S
        shift = at * HOP_S - left
        inside = []
        for word, (start, end) in zip(clip.text.split(), clip.words, strict=True):
            allowed = _LOST_SHARE * (end - start)
            if start >= left - allowed and end <= right + allowed:
                inside.append((word, max(start, left) + shift, min(end, right) + shift))
        return inside

    def _finish(self, power: Mel, strength: float) -> Mel:
        """Add room, noise and channel to linear power; return normalised mel."""
        rng = self._rng
        if rng.random() < 0.4 * strength:
            power = self._augmenter.reverberate(power)
        if rng.random() < 0.75:
            worst = 4.5 - 3.3 * strength  # log10 of the lowest signal-to-noise ratio
            level = -rng.uniform(worst, 6.5)
            power = power + 10 ** (self._augmenter.background(len(power)) + level)
        mel = np.log10(np.maximum(power, 1e-10))
        mel = self._augmenter.channel(mel, strength)
        mel = np.maximum(mel + rng.uniform(-2, 2), FLOOR)
        return self._augmenter.mask(normalised(mel), 0.6 * strength)

    def _padded(self, mel: Mel, frames: int) -> Mel:
        """Fill up to ``frames``: zeros as faster-whisper does, or the mel's floor."""
        missing = frames - len(mel)
        if missing <= 0:
            return mel
        value = 0.0 if self._rng.random() < 0.75 else float(mel.min())
        return np.pad(mel, ((0, missing), (0, 0)), constant_values=value)

    def _prompt(self, language: str, missed: list[str]) -> list[int]:
        """Return previous text as faster-whisper gives it, or nothing.

        ``missed`` are the words of the first utterance that come before the window:
        whoever cuts a window at a word gives those before it as previous text.
        """
        rng, tokens = self._rng, self._tokens
        longest = self._longest_prompt
        if longest < 4 or rng.random() < (0.15 if longest == LONGEST_PROMPT else 0.4):
            return []
        # Mostly long: after half a minute of speech the prompt is full for good.
        budget = max(rng.randint(4, longest) for _ in range(2))
        if rng.random() < 0.5:
            budget = longest
        timestamps = rng.random() < 0.75
        text: list[int] = []
        at = rng.uniform(0, 2)
        while len(text) < budget:
            clip = self._rng.choice(self._by_language[language])[1]
            words = [token for word in clip.text.split() for token in tokens.word(word)]
            length = clip.frames * HOP_S
            if timestamps:
                words = [tokens.timestamp(at), *words, tokens.timestamp(at + length)]
            at = (at + length + rng.uniform(0.1, 2)) % 28
            text += words
        if missed and timestamps:
            text.append(tokens.timestamp(at))
        text += [token for word in missed for token in tokens.word(word)]
        return [tokens.previous, *text[-budget:]]

    def _targets(
        self, mel: Mel, utterances: list[_Utterance], language: str, translate: bool
    ) -> Example:
        rng, tokens = self._rng, self._tokens
        sequence = [*self._prompt(language, utterances[0].missed), tokens.sot]
        first = len(sequence)
        english = translate or (language == "en" and rng.random() < 0.02)
        sequence += [tokens.language(language)]
        sequence += [tokens.translate if english else tokens.transcribe]
        # Among many utterances the timestamps are what tells two decoder layers where
        # they are, and faster-whisper asks for them by default.
        timestamps = rng.random() < (0.88 if len(mel) > 1000 else 0.7)
        if not timestamps:
            sequence += [tokens.no_timestamps]
        spans: list[tuple[int, float, float]] = []
        phonemes: list[int] = []
        for index, utterance in enumerate(utterances):
            if timestamps:
                start = utterance.start
                if index == 0:
                    start = min(start, _MAX_FIRST_TIMESTAMP_S)
                else:  # timestamps never fall, also where utterances overlap
                    start = max(start, utterances[index - 1].end)
                sequence.append(tokens.timestamp(start))
            if translate:
                for word in utterance.clip.english.split():
                    sequence += tokens.word(word)
            last = len(utterance.words) - 1
            for place, (word, start, end) in enumerate(utterance.words):
                phonemes += self._phonemes[
                    f"{language} {' '.join(grammar.normalise(word))}"
                ]
                if translate:
                    continue
                if utterance.cut_at_end and place == last:
                    word = word.rstrip(".?")
                for token in tokens.word(word):
                    spans.append((len(sequence), start, end))
                    sequence.append(token)
            if timestamps and not utterance.cut_at_end:
                sequence.append(tokens.timestamp(max(start, utterance.end)))
        sequence.append(tokens.eot)
        # Rarely thirty crowded seconds leave no room for so much previous text.
        excess = max(len(sequence) - 1 - _POSITIONS, 0)
        assert excess < max(first - 1, 1), "the text alone is too long for the decoder"
        del sequence[1 : 1 + excess]
        spans = [(index - excess, start, end) for index, start, end in spans]
        return Example(mel, sequence, first - excess, spans, phonemes)
