"""Whisper models of true size with random weights, for measuring without downloads.

Speed and memory of a model depend on its shape alone, its text on nothing else than
its weights: what comes out of these is noise, but it takes as long as the real thing.
The tokenizer is borrowed from another model folder.

    python -m bench.engine.random_model tiny /tmp/tiny --tokenizer-of DIR
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from ctranslate2.specs import WhisperSpec
from numpy.typing import NDArray

__all__ = ["SHAPES", "Shape", "build"]

ENCODER_POSITIONS, DECODER_POSITIONS = 1500, 448


@dataclass(frozen=True, slots=True)
class Shape:
    """Dimensions of a Whisper model; a head has 64 of the width."""

    width: int
    encoder_layers: int
    decoder_layers: int
    mels: int = 80
    vocabulary: int = 51865


SHAPES = {
    "nano": Shape(64, 1, 1),  # for tests
    "tiny": Shape(384, 4, 4),
    "base": Shape(512, 6, 6),
    "small": Shape(768, 12, 12),
    "medium": Shape(1024, 24, 24),
    "large-v3": Shape(1280, 32, 32, mels=128, vocabulary=51866),
    "large-v3-turbo": Shape(1280, 32, 4, mels=128, vocabulary=51866),
}


def build(
    shape: Shape,
    folder: Path,
    *,
    tokenizer: Path,
    quantization: str | None = None,
    seed: int = 0,
) -> Path:
    """Write a model into ``folder``, which must not exist; returns it.

    ``tokenizer``: a ``tokenizer.json``.  ``quantization``: as CTranslate2 names them,
    None keeps float32.
    """
    heads = shape.width // 64
    spec = WhisperSpec(shape.encoder_layers, heads, shape.decoder_layers, heads)
    _fill(spec, shape, np.random.default_rng(seed))
    tokens = _vocabulary(tokenizer, shape.vocabulary)
    spec.register_vocabulary(tokens)
    spec.config.lang_ids = [
        token_id
        for token_id, token in enumerate(tokens)
        if token.startswith("<|") and 2 <= len(token) - 4 <= 3 and token[2:-2].isalpha()
    ]
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [220, tokens.index("<|endoftext|>")]
    middle = shape.decoder_layers // 2
    spec.config.alignment_heads = [
        [layer, head]
        for layer in range(middle, shape.decoder_layers)
        for head in range(heads)
    ]
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True)
    spec.save(str(folder))
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    features = {"feature_size": shape.mels, "sampling_rate": 16000, "hop_length": 160}
    (folder / "preprocessor_config.json").write_text(json.dumps(features))
    return folder


def _vocabulary(tokenizer: Path, size: int) -> list[str]:
    known = tokenizers.Tokenizer.from_file(str(tokenizer)).get_vocab()
    by_id = {token_id: token for token, token_id in known.items()}
    return [by_id.get(token_id, f"<|unused{token_id}|>") for token_id in range(size)]


def _fill(spec: Any, shape: Shape, rng: np.random.Generator) -> None:
    width = shape.width

    def matrix(*dimensions: int) -> NDArray[np.float32]:
        # keeps the variance of its input, so that activations look like real ones
        fan_in = int(np.prod(dimensions[1:]))
        values = rng.standard_normal(dimensions, dtype=np.float32)
        values *= np.float32(fan_in**-0.5)
        return values

    def linear(target: Any, rows: int, columns: int) -> None:
        target.weight = matrix(rows, columns)
        target.bias = np.zeros(rows, dtype=np.float32)

    def norm(target: Any) -> None:
        target.gamma = np.ones(width, dtype=np.float32)
        target.beta = np.zeros(width, dtype=np.float32)

    def attention(target: Any, sizes: tuple[int, ...]) -> None:
        norm(target.layer_norm)
        for part, rows in zip(target.linear, sizes, strict=True):
            linear(part, rows, width)

    def feed_forward(target: Any) -> None:
        norm(target.layer_norm)
        linear(target.linear_0, 4 * width, width)
        linear(target.linear_1, width, 4 * width)

    encoder, decoder = spec.encoder, spec.decoder
    for conv, channels in ((encoder.conv1, shape.mels), (encoder.conv2, width)):
        conv.weight = matrix(width, channels, 3)
        conv.bias = np.zeros(width, dtype=np.float32)
    encoder.position_encodings.encodings = matrix(ENCODER_POSITIONS, width)
    decoder.position_encodings.encodings = matrix(DECODER_POSITIONS, width)
    decoder.embeddings.weight = matrix(shape.vocabulary, width)
    decoder.projection.weight = decoder.embeddings.weight
    norm(encoder.layer_norm)
    norm(decoder.layer_norm)
    for layer in encoder.layer:
        attention(layer.self_attention, (3 * width, width))
        feed_forward(layer.ffn)
    for layer in decoder.layer:
        attention(layer.self_attention, (3 * width, width))
        attention(layer.attention, (width, 2 * width, width))
        feed_forward(layer.ffn)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer-of", type=Path, required=True, metavar="DIR")
    parser.add_argument("--quantization", default="int8")
    args = parser.parse_args()
    build(
        SHAPES[args.shape],
        args.folder,
        tokenizer=args.tokenizer_of / "tokenizer.json",
        quantization=None if args.quantization == "float32" else args.quantization,
    )


if __name__ == "__main__":
    main()
