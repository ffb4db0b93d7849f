"""A quick look at the weights: how often layouts are right, terse and dense, by tag, by atoms, on held-out templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, NamedTuple

import click
import torch

from gems.backends.sketch.captions import (
    DENSE_FRAMES,
    DENSE_STYLES,
    HELD_OUT_DENSE_FRAMES,
    HELD_OUT_TERSE_FRAMES,
    TERSE_FRAMES,
    dense_prompt,
    terse_prompt,
)
from gems.backends.sketch.pipeline import GUIDANCE_SCALE, STEPS, SketchPipeline
from gems.backends.sketch.scene import Group, Relation, Scene, SceneSpec, related
from gems.backends.sketch.vocabulary import COCO_NAMES, COLORS, GENEVAL2_NAMES, MATERIALS, PATTERNS, RELATIONS

_BATCH: Final = 64
_COLORS: Final = tuple(color for color in COLORS if color != "gray")
_TEXTURES: Final = MATERIALS + PATTERNS
GENEVAL_TAGS: Final = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
ATOMS: Final = range(3, 11)


def is_right(scene: Scene, spec: SceneSpec) -> bool:
    """Whether a scene has all that is asked: exact counts, every thing of a name as described, relations, text."""
    matched = []
    for group in spec.groups:
        found = scene.matching(group.name, group.color, group.texture)
        twins = any(other is not group and other.name == group.name for other in spec.groups)
        named = found if twins else scene.matching(group.name)
        if len(found) != len(named) or (len(found) != group.count if group.count else not found):
            return False
        if group.text and all(thing.text != group.text for thing in found):
            return False
        matched.append(found)
    if not all(related(matched[r.subject], r.relation, matched[r.object]) for r in spec.relations):
        return False
    return spec.background in (None, scene.background)


def geneval_spec(tag: str, rng: Random) -> SceneSpec:
    """A random prompt's spec in the grammar of one of GenEval's tags."""
    one, other = rng.sample(COCO_NAMES, 2)
    color, second = rng.sample(_COLORS, 2)
    match tag:
        case "single_object":
            return SceneSpec((Group(one),))
        case "two_object":
            return SceneSpec((Group(one), Group(other)))
        case "counting":
            return SceneSpec((Group(one, rng.randint(2, 4)),))
        case "colors":
            return SceneSpec((Group(one, 1, color),))
        case "position":
            relation = rng.choice(("left of", "right of", "above", "below"))
            return SceneSpec((Group(one), Group(other)), (Relation(0, relation, 1),))
        case _:
            return SceneSpec((Group(one, 1, color), Group(other, 1, second)))


def geneval2_spec(atoms: int, rng: Random) -> SceneSpec:
    """A random spec in GenEval2's grammar with that many atoms."""
    while True:
        number = rng.randint(1, 3)
        names = rng.sample(GENEVAL2_NAMES, number)
        groups = []
        for name in names:
            kind = rng.random()
            color = rng.choice(_COLORS) if kind < 0.3 else None
            texture = rng.choice(_TEXTURES) if 0.3 <= kind < 0.6 else None
            groups.append(Group(name, rng.choice((1, 2, 3, 4, 5, 6, 7)), color, texture))
        links = [Relation(i, rng.choice(tuple(RELATIONS)), i + 1) for i in range(number - 1) if rng.random() < 0.6]
        spec = SceneSpec(tuple(groups), tuple(links))
        if atom_count(spec) == atoms and sum(group.count or 0 for group in groups) <= 20:
            return spec


def atom_count(spec: SceneSpec) -> int:
    """GenEval2's number of atoms of a spec, as in its samples: "a green backpack and a pig" is 3, "two metal toys" is 3."""
    counts = sum(group.count != 1 for group in spec.groups)
    attributes = sum((group.color is not None) + (group.texture is not None) for group in spec.groups)
    return len(spec.groups) + counts + attributes + len(spec.relations)


def sign_spec(rng: Random) -> SceneSpec:
    """A sign with a word of three to eight letters."""
    text = "".join(rng.choice("ABCDEFGHIKLMNOPRSTUWY") for _ in range(rng.randint(3, 8)))
    return SceneSpec((Group("sign", 1, text=text),))


class Case(NamedTuple):
    """A prompt and what must hold of its picture."""

    prompt: str
    spec: SceneSpec


def rate(
    pipeline: SketchPipeline, cases: Sequence[Case], guidance_scale: float, seed: int = 0, steps: int = STEPS
) -> float:
    """Share of cases whose layout is right."""
    right = 0
    for start in range(0, len(cases), _BATCH):
        batch = cases[start : start + _BATCH]
        generators = [torch.Generator().manual_seed(seed + start + place) for place in range(len(batch))]
        scenes = pipeline.layouts([case.prompt for case in batch], generators, steps, guidance_scale)
        right += sum(is_right(scene, case.spec) for scene, case in zip(scenes, batch, strict=True))
    return right / len(cases)


def _terse(spec: SceneSpec, _: int) -> str:
    return terse_prompt(spec)


def _photo(spec: SceneSpec, _: int) -> str:
    return f"a photo of {terse_prompt(spec)}"


def _dense(spec: SceneSpec, place: int) -> str:
    return dense_prompt(spec, place)


def _cases(specs: Sequence[SceneSpec], word: Callable[[SceneSpec, int], str]) -> list[Case]:
    return [Case(word(spec, place), spec) for place, spec in enumerate(specs)]


def _framed(specs: Sequence[SceneSpec], frames: Sequence[str], word: Callable[[SceneSpec, int], str]) -> list[Case]:
    return [Case(frames[i % len(frames)].replace("{}", word(spec, i)), spec) for i, spec in enumerate(specs)]


def print_report(pipeline: SketchPipeline, samples: int = 60, guidance_scale: float | None = None) -> None:
    """Print the figures of the model card."""
    scale = GUIDANCE_SCALE if guidance_scale is None else guidance_scale
    rng = Random(20)
    pipeline.set_progress_bar_config(disable=True)
    click.echo(f"guidance {scale}, {STEPS} steps, {samples} prompts a figure")
    totals = [0.0, 0.0]
    for tag in GENEVAL_TAGS:
        specs = [geneval_spec(tag, rng) for _ in range(samples)]
        pair = [rate(pipeline, _cases(specs, word), scale) for word in (_photo, _dense)]
        totals = [total + value / len(GENEVAL_TAGS) for total, value in zip(totals, pair, strict=True)]
        click.echo(f"{tag:14} terse {pair[0]:.3f} dense {pair[1]:.3f}")
    click.echo(f"{'geneval':14} terse {totals[0]:.3f} dense {totals[1]:.3f}")
    totals = [0.0, 0.0]
    pooled = []
    for atoms in ATOMS:
        specs = [geneval2_spec(atoms, rng) for _ in range(samples)]
        pooled += specs
        pair = [rate(pipeline, _cases(specs, word), scale) for word in (_terse, _dense)]
        totals = [total + value / len(ATOMS) for total, value in zip(totals, pair, strict=True)]
        click.echo(f"{atoms:2} atoms       terse {pair[0]:.3f} dense {pair[1]:.3f}")
    click.echo(f"{'geneval2':14} terse {totals[0]:.3f} dense {totals[1]:.3f}")
    for style in range(DENSE_STYLES):
        styled = [Case(dense_prompt(spec, style), spec) for spec in pooled]
        click.echo(f"dense style {style}  {rate(pipeline, styled, scale):.3f}")
    signs = [sign_spec(rng) for _ in range(samples)]
    pair = [rate(pipeline, _cases(signs, word), scale) for word in (_terse, _dense)]
    click.echo(f"{'sign':14} terse {pair[0]:.3f} dense {pair[1]:.3f}")
    simple = [geneval_spec(tag, rng) for tag in GENEVAL_TAGS for _ in range(samples)]
    for kind, seen, held_out, word in (
        ("terse", TERSE_FRAMES, HELD_OUT_TERSE_FRAMES, _terse),
        ("dense", DENSE_FRAMES, HELD_OUT_DENSE_FRAMES, _dense),
    ):
        known, unknown = (rate(pipeline, _framed(simple + pooled, frames, word), scale) for frames in (seen, held_out))
        click.echo(f"{kind} frames    seen {known:.3f} held out {unknown:.3f}")
