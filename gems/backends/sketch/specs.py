"""Specs as prompts: the terse and the explicit wordings of what a request asks for."""

from __future__ import annotations

from collections.abc import Iterator

from gems.backends.sketch.scene import Relation, SceneSpec
from gems.backends.sketch.vocabulary import MAX_OBJECTS


def drawable(spec: SceneSpec) -> SceneSpec:
    """The spec without the groups that must be absent: a prompt for a diffusion model must not name them."""
    kept = [index for index, group in enumerate(spec.groups) if group.count != 0]
    index = {old: new for new, old in enumerate(kept)}
    relations = (
        Relation(index[relation.subject], relation.relation, index[relation.object])
        for relation in spec.relations
        if relation.subject in index and relation.object in index
    )
    return SceneSpec(tuple(spec.groups[old] for old in kept), tuple(relations), spec.background)


def terse(spec: SceneSpec) -> str:
    """The short prompt; empty where the spec names nothing that can be drawn."""
    from gems.backends.sketch.captions import terse_prompt

    return terse_prompt(drawable(spec)) if _is_sayable(spec) else ""


def dense(spec: SceneSpec, style: int) -> str:
    """The explicit prompt in a style of `captions.dense_prompt`; empty where the spec names nothing that can be drawn."""
    from gems.backends.sketch.captions import dense_prompt

    return dense_prompt(drawable(spec), style) if _is_sayable(spec) else ""


def denses(spec: SceneSpec, order: tuple[int, ...], layers: int) -> Iterator[str]:
    """Explicit prompts in the styles of `order`; each further layer has the same styles with other places."""
    from gems.backends.sketch.captions import DENSE_STYLES

    for layer in range(layers):
        for style in order:
            if prompt := dense(spec, style + DENSE_STYLES * layer):
                yield prompt


def _is_sayable(spec: SceneSpec) -> bool:
    counts = [group.count for group in drawable(spec).groups]
    return bool(counts) and sum(count or 1 for count in counts) <= MAX_OBJECTS
