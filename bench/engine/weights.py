"""The cost of a Whisper model whose text nobody needs: real calls on random weights.

    weights = Weights("/tmp/tiny", device="cpu")
    weights.spend([features, ...], beams=1, words=12)

Encodes real features and decodes a fixed number of tokens (the end mark is suppressed),
so that the cost of a call depends on what was said, not on what noise the weights
happen to write.  Both contenders of a comparison spend here: see ``weighted`` (ours)
and ``upstream``.  Imports nothing of ours, for it also runs in upstream's environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ctranslate2
import numpy as np

__all__ = ["Weights", "tokens_for"]

FULL_HOPS = 3000  # 30 s
# English speech is about 1.3 tokens a word; two timestamps frame each phrase.
_TOKENS_PER_WORD, _MARK_TOKENS = 1.3, 4


def tokens_for(words: int) -> int:
    """How many tokens so many words take."""
    return round(_TOKENS_PER_WORD * words) + _MARK_TOKENS


class Weights:
    """One model folder, loaded; thread-safe as CTranslate2 is."""

    def __init__(
        self,
        folder: str,
        *,
        device: str = "cpu",
        compute_type: str = "int8",
        workers: int = 1,
        threads: int = 1,
    ) -> None:
        self._model = ctranslate2.models.Whisper(
            folder,
            device=device,
            compute_type=compute_type,
            inter_threads=workers if device == "cpu" else 1,
            intra_threads=threads,
        )
        self.mels: int = self._model.n_mels
        # <|startoftranscript|><|en|><|transcribe|> of multilingual models; the end
        # mark stands before the first.
        self._end = 50257
        self._prompt = [50258, 50259, 50359 + (self.mels == 128)]

    def spend(
        self,
        features: Sequence[np.ndarray[Any, Any]],
        *,
        beams: int,
        words: int,
        hops: int = FULL_HOPS,
    ) -> None:
        """One encode and one generate over rows of ``[mels, n]``, padded to ``hops``.

        ``words``: of the row that says most, for a batch ends with its longest row.
        """
        batch = np.zeros((len(features), self.mels, hops), np.float32)
        for target, row in zip(batch, features):
            width = min(hops, row.shape[1])
            target[:, :width] = row[:, :width]
        memory = self._model.encode(ctranslate2.StorageView.from_array(batch))
        self._model.generate(
            memory,
            [self._prompt] * len(features),
            beam_size=beams,
            max_length=len(self._prompt) + tokens_for(words),
            suppress_tokens=[self._end],
            return_no_speech_prob=True,
        )
