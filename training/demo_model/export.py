"""Write weights as a CTranslate2 Whisper model directory, int8.

Goes straight to CTranslate2's ``WhisperSpec``: no Transformers model in between. The
spec is filled from plain arrays, so that ``random_model`` can build a model of any
dimensions without torch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.demo_model.tokens import LANGUAGES, VOCABULARY_SIZE, Tokens

__all__ = ["export", "random_model", "write_model"]

Weights = dict[str, NDArray[np.float32]]

# Kept at the first step: " " alone. Whisper also suppresses the end of text there;
# this model needs it to say nothing over noise when asked for no timestamps.
_SUPPRESSED_AT_BEGIN = [220]


def _linear(spec: LinearSpec, weights: Weights, *names: str) -> None:
    """Fill a linear layer, several projections stacked into one."""
    spec.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    biases = []
    for name in names:
        rows = len(weights[f"{name}.weight"])
        biases.append(weights.get(f"{name}.bias", np.zeros(rows, np.float32)))
    spec.bias = np.concatenate(biases)


def _norm(spec: LayerNormSpec, weights: Weights, name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


def _layer(spec: Any, weights: Weights, name: str, cross: bool) -> None:
    attention = f"{name}.attention"
    _norm(spec.self_attention.layer_norm, weights, f"{name}.attention_norm")
    _linear(
        spec.self_attention.linear[0],
        weights,
        *(f"{attention}.{part}" for part in ("query", "key", "value")),
    )
    _linear(spec.self_attention.linear[1], weights, f"{attention}.out")
    if cross:
        attention = f"{name}.cross"
        _norm(spec.attention.layer_norm, weights, f"{name}.cross_norm")
        _linear(spec.attention.linear[0], weights, f"{attention}.query")
        _linear(
            spec.attention.linear[1], weights, f"{attention}.key", f"{attention}.value"
        )
        _linear(spec.attention.linear[2], weights, f"{attention}.out")
    _norm(spec.ffn.layer_norm, weights, f"{name}.mlp_norm")
    _linear(spec.ffn.linear_0, weights, f"{name}.mlp.0")
    _linear(spec.ffn.linear_1, weights, f"{name}.mlp.2")


def write_model(
    folder: Path,
    weights: Weights,
    tokenizer: Tokenizer,
    *,
    layers: tuple[int, int],
    heads: int,
    alignment_heads: list[tuple[int, int]],
    quantization: str | None = "int8",
    extra_config: dict[str, Any] | None = None,
) -> None:
    """Write a directory that faster-whisper loads.

    ``weights`` uses the names of ``model.DemoWhisper``, with all 51865 rows of
    "embedding.weight" present. ``quantization`` None keeps float32.
    """
    spec = WhisperSpec(layers[0], heads, layers[1], heads)
    encoder, decoder = spec.encoder, spec.decoder
    for name in ("conv1", "conv2"):
        conv = getattr(encoder, name)
        conv.weight, conv.bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    encoder.position_encodings.encodings = weights["positions"]
    for index, layer in enumerate(encoder.layer):
        _layer(layer, weights, f"encoder.{index}", cross=False)
    _norm(encoder.layer_norm, weights, "encoder_norm")
    decoder.embeddings.weight = weights["embedding.weight"]
    decoder.projection.weight = weights["embedding.weight"]
    decoder.position_encodings.encodings = weights["text_positions"]
    for index, layer in enumerate(decoder.layer):
        _layer(layer, weights, f"decoder.{index}", cross=True)
    _norm(decoder.layer_norm, weights, "decoder_norm")

    vocabulary = tokenizer.get_vocab()
    spec.register_vocabulary(sorted(vocabulary, key=vocabulary.__getitem__))
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = _SUPPRESSED_AT_BEGIN
    spec.config.lang_ids = [
        tokenizer.token_to_id(f"<|{language}|>") for language in LANGUAGES
    ]
    spec.config.alignment_heads = alignment_heads
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    config_path = folder / "config.json"
    config = json.loads(config_path.read_text()) | (extra_config or {})
    config_path.write_text(json.dumps(config) + "\n")
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "feature_size": weights["conv1.weight"].shape[1],
                "sampling_rate": 16000,
                "hop_length": 160,
                "chunk_length": 30,
                "n_fft": 400,
            }
        )
        + "\n"
    )


def random_model(
    folder: Path, tokenizer: Tokenizer, width: int, heads: int, layers: tuple[int, int]
) -> None:
    """Write a model of random weights, to time dimensions against one another."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> NDArray[np.float32]:
        return (0.02 * rng.standard_normal(shape)).astype(np.float32)

    weights: Weights = {
        "conv1.weight": draw(width, 80, 3),
        "conv1.bias": draw(width),
        "conv2.weight": draw(width, width, 3),
        "conv2.bias": draw(width),
        "positions": draw(1500, width),
        "text_positions": draw(448, width),
        "embedding.weight": draw(VOCABULARY_SIZE, width),
    }
    names = [f"encoder.{n}" for n in range(layers[0])]
    names += [f"decoder.{n}" for n in range(layers[1])]
    for name in [*names, "encoder", "decoder"]:
        parts = ["_norm"] if "." not in name else []
        if not parts:
            parts = [".attention_norm", ".cross_norm", ".mlp_norm"]
            for attention in (".attention", ".cross"):
                for part in (".query", ".key", ".value", ".out"):
                    weights[f"{name}{attention}{part}.weight"] = draw(width, width)
            weights[f"{name}.mlp.0.weight"] = draw(4 * width, width)
            weights[f"{name}.mlp.2.weight"] = draw(width, 4 * width)
        for part in parts:
            weights[f"{name}{part}.weight"] = np.ones(width, np.float32)
            weights[f"{name}{part}.bias"] = np.zeros(width, np.float32)
    write_model(
        folder, weights, tokenizer, layers=layers, heads=heads, alignment_heads=[(0, 0)]
    )


def export(
    checkpoint: Path,
    tokenizer: Tokenizer,
    folder: Path,
    quantization: str | None,
    *,
    other: Path | None = None,
    share: float = 0.4,
) -> None:
    """Write the averaged weights of a training checkpoint to ``folder``.

    With an ``other`` one, that went on from the same weights, a mean of the two in
    which it has ``share``.  Of speech without pauses a run for sentences reads 8.0 % of
    words wrong, one for strangers' digits 9.6 %, their mean 8.5 %; of such digits they
    read 10.4, 6.2 and 7.0 % wrong.
    """
    # Only here: everything else in this module runs where torch is not installed.
    import torch

    from training.demo_model.model import (
        GUIDED_HEADS,
        DemoWhisper,
        Shape,
        average_weights,
    )

    state = torch.load(checkpoint, map_location="cpu")
    average = state["average"]
    if other is not None:
        more = average_weights(other)
        average = {
            name: value + share * (more[name] - value)
            for name, value in average.items()
        }
    shape = Shape(**state["shape"])
    model = DemoWhisper(shape)
    model.load_state_dict(average)
    weights: Weights = {
        name: value.numpy()
        for name, value in model.state_dict().items()
        if not name.startswith(("ctc.", "time_map."))
    }
    tokens = Tokens(tokenizer)
    assert tokens.size == shape.rows, "the grammar has changed since training"
    trained = model.table().detach().numpy()
    # Every token outside the domain gets the row trained to stand for them all.
    rows = np.repeat(trained[:1], VOCABULARY_SIZE, axis=0)
    rows[tokens.full_ids[1:]] = trained[1:]
    weights["embedding.weight"] = rows
    heads = [(layer, head) for layer, n in GUIDED_HEADS.items() for head in range(n)]
    write_model(
        folder,
        weights,
        tokenizer,
        layers=(shape.encoder_layers, shape.decoder_layers),
        heads=shape.heads,
        alignment_heads=heads,
        quantization=quantization,
        extra_config={"whisper_live": {"demo": True, "min_audio_context_s": 2.0}},
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line: ``export CHECKPOINT TOKENIZER FOLDER [--mean-with OTHER]``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mean-with", type=Path, help="checkpoint or npz")
    parser.add_argument("--share", type=float, default=0.4, help="of the other one")
    parser.add_argument("--float32", action="store_true", help="for comparison only")
    options = parser.parse_args(arguments)
    if options.folder.exists():
        for name in ("model.bin", "config.json", "vocabulary.json"):
            (options.folder / name).unlink(missing_ok=True)
    tokenizer = Tokenizer.from_file(str(options.tokenizer))
    quantization = None if options.float32 else "int8"
    export(
        options.checkpoint,
        tokenizer,
        options.folder,
        quantization,
        other=options.mean_with,
        share=options.share,
    )


if __name__ == "__main__":
    main()
