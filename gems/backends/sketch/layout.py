"""Scenes as tensors and back: what the denoiser works on.

A scene is one latent vector: a background code, `MAX_OBJECTS` slots of presence, class code, colour code, texture code, x, y
and size, and `MAX_LETTERS` letter codes. Codes are fixed random vectors; a category's classes share part of theirs, so that
confusions stay within a category.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import torch
from torch import Tensor

from gems.backends.sketch.compose import EDGE, overlaps
from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.vocabulary import BACKGROUNDS, COLORS, LETTERS, MAX_LETTERS, MAX_OBJECTS, OBJECTS, TEXTURES

CLASS_NAMES: Final = tuple(OBJECTS)
COLOR_NAMES: Final = tuple(COLORS)
TEXTURE_NAMES: Final[tuple[str | None, ...]] = (None, *TEXTURES)
BACKGROUND_NAMES: Final = tuple(BACKGROUNDS)
CHARACTERS: Final = (*LETTERS, "")
"""What a letter slot can hold; the last is the blank after the text's end."""

CLASS_DIM: Final = 16
COLOR_DIM: Final = 6
TEXTURE_DIM: Final = 6
BACKGROUND_DIM: Final = 8
LETTER_DIM: Final = 10
SLOT_DIM: Final = 1 + CLASS_DIM + COLOR_DIM + TEXTURE_DIM + 3
LATENT_DIM: Final = BACKGROUND_DIM + MAX_OBJECTS * SLOT_DIM + MAX_LETTERS * LETTER_DIM
"""Length of a scene's latent vector."""

_X_SCALE: Final = 4.0
_SIZE_SCALE: Final = 8.0
_USUAL_SIZE: Final = 0.2


class Codes(NamedTuple):
    """The fixed code of every class, colour, texture, background and character, each (number of them, its dimensions)."""

    classes: Tensor
    colors: Tensor
    textures: Tensor
    backgrounds: Tensor
    letters: Tensor


def _spread(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """Vectors of length sqrt(dim), pushed apart from each other."""
    codes = torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=1)
    for _ in range(200):
        closeness = torch.softmax(8 * (codes @ codes.T - 2 * torch.eye(count)), dim=1)
        codes = torch.nn.functional.normalize(codes - 0.05 * closeness @ codes, dim=1)
    return torch.mul(codes, dim**0.5)


def make_codes() -> Codes:
    """The codes the released weights use; the same every time."""
    generator = torch.Generator().manual_seed(7)
    categories = list(dict.fromkeys(word.category for word in OBJECTS.values()))
    centres = _spread(len(categories), CLASS_DIM, generator)
    own = _spread(len(CLASS_NAMES), CLASS_DIM, generator)
    shared = centres[[categories.index(OBJECTS[name].category) for name in CLASS_NAMES]]
    classes = torch.nn.functional.normalize(own + 0.5 * shared, dim=1) * CLASS_DIM**0.5
    return Codes(
        classes,
        _spread(len(COLOR_NAMES), COLOR_DIM, generator),
        _spread(len(TEXTURE_NAMES), TEXTURE_DIM, generator),
        _spread(len(BACKGROUND_NAMES), BACKGROUND_DIM, generator),
        _spread(len(CHARACTERS), LETTER_DIM, generator),
    )


class Layout(NamedTuple):
    """Scenes as indices and places, batch first: B scenes, N = `MAX_OBJECTS` slots, M = `MAX_LETTERS` letter slots."""

    present: Tensor
    """(B, N) bool."""
    classes: Tensor
    """(B, N) long, as are `colors` and `textures`."""
    colors: Tensor
    textures: Tensor
    boxes: Tensor
    """(B, N, 3) float: x, y, size, scaled to about unit variance."""
    backgrounds: Tensor
    """(B,) long."""
    letters: Tensor
    """(B, M) long."""

    def take(self, rows: Tensor) -> Layout:
        """The scenes of these rows."""
        return Layout(*(field[rows] for field in self))


def scale_box(x: float, y: float, size: float) -> tuple[float, float, float]:
    """Canvas fractions to the network's units."""
    return (x - 0.5) * _X_SCALE, (y - 0.5) * _X_SCALE, (size - _USUAL_SIZE) * _SIZE_SCALE


def encode(scenes: Sequence[Scene]) -> Layout:
    """Scenes to indices, things in their order.

    Raises:
        ValueError: a scene holds more than `MAX_OBJECTS` things.
        KeyError: a word is not of the vocabulary.
    """
    classes = {name: place for place, name in enumerate(CLASS_NAMES)}
    colors = {name: place for place, name in enumerate(COLOR_NAMES)}
    textures = {name: place for place, name in enumerate(TEXTURE_NAMES)}
    number = len(scenes)
    indices = torch.zeros(3, number, MAX_OBJECTS, dtype=torch.long)
    boxes = torch.zeros(number, MAX_OBJECTS, 3)
    present = torch.zeros(number, MAX_OBJECTS, dtype=torch.bool)
    letters = torch.full((number, MAX_LETTERS), len(CHARACTERS) - 1)
    for row, scene in enumerate(scenes):
        many = len(scene.things)
        if many > MAX_OBJECTS:
            raise ValueError(f"a scene holds at most {MAX_OBJECTS} things, this one {many}; leave some out")
        if many:
            present[row, :many] = True
            indices[0, row, :many] = torch.tensor([classes[thing.name] for thing in scene.things])
            indices[1, row, :many] = torch.tensor([colors[thing.color] for thing in scene.things])
            indices[2, row, :many] = torch.tensor([textures[thing.texture] for thing in scene.things])
            boxes[row, :many] = torch.tensor([scale_box(thing.x, thing.y, thing.size) for thing in scene.things])
        text = next((thing.text for thing in scene.things if thing.text), "")[:MAX_LETTERS]
        for place, character in enumerate(text):
            letters[row, place] = CHARACTERS.index(character)
    backgrounds = torch.tensor([BACKGROUND_NAMES.index(scene.background) for scene in scenes])
    return Layout(present, indices[0], indices[1], indices[2], boxes, backgrounds, letters)


def _apart(things: list[Thing]) -> list[Thing]:
    """Push overlapping things apart a little, in a fixed order; the layout is otherwise kept."""
    moved = list(things)
    for _ in range(30):
        settled = True
        for i, one in enumerate(moved):
            for j in range(i):
                other = moved[j]
                if not overlaps(one, other, 0.04):
                    continue
                settled = False
                reach = (one.size + other.size) / 2 * 1.06
                dx, dy = one.x - other.x, one.y - other.y
                along_x = reach - abs(dx) <= reach - abs(dy)
                push = (reach - max(abs(dx), abs(dy))) / 2
                step_x = push * (1 if dx >= 0 else -1) if along_x else 0.0
                step_y = push * (1 if dy >= 0 else -1) if not along_x else 0.0
                one = moved[i] = _inside(replace(one, x=one.x + step_x, y=one.y + step_y))
                moved[j] = _inside(replace(other, x=other.x - step_x, y=other.y - step_y))
        if settled:
            break
    return moved


def _inside(thing: Thing) -> Thing:
    reach = thing.size / 2 + EDGE / 3
    return replace(thing, x=min(max(thing.x, reach), 1 - reach), y=min(max(thing.y, reach), 1 - reach))


def _rounded(thing: Thing) -> Thing:
    """Places to a ten thousandth: less than that depends on how tensors happen to lie in memory."""
    return replace(thing, x=round(thing.x, 4), y=round(thing.y, 4), size=round(thing.size, 4))


def decode(layout: Layout) -> list[Scene]:
    """Indices to scenes: centres clamped to the canvas by size, overlaps pushed apart.

    The text goes to the first sign; without a sign it is lost, as there is nothing to write on.
    """
    scenes = []
    for row in range(len(layout.backgrounds)):
        things: list[Thing] = []
        text = "".join(CHARACTERS[letter] for letter in layout.letters[row].tolist()).strip()
        for slot in layout.present[row].nonzero().flatten().tolist():
            x, y, size = layout.boxes[row, slot].tolist()
            name = CLASS_NAMES[int(layout.classes[row, slot])]
            written, text = (text, "") if name == "sign" else ("", text)
            thing = Thing(
                name,
                x / _X_SCALE + 0.5,
                y / _X_SCALE + 0.5,
                min(max(size / _SIZE_SCALE + _USUAL_SIZE, 0.05), 0.7),
                COLOR_NAMES[int(layout.colors[row, slot])],
                TEXTURE_NAMES[int(layout.textures[row, slot])],
                written,
            )
            things.append(_inside(thing))
        things = [_rounded(thing) for thing in _apart(things)]
        scenes.append(Scene(tuple(things), BACKGROUND_NAMES[int(layout.backgrounds[row])]))
    return scenes


def to_latents(layout: Layout, codes: Codes) -> Tensor:
    """Clean latents (B, `LATENT_DIM`) of layouts; an empty slot is all zero but for its presence of -1."""
    present = layout.present.unsqueeze(-1)
    content = torch.cat(
        [codes.classes[layout.classes], codes.colors[layout.colors], codes.textures[layout.textures], layout.boxes],
        dim=-1,
    )
    slots = torch.cat([present * 2.0 - 1.0, content * present], dim=-1)
    parts = [codes.backgrounds[layout.backgrounds], slots.flatten(1), codes.letters[layout.letters].flatten(1)]
    return torch.cat(parts, dim=1)


class LatentParts(NamedTuple):
    """A latent vector taken apart: background (B, 8), slots (B, N, 32), letters (B, M, 10)."""

    background: Tensor
    slots: Tensor
    letters: Tensor


def split(latents: Tensor) -> LatentParts:
    """Latents (B, `LATENT_DIM`) as background, slots and letters."""
    sizes = [BACKGROUND_DIM, MAX_OBJECTS * SLOT_DIM, MAX_LETTERS * LETTER_DIM]
    background, slots, letters = torch.split(latents, sizes, dim=1)
    rows = len(latents)
    return LatentParts(background, slots.reshape(rows, MAX_OBJECTS, -1), letters.reshape(rows, MAX_LETTERS, -1))
