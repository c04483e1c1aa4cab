"""What a call costs in a comparison, as flags of both servers.

    demo                the demo model                     clients speak its sentences
    model:DIR           another model                      the same
    weights:SHAPE       random weights of a model's shape  clients send marks
    CALL,ROW            the oracle sleeps so many seconds  the same

A real model reads what the clients say.  With the other two the words are the oracle's
marks on both sides, so that each is accounted for, and the work is real calls whose
text nobody reads, or none.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.engine import random_model
from whisper_live.config.model import EngineConfig
from whisper_live.inference import model_files as models

__all__ = ["Cost", "cost_of"]

# Where an untrained model's short contexts begin; a real one names its own (``auto``).
_SHORT_FLOOR_S = "5"


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of work for the servers, with the flags that ask for it."""

    key: str  # as it was asked for
    label: str
    material: Literal["marks", "sentences"]
    ours: Mapping[str, tuple[str, ...]]  # by audio context: short, full, or "" for any
    upstream: tuple[str, ...]  # which knows full contexts only
    module: str = "whisper_live"
    weights: Path | None = None  # a folder with a model, for its hash

    @property
    def slug(self) -> str:
        """Its name in paths."""
        return self.key.replace("/", "-").replace(":", "-").replace(",", "-")


@contextmanager
def cost_of(key: str, args: argparse.Namespace) -> Iterator[Cost]:
    """Read one ``--cost``; random weights are made, and last as long as the context."""
    kind, _, name = key.partition(":")
    if kind == "weights":
        borrowed = models.resolve(EngineConfig(model=args.tokenizer_of), print)
        with tempfile.TemporaryDirectory() as scratch:
            folder = random_model.build(
                random_model.SHAPES[name],
                Path(scratch) / name,
                tokenizer=borrowed / "tokenizer.json",
                quantization=args.quantization,
            )
            common = ("--engine", "local", "--model", str(folder))
            yield Cost(
                key,
                f"random {args.quantization} weights of {name}'s shape",
                "marks",
                {
                    "short": (*common, "--audio-context", _SHORT_FLOOR_S),
                    "full": (*common, "--audio-context", "full"),
                },
                ("--marks", "--weights", str(folder)),
                module="bench.engine.weighted",
                weights=folder,
            )
    elif kind in ("demo", "model"):
        folder = models.resolve(EngineConfig(model=name or "demo"), print)
        common = ("--engine", "local", "--model", name or "demo")
        yield Cost(
            key,
            f"the {kind if kind == 'demo' else folder.name} model",
            "sentences",
            {
                "short": (*common, "--audio-context", "auto"),
                "full": (*common, "--audio-context", "full"),
            },
            ("--model", str(folder)),
            weights=folder,
        )
    else:
        call_s, row_s = (str(float(part)) for part in key.split(","))
        oracle = ("--engine", "oracle")
        yield Cost(
            key,
            f"the oracle, {call_s} s a call and {row_s} s a row",
            "marks",
            {"": (*oracle, "--oracle-call-s", call_s, "--oracle-row-s", row_s)},
            ("--marks", "--call-s", call_s, "--row-s", row_s),
        )
