"""Train the demo model from shards; resumable, on CPU or CUDA.

The schedule follows elapsed training time rather than steps, so that a run on shared
cores ends when it should: ``--minutes`` is the whole of it. A checkpoint is written
every five minutes; starting again with the same folder goes on from there.
"""

# Where torch is not installed mypy sees Any for all of it.
# mypy: allow-subclassing-any, no-warn-unused-ignores

from __future__ import annotations

import argparse
import json
import math
import multiprocessing as mp
import os
import random
import time
from collections.abc import Iterator
from ctypes import c_double
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from training.demo_model import grammar
from training.demo_model.dataset import load_shards
from training.demo_model.model import (
    GUIDED_HEADS,
    DemoWhisper,
    Shape,
    average_weights,
)
from training.demo_model.synth import Espeak
from training.demo_model.tokens import Tokens
from training.demo_model.windows import LONGEST_PROMPT, POSITION_S, Composer, Example

__all__ = ["main", "phoneme_table"]

_PEAK_RATE = 2e-3
_CTC_WEIGHT = 0.4
_GUIDE_WEIGHT = 0.6
_GUIDE_MARGIN_S = 0.06
# Neighbouring timestamps share the target: 20 ms is finer than the word times are.
_TIMESTAMP_SPREAD = (0.1, 0.2, 0.4, 0.2, 0.1)
_EMA = 0.998
_CHECKPOINT_S = 300.0


def phoneme_table() -> dict[str, list[int]]:
    """Return CTC ids of every word of both languages, keyed "en kitchen"; 0 is blank.

    Letters of the IPA rather than whole phonemes: 50 symbols do.
    """
    espeak = Espeak()
    spelled = {
        f"{language} {word}": espeak.phonemes(word, language)
        for language in ("en", "de")
        for word in grammar.vocabulary(language)
    }
    letters = sorted({letter for letters in spelled.values() for letter in letters})
    ids = {letter: index + 1 for index, letter in enumerate(letters)}
    return {word: [ids[letter] for letter in text] for word, text in spelled.items()}


@dataclass
class Batch:
    """Collated examples; lengths differ only in tokens, phonemes and spans."""

    mel: Tensor  # [batch, frames, 80]
    inputs: Tensor  # [batch, n]
    targets: Tensor  # [batch, n], -1 where nothing is predicted
    phonemes: Tensor  # [sum of lengths]
    phoneme_lengths: Tensor  # [batch]
    spans: Tensor  # [spans, 4]: example, query, first and last position
    offset: Tensor  # [1]: text position of the first token

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        return Batch(*(part.to(device) for part in vars(self).values()))


def collate(examples: list[Example], tokens: Tokens, rng: random.Random) -> Batch:
    """Stack examples of one length."""
    longest = max(len(example.tokens) for example in examples) - 1
    inputs = torch.full((len(examples), longest), tokens.eot)
    targets = torch.full((len(examples), longest), -1)
    spans = []
    for row, example in enumerate(examples):
        ids = torch.tensor(example.tokens)
        inputs[row, : len(ids) - 1] = ids[:-1]
        first = example.first_target - 1
        targets[row, first : len(ids) - 1] = ids[first + 1 :]
        for index, start, end in example.spans:
            left = max(int((start - _GUIDE_MARGIN_S) / POSITION_S), 0)
            right = math.ceil((end + _GUIDE_MARGIN_S) / POSITION_S)
            spans.append((row, index - 1, left, right))
    # Text after a long prompt stands at positions that short sequences never reach.
    # Half of all batches begin somewhere else, so that all positions learn alike.
    offset = 0
    if rng.random() < 0.5:
        offset = rng.randrange(Shape.text_positions - longest + 1)
    # Without speech, the language given to the decoder is anybody's guess.
    unknown = inputs == tokens.no_speech
    inputs[unknown] = rng.choice((tokens.en, tokens.de))
    return Batch(
        torch.from_numpy(np.stack([example.mel for example in examples])),
        inputs,
        targets,
        torch.tensor([p for example in examples for p in example.phonemes]),
        torch.tensor([len(example.phonemes) for example in examples]),
        torch.tensor(spans).reshape(-1, 4),
        torch.tensor([offset]),
    )


@dataclass(frozen=True)
class Stage:
    """What windows look like from a share of the run on.

    ``frames``: range of short windows; ``full``: share of batches of 30-s windows;
    ``crowded``: probability of filling a window; ``strength``: of augmentation.
    """

    since: float
    frames: tuple[int, int]
    full: float
    crowded: float
    strength: float


_STAGES = (
    Stage(0.00, (120, 400), 0.0, 0.2, 0.2),
    Stage(0.10, (160, 800), 0.0, 0.4, 0.35),
    Stage(0.25, (160, 1200), 0.1, 0.5, 0.5),
    Stage(0.40, (160, 1200), 0.3, 0.5, 0.5),
    Stage(0.50, (160, 2000), 0.5, 0.65, 0.5),
    Stage(0.88, (160, 2000), 0.65, 0.65, 0.4),
)


def stage_at(progress: float) -> Stage:
    """Return the stage of a run of which ``progress`` (0 to 1) is done."""
    return [stage for stage in _STAGES if stage.since <= progress][-1]


class Batches(IterableDataset[Batch]):
    """An endless stream of batches, of about ``positions`` encoder positions each."""

    def __init__(
        self,
        options: argparse.Namespace,
        tokens: Tokens,
        progress: Any,
        stream: tuple[int, int],
    ) -> None:
        self._options = options
        # (process, step resumed from): no two streams of a run draw the same windows.
        self._stream = stream
        self._tokens = tokens
        self._progress = progress

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        os.nice(3)
        rng = random.Random(f"{self._options.seed} {self._stream}")
        options = self._options
        exclude = tuple(f"fsdd_{name}" for name in options.leave_out)
        known = -1
        while True:
            # New shards may have appeared since: read the folder again now and then.
            present = len(list(options.clips.glob("*.jsonl")))
            if present != known:
                clips = load_shards(options.clips, exclude)
                table = json.loads((options.run / "phonemes.json").read_text())
                composer = Composer(clips, self._tokens, table, rng.randrange(1 << 30))
                known = present
            for _ in range(100):
                stage = stage_at(self._progress.value)
                digits = rng.random() < options.digits
                if digits:
                    frames = 2 * rng.randint(60, 200)
                elif rng.random() < stage.full:
                    frames = 3000
                else:
                    frames = 2 * rng.randint(stage.frames[0] // 2, stage.frames[1] // 2)
                count = max(2, round(2 * options.positions / frames))
                # One limit for a batch: the longest sequence sets the cost of all.
                # Long ones come with long windows: faster-whisper's loop over a file.
                shares = (25, 0, 5, 70) if frames == 3000 else (50, 30, 10, 10)
                prompt = rng.choices((0, 30, 60, LONGEST_PROMPT), shares)[0]
                if digits:
                    prompt = 0
                examples = [
                    composer.example(
                        frames, stage.strength, stage.crowded, prompt, digits=digits
                    )
                    for _ in range(count)
                ]
                yield collate(examples, self._tokens, rng)


def losses(model: DemoWhisper, batch: Batch, tokens: Tokens) -> dict[str, Tensor]:
    """Return cross-entropy, CTC and guidance losses of one batch."""
    audio = model.encode(batch.mel)
    states, weights = model.decode(batch.inputs, audio, int(batch.offset))
    # Logits of the predicted tokens alone: with prompts and filler in, the 2500 rows
    # would cost as much as the encoder.
    wanted = batch.targets >= 0
    targets = batch.targets[wanted]
    chosen = model.logits(states[wanted]).float().log_softmax(-1)
    is_time = targets >= tokens.timestamp_begin
    spread = torch.zeros_like(chosen[:, 0])
    for offset, share in enumerate(_TIMESTAMP_SPREAD, start=-2):
        near = (targets + offset).clamp(tokens.timestamp_begin, tokens.size - 1)
        spread = spread + share * chosen.gather(1, near[:, None])[:, 0]
    plain = chosen.gather(1, targets[:, None])[:, 0]
    cross_entropy = -torch.where(is_time, spread, plain).mean()

    phonemes = model.ctc(audio).float().log_softmax(-1).transpose(0, 1)
    positions = torch.full((len(batch.mel),), audio.shape[1])
    ctc = F.ctc_loss(
        phonemes,
        batch.phonemes,
        positions,
        batch.phoneme_lengths,
        reduction="sum",
        zero_infinity=True,
    ) / max(int(batch.phoneme_lengths.sum()), 1)

    guide = chosen.new_zeros(())
    if len(batch.spans):
        row, query, first, last = batch.spans.T
        places = torch.arange(audio.shape[1], device=audio.device)
        inside = (places >= first[:, None]) & (places <= last[:, None])
        for layer, heads in GUIDED_HEADS.items():
            seen = weights[layer][:, :heads].transpose(1, 2)[row, query].float()
            mass = (seen * inside[:, None]).sum(-1)
            guide = guide - (mass + 1e-4).log().mean() / len(GUIDED_HEADS)
    return {"ce": cross_entropy, "ctc": ctc, "guide": guide}


def rate_at(progress: float, step: int) -> float:
    """Return the learning rate: 300 steps of warm-up, half a cosine, a plateau, down.

    The plateau is for windows of 30 s, which come late and are the hardest to learn.
    """
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    left = max(1.0 - progress, 0.01)
    shape = min(max(cosine, 0.35), left / 0.12 * 0.35)
    return _PEAK_RATE * min(1.0, step / 300) * min(shape, 1.0)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.rename(path)


@dataclass
class _Run:
    """What the processes of one run share; ``model`` lies in shared memory."""

    options: argparse.Namespace
    tokens: Tokens
    model: DemoWhisper
    average: DemoWhisper  # of the first process alone
    progress: Any  # c_double, 0 to 1, set by the first process
    state: dict[str, Any] | None  # of the checkpoint to go on from

    @property
    def checkpoint(self) -> Path:
        path: Path = self.options.run / "checkpoint.pt"
        return path


def train(options: argparse.Namespace) -> None:
    """Run until ``options.minutes`` of training are done.

    With several processes each has its own batches and optimiser state and updates
    the shared weights without a lock (Hogwild). On two shared cores that is twice as
    fast as two threads, which wait for each other in every operation.
    """
    options.run.mkdir(parents=True, exist_ok=True)
    tokens = Tokens(Tokenizer.from_file(str(options.tokenizer)))
    table_path = options.run / "phonemes.json"
    if not table_path.exists():
        table_path.write_text(json.dumps(phoneme_table()))
    table: dict[str, list[int]] = json.loads(table_path.read_text())
    phonemes = max(max(ids) for ids in table.values())
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if device.type != "cpu" and options.processes > 1:
        raise SystemExit("--processes is for CPUs: on a GPU use larger --positions")
    shape = Shape(tokens.size, phonemes, tokens.unused)
    model = DemoWhisper(shape, options.dropout).to(device)
    average = DemoWhisper(shape).to(device)
    average.load_state_dict(model.state_dict())
    run = _Run(options, tokens, model, average, mp.Value(c_double, 0.0), None)
    if run.checkpoint.exists():
        run.state = torch.load(run.checkpoint, map_location=device)
        model.load_state_dict(run.state["model"])
        average.load_state_dict(run.state["average"])
        run.progress.value = run.state["elapsed"] / (60.0 * options.minutes)
    elif options.start is not None:
        weights = average_weights(options.start)
        model.load_state_dict(weights)
        average.load_state_dict(weights)
        run.progress.value = options.start_at
    if device.type == "cpu":
        model.share_memory()
    helpers = [
        mp.get_context("fork").Process(target=_work, args=(run, rank))
        for rank in range(1, options.processes)
    ]
    for helper in helpers:
        helper.start()
    _work(run, 0)
    for helper in helpers:
        helper.join()


def _work(run: _Run, rank: int) -> None:
    """Train on one stream of batches; the first process also reports and saves."""
    options, model, average = run.options, run.model, run.average
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": 0.02},
            {"params": others, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
        fused=True,
    )
    elapsed, step = run.progress.value * 60.0 * options.minutes, 0
    if run.state is not None:
        optimizer.load_state_dict(run.state["optimizer"])
        elapsed, step = run.state["elapsed"], run.state["step"]
    loader = DataLoader(
        Batches(options, run.tokens, run.progress, (rank, step)),
        batch_size=None,
        num_workers=1,
        prefetch_factor=4,
    )
    total = 60.0 * options.minutes
    seen: dict[str, list[float]] = {}
    before = saved = time.monotonic()
    for batch in loader:
        if rank == 0:
            run.progress.value = elapsed / total
        if run.progress.value >= 1 or (options.run / "stop").exists():
            break
        rate = rate_at(run.progress.value, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        device = torch.device(options.device)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bfloat16):
            parts = losses(model, batch.to(device), run.tokens)
        loss = parts["ce"] + _CTC_WEIGHT * parts["ctc"] + _GUIDE_WEIGHT * parts["guide"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        now = time.monotonic()
        elapsed += now - before
        before = now
        if rank > 0:
            continue
        decay = min(_EMA, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(average.parameters()), list(model.parameters()), 1 - decay
            )
        for name, part in parts.items():
            seen.setdefault(name, []).append(part.item())
        if step % 100 == 0:
            figures = " ".join(f"{k} {np.mean(v):.3f}" for k, v in seen.items())
            print(
                f"step {step} {elapsed / 60:.1f} min {figures} rate {rate:.2e}",
                flush=True,
            )
            seen.clear()
        if now - saved > _CHECKPOINT_S:
            saved = now
            save(run.checkpoint, _state(model, average, optimizer, elapsed, step))
    if rank == 0:
        save(run.checkpoint, _state(model, average, optimizer, elapsed, step))


def _state(
    model: DemoWhisper,
    average: DemoWhisper,
    optimizer: torch.optim.Optimizer,
    elapsed: float,
    step: int,
) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "elapsed": elapsed,
        "step": step,
        "shape": asdict(model.shape),
    }


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, help="folder of shards")
    parser.add_argument("run", type=Path, help="folder of the checkpoint")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=100.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--positions", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--dropout", type=float, default=0.0, help="of the encoder's layers"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument(
        "--digits", type=float, default=0.0, help="share of batches of digits alone"
    )
    parser.add_argument("--leave-out", nargs="*", default=[], help="FSDD speakers")
    parser.add_argument(
        "--start",
        type=Path,
        help="weights to begin with: weights.npz here, or another run's checkpoint",
    )
    parser.add_argument(
        "--start-at", type=float, default=0.6, help="share of the run they stand for"
    )
    train(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
