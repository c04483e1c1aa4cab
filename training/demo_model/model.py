"""Whisper's architecture at d=128, with what training needs beside it.

Beyond the exported weights there is a CTC head on the encoder, and attention weights
of the decoder's cross-attention are returned so that some heads can be guided.
"""

# Where torch is not installed mypy sees Any for all of it.
# mypy: allow-subclassing-any, no-warn-unused-ignores

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.demo_model.tokens import TIMESTAMPS

__all__ = ["GUIDED_HEADS", "DemoWhisper", "Shape", "average_weights"]

# Decoder layer -> how many of its first cross-attention heads are trained to look at
# the word being written; they are the alignment heads of the exported model.
GUIDED_HEADS = {0: 2, 1: 2}

# On CPU, torch's fused attention runs forward and backward over 150 positions in 16 ms
# in float32 and 35 ms in bfloat16 (20 windows); over 1500 bfloat16 is the faster.
_SHORT = 1000


@dataclass(frozen=True)
class Shape:
    """Dimensions; ``rows`` is the number of trained token embeddings."""

    rows: int
    phonemes: int
    unused: int
    width: int = 128
    heads: int = 4
    encoder_layers: int = 4
    decoder_layers: int = 2
    mels: int = 80
    positions: int = 1500
    text_positions: int = 448


def sinusoids(length: int, channels: int) -> Tensor:
    """Return Whisper's fixed encoder positions, [length, channels]."""
    step = math.log(10000) / (channels // 2 - 1)
    inverse = torch.exp(-step * torch.arange(channels // 2))
    time = torch.arange(length)[:, None] * inverse[None, :]
    return torch.cat([time.sin(), time.cos()], dim=1)


class Attention(nn.Module):
    """Multi-head attention; the key projection has no bias, as in Whisper."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor, causal: bool = False) -> Tensor:
        """Attend from ``x`` [batch, n, width] to ``source`` [batch, m, width]."""
        query, key, value = self._split(x, source)
        if source.shape[1] < _SHORT:
            query, key, value = query.float(), key.float(), value.float()
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        mixed = mixed.to(x.dtype)
        merged: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return merged

    def weighted(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        """Attend and also return the weights, [batch, heads, n, m]."""
        query, key, value = self._split(x, source)
        weights = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(
            -1
        )
        return self.out((weights @ value).transpose(1, 2).flatten(2)), weights

    def _split(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.query(x), self.key(source), self.value(source))
        )
        return query, key, value


class Block(nn.Module):
    """A pre-norm transformer layer, with cross-attention in the decoder."""

    def __init__(
        self, width: int, heads: int, cross: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width)
        self.cross = Attention(width, heads) if cross else None
        self.cross_norm = nn.LayerNorm(width) if cross else None
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.mlp_norm = nn.LayerNorm(width)

    def encode(self, x: Tensor) -> Tensor:
        """Run an encoder layer."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, normed))
        mixed: Tensor = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return mixed

    def decode(self, x: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Run a decoder layer; return states and cross-attention weights."""
        assert self.cross is not None and self.cross_norm is not None
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, causal=True)
        mixed, weights = self.cross.weighted(self.cross_norm(x), audio)
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x)), weights


class DemoWhisper(nn.Module):
    """Encoder, decoder with tied embeddings, CTC head."""

    positions: Tensor
    times: Tensor

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        """``dropout``: share of what each encoder layer adds, left out in training."""
        super().__init__()
        self.shape = shape
        width = shape.width
        self.conv1 = nn.Conv1d(shape.mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        # Default initialisation leaves conv output at 0.04 against 0.68 of the
        # position table, which drowns the signal; these bring both to one size.
        with torch.no_grad():
            self.conv1.weight.mul_(3.0)
            self.conv2.weight.mul_(6.0)
        self.register_buffer("positions", sinusoids(shape.positions, width))
        self.encoder = nn.ModuleList(
            Block(width, shape.heads, False, dropout)
            for _ in range(shape.encoder_layers)
        )
        self.encoder_norm = nn.LayerNorm(width)
        self.ctc = nn.Linear(width, shape.phonemes + 1)
        self.embedding = nn.Embedding(shape.rows, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.text_positions = nn.Parameter(
            0.02 * torch.randn(shape.text_positions, width)
        )
        self.decoder = nn.ModuleList(
            Block(width, shape.heads, True) for _ in range(shape.decoder_layers)
        )
        self.decoder_norm = nn.LayerNorm(width)
        # A timestamp's embedding is its row plus a linear map of the encoder's own
        # position, so that late timestamps, which are rare, mean something from the
        # start. Without it attention was right in 90 % of words up to 5 s, 60 % up
        # to 10 s and 15 % beyond, after an hour.
        self.time_map = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.time_map.weight)
        self.register_buffer("times", sinusoids(TIMESTAMPS, width), persistent=False)

    def encode(self, mel: Tensor) -> Tensor:
        """Turn mel [batch, frames, 80] into states [batch, frames / 2, width]."""
        x = F.gelu(self.conv1(mel.transpose(1, 2)))
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for layer in self.encoder:
            x = layer.encode(x)  # type: ignore[operator]
        normed: Tensor = self.encoder_norm(x)
        return normed

    def decode(
        self, tokens: Tensor, audio: Tensor, offset: int = 0
    ) -> tuple[Tensor, list[Tensor]]:
        """Return states [batch, n, width] and each layer's cross-attention weights.

        The first token stands at text position ``offset``.
        """
        positions = self.text_positions[offset : offset + tokens.shape[1]]
        x = F.embedding(tokens, self.table()) + positions
        weights = []
        for layer in self.decoder:
            x, layer_weights = layer.decode(x, audio)  # type: ignore[operator]
            weights.append(layer_weights)
        return self.decoder_norm(x), weights

    def table(self) -> Tensor:
        """Return the embeddings of all rows, [rows, width]; timestamps are last."""
        return self.embedding.weight + F.pad(
            self.time_map(self.times), (0, 0, self.shape.rows - TIMESTAMPS, 0)
        )

    def logits(self, states: Tensor) -> Tensor:
        """Turn decoder states [..., width] into logits [..., rows].

        Row 0 stands for all unused tokens: its logit counts as many times.
        """
        bias = states.new_zeros(self.shape.rows)
        bias[0] = math.log(self.shape.unused)
        return states @ self.table().T + bias


def average_weights(path: Path) -> dict[str, Tensor]:
    """Read the average weights of a checkpoint, or those of ``weights.npz``."""
    if path.suffix == ".pt":
        average: dict[str, Tensor] = torch.load(path, map_location="cpu")["average"]
        return average
    return {
        name: torch.from_numpy(value.astype(np.float32))
        for name, value in np.load(path).items()
    }
