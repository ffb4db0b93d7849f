"""Train the sketch engine: `python -m gems.backends.sketch.train --out gems/backends/sketch/weights --minutes 60`.

Scenes and captions are made as they are needed, by a second process. The learning rate follows a cosine over the given
minutes or steps. Checkpoints go to a folder outside the repository, and a run with the same folder goes on where it stopped.
`--evaluate` trains nothing and prints how often the layouts of `--out` are right.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, cast

import click
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from gems.backends.sketch import layout
from gems.backends.sketch.evaluate import print_report
from gems.backends.sketch.examples import Example, random_example
from gems.backends.sketch.layout import Layout
from gems.backends.sketch.model import Prediction, SketchDenoiser, SketchTextEncoder, TextBatch, TextStates
from gems.backends.sketch.pipeline import SketchPipeline, pad
from gems.backends.sketch.tokenizer import SketchTokenizer

BATCH: Final = 64
NOISE_LEVELS: Final = 2
"""Noisy versions of each scene in a batch: the text is read once for all of them."""
TEXT_DROPOUT: Final = 0.1
SHIFT: Final = 3.0
LEARNING_RATE: Final = 2e-3
"""Of both optimizers: Muon's updates are scaled to the size of AdamW's."""
EMA_DECAY: Final = 0.999
_BATCHES: Final = 64
"""Batches whose examples are made, and sorted by length, at a time."""
_WARMUP: Final = 200
_SAVE_EVERY: Final = 300.0


class Batch(NamedTuple):
    """Captions, the things each token announces (B, L), and the scenes."""

    text: TextBatch
    announced: Tensor
    target: Layout

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        text = TextBatch(*(part.to(device) for part in self.text))
        return Batch(text, self.announced.to(device), Layout(*(part.to(device) for part in self.target)))


def collate(examples: Sequence[Example], tokenizer: SketchTokenizer, rng: Random) -> Batch:
    """Examples as tensors; some captions are dropped, for guidance."""
    texts = []
    announced = []
    for example in examples:
        dropped = rng.random() < TEXT_DROPOUT
        encoded = tokenizer("" if dropped else example.caption.text)
        row = [0.0] * len(encoded.ids)
        for mark in () if dropped else example.caption.marks:
            if mark.offset in encoded.offsets:
                row[encoded.offsets.index(mark.offset)] = float(mark.number)
        texts.append(encoded)
        announced.append(row)
    text = pad(texts)
    longest = text.ids.shape[1]
    marks = torch.tensor([[*row, *[0.0] * (longest - len(row))] for row in announced])
    return Batch(text, marks, layout.encode([example.scene for example in examples]))


class Examples(IterableDataset[Batch]):
    """Endless batches of captions of like length, the same for the same seed."""

    def __init__(self, seed: int, skip: int = 0, batch: int = BATCH) -> None:
        super().__init__()
        self._seed = seed
        self._skip = skip
        self._batch = batch

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        tokenizer = SketchTokenizer()
        shard = self._skip
        while True:
            rng = Random(self._seed * 1_000_003 + shard)
            shard += 1
            examples = [random_example(rng) for _ in range(_BATCHES * self._batch)]
            spelled = [any(thing.text for thing in example.scene.things) for example in examples]
            order = sorted(range(len(examples)), key=lambda i: (spelled[i], len(examples[i].caption.text)))
            batches = [order[start : start + self._batch] for start in range(0, len(order), self._batch)]
            rng.shuffle(batches)
            for batch in batches:
                yield collate([examples[i] for i in batch], tokenizer, rng)


def loss_of(prediction: Prediction, target: Layout, sigma: Tensor, text: TextStates, announced: Tensor) -> Tensor:
    """Cross-entropies of what and where, the squared error of boxes, and the error of what words announce."""
    present = target.present
    count = present.sum()
    loss = 4 * functional.binary_cross_entropy_with_logits(prediction.present, present.float())
    for logits, indices in (
        (prediction.classes, target.classes),
        (prediction.colors, target.colors),
        (prediction.textures, target.textures),
    ):
        loss = loss + functional.cross_entropy(logits[present], indices[present], reduction="sum") / count
    squared = (prediction.boxes - target.boxes)[present].square().sum(-1)
    power = (sigma**2 + (1 - sigma) ** 2) / sigma.clamp(min=0.05) ** 2
    weight = power[:, None].expand_as(present)[present].clamp(max=40.0)
    loss = loss + (squared * weight).sum() / count
    loss = loss + 0.3 * functional.cross_entropy(prediction.backgrounds, target.backgrounds)
    if prediction.letters.shape[1]:
        loss = loss + 2 * functional.cross_entropy(prediction.letters.flatten(0, 1), target.letters.flatten())
    said = functional.smooth_l1_loss(text.announced[text.mask], announced[text.mask], reduction="sum") / len(announced)
    return loss + 0.5 * said


class Models(nn.Module):
    """Text encoder and denoiser, trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.text_encoder = SketchTextEncoder()
        self.denoiser = SketchDenoiser()

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss of a batch at random noise levels."""
        text = self.text_encoder(batch.text)
        states = text.repeat(NOISE_LEVELS)
        rows = torch.arange(len(batch.announced), device=states.states.device).repeat(NOISE_LEVELS)
        target = batch.target.take(rows)
        codes = self.denoiser.codes
        clean = layout.to_latents(target, codes)
        uniform = torch.rand(len(rows), generator=generator).to(clean.device)
        sigma = SHIFT * uniform / (1 + (SHIFT - 1) * uniform)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        noisy = torch.lerp(clean.float(), noise, sigma[:, None])
        spelled = bool(batch.text.letters.any() or (batch.target.letters != len(layout.CHARACTERS) - 1).any())
        kind = codes.classes.dtype
        prediction = self.denoiser(noisy.to(kind), sigma.to(kind), self.denoiser.condition(states), spelled)
        prediction = Prediction(*(part.float() for part in prediction))
        return loss_of(prediction, target, sigma, text, batch.announced)

    def pipeline(self) -> SketchPipeline:
        """A pipeline of these weights."""
        return SketchPipeline(self.text_encoder, self.denoiser, FlowMatchEulerDiscreteScheduler(shift=SHIFT))


class Budget(NamedTuple):
    """How long to train: the first of both that is used up."""

    steps: int | None
    seconds: float | None

    def used(self, step: int, seconds: float) -> float:
        """Share of the budget that is used, 1 at its end."""
        shares = [step / self.steps if self.steps else 0.0, seconds / self.seconds if self.seconds else 0.0]
        return min(1.0, max(shares))


def _optimizers(models: Models) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices inside blocks, which learn faster so; AdamW for the rest."""
    inner = [p for name, p in models.named_parameters() if ".blocks." in name and p.ndim == 2 and min(p.shape) > 16]
    known = {id(p) for p in inner}
    others = [p for p in models.parameters() if id(p) not in known]
    return [
        torch.optim.Muon(inner, lr=LEARNING_RATE, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _average(average: nn.Module, models: nn.Module, step: int) -> None:
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    with torch.no_grad():
        for kept, current in zip(average.parameters(), models.parameters(), strict=True):
            kept.lerp_(current, 1 - decay)


def save_weights(models: Models, folder: Path) -> None:
    """Write the pipeline in half precision; each file replaces its predecessor at once. Other files are left alone."""
    halved = deepcopy(models).half()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        halved.pipeline().save_pretrained(scratch, safe_serialization=True)
        for written in sorted(Path(scratch).rglob("*")):
            if written.is_file():
                place = folder / written.relative_to(scratch)
                place.parent.mkdir(parents=True, exist_ok=True)
                written.replace(place)


class Training:
    """A training run that can be stopped and taken up again.

    Args:
        checkpoints: folder for the whole state.
        budget: how long.
        seed: of weights, scenes and noise.
        device: to train on.
        batch: scenes in a step.
    """

    def __init__(self, checkpoints: Path, budget: Budget, seed: int, device: torch.device, batch: int = BATCH) -> None:
        torch.manual_seed(seed)
        self.models = Models().to(device)
        self.average = deepcopy(self.models).requires_grad_(False)
        self._optimizers = _optimizers(self.models)
        # Gradients are taken of a bfloat16 copy: on a CPU that has it, twice as fast as float32 and as autocasting.
        self._working = deepcopy(self.models).to(torch.bfloat16)
        self._generator = torch.Generator().manual_seed(seed)
        self._file = checkpoints / f"sketch-{seed}.pt"
        self._budget = budget
        self._seed = seed
        self._device = device
        self._batch = batch
        self._step = 0
        self._seconds = 0.0
        checkpoints.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self._file, map_location=self._device, weights_only=True)
        self.models.load_state_dict(state["models"])
        self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self._generator.set_state(state["generator"].cpu())
        self._step, self._seconds = state["step"], state["seconds"]

    def _checkpoint(self) -> None:
        state = {
            "models": self.models.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "generator": self._generator.get_state(),
            "step": self._step,
            "seconds": self._seconds,
        }
        partial = self._file.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self._file)

    def _rate(self) -> float:
        used = self._budget.used(self._step, self._seconds)
        return LEARNING_RATE * min(1.0, (self._step + 1) / _WARMUP) * (0.5 + 0.5 * math.cos(math.pi * used))

    def _learn(self, batch: Batch) -> float:
        with torch.no_grad():
            for copy, own in zip(self._working.parameters(), self.models.parameters(), strict=True):
                copy.copy_(own)
                copy.grad = None
        loss = cast("Tensor", self._working(batch, self._generator))
        torch.autograd.backward(loss)
        for copy, own in zip(self._working.parameters(), self.models.parameters(), strict=True):
            own.grad = None if copy.grad is None else copy.grad.float()
        nn.utils.clip_grad_norm_(self.models.parameters(), 1.0)
        rate = self._rate()
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        self._step += 1
        _average(self.average, self.models, self._step)
        return loss.item()

    def run(self, out: Path) -> None:
        """Train to the end of the budget, saving the averaged weights to `out` every few minutes."""
        examples = Examples(self._seed, self._step // _BATCHES, self._batch)
        batches = DataLoader(examples, batch_size=None, num_workers=1, prefetch_factor=_BATCHES)
        last = saved = time.monotonic()
        losses: list[float] = []
        for batch in batches:
            losses.append(self._learn(batch.to(self._device)))
            now = time.monotonic()
            self._seconds += now - last
            last = now
            if self._step % 100 == 0:
                click.echo(f"step {self._step} {self._seconds:.0f} s loss {sum(losses) / len(losses):.3f}")
                losses.clear()
            done = self._budget.used(self._step, self._seconds) >= 1
            if done or now - saved > _SAVE_EVERY:
                saved = now
                self._checkpoint()
                save_weights(self.average, out)
            if done:
                break


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gems.backends.sketch.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--minutes", type=float, help="training time; 60 when no steps are given")
    parser.add_argument("--steps", type=int, help="training steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=Path(tempfile.gettempdir()) / "gems-sketch-training",
        help="folder for resuming",
    )
    parser.add_argument("--fresh", action="store_true", help="ignore and replace checkpoints")
    parser.add_argument("--evaluate", action="store_true", help="train nothing, measure the weights in --out")
    parser.add_argument("--guidance", type=float, help="guidance scale to measure at; the frozen one by default")
    parser.add_argument("--samples", type=int, default=60, help="prompts per figure")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _arguments(argv)
    if not options.evaluate:
        seconds = options.minutes * 60 if options.minutes else (None if options.steps else 3600.0)
        name = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        if options.fresh:
            shutil.rmtree(options.checkpoints, ignore_errors=True)
        training = Training(options.checkpoints, Budget(options.steps, seconds), options.seed, torch.device(name))
        training.run(options.out)
    pipeline = SketchPipeline.from_pretrained(options.out, torch_dtype=torch.float32)
    print_report(pipeline, options.samples, options.guidance)
    return 0


if __name__ == "__main__":
    sys.exit(main())
