"""Random scenes, and how well the vision reads them back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from time import process_time
from typing import Final, NamedTuple

from gems.backends.sketch.lettering import spell
from gems.backends.sketch.render import render
from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.vision import CONFIDENT, Sight, Sighting, look
from gems.backends.sketch.vocabulary import BACKGROUNDS, COLORS, LETTERS, MAX_LETTERS, MAX_OBJECTS, OBJECTS, TEXTURES

SIZES: Final = ((1024, 1024), (512, 768), (768, 512), (1536, 1024))
_TRIES: Final = 400


def random_text(draw: random.Random) -> str:
    """One to three words, at most `MAX_LETTERS` characters with their spaces."""
    words = ["".join(draw.choices(LETTERS[:-1], k=draw.randint(1, 6))) for _ in range(draw.randint(1, 3))]
    return " ".join(words)[:MAX_LETTERS].strip()


def _thing(draw: random.Random, x: float, y: float, size: float) -> Thing:
    name = draw.choice(list(OBJECTS))
    texture = draw.choice(TEXTURES) if draw.random() < 0.5 else None
    text = random_text(draw) if name == "sign" else ""
    return Thing(name, x, y, size, draw.choice(list(COLORS)), texture, text)


def _covered(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Common area of two boxes (x, y, side), as a share of the smaller."""

    def reach(a: float, b: float) -> float:
        return max(0.0, min(a + one[2] / 2, b + other[2] / 2) - max(a - one[2] / 2, b - other[2] / 2))

    return reach(one[0], other[0]) * reach(one[1], other[1]) / min(one[2], other[2]) ** 2


def random_scene(draw: random.Random, width: int, height: int, overlap: float = 0.0, most: int = MAX_OBJECTS) -> Scene:
    """A scene of one to `most` things, every word as likely as its kind allows.

    Args:
        draw: the source of chance.
        width: of the canvas, in pixels.
        height: of the canvas, in pixels.
        overlap: largest common share of two boxes; above zero, the second thing is put over the first.
        most: largest number of things.
    """
    shorter = min(width, height)
    wide, high = width / shorter, height / shorter
    count = draw.randint(1, most)
    largest = min(0.6, 0.85 * (wide * high / count) ** 0.5)
    boxes: list[tuple[float, float, float]] = []
    for _ in range(_TRIES):
        if len(boxes) == count:
            break
        size = draw.uniform(max(0.09, 0.45 * largest), largest)
        x, y = draw.uniform(size / 2, wide - size / 2), draw.uniform(size / 2, high - size / 2)
        shares = [_covered((x, y, size), box) for box in boxes]
        if max(shares, default=0.0) > overlap or (overlap and len(boxes) == 1 and max(shares) < overlap / 3):
            continue
        boxes.append((x, y, size))
    things = tuple(_thing(draw, x / wide, y / high, size) for x, y, size in boxes)
    return Scene(things, draw.choice(list(BACKGROUNDS)))


class Tally(NamedTuple):
    """What was right in one scene, or in the sum of several."""

    scenes: int = 0
    exact: int = 0
    things: int = 0
    recalled: int = 0
    invented: int = 0
    names: int = 0
    colors: int = 0
    textures: int = 0
    letters: int = 0
    letters_right: int = 0
    backgrounds: int = 0
    certain: int = 0
    """Scenes without a doubtful word."""
    certain_false: int = 0
    """Scenes without a doubtful word that were misread all the same."""
    render_seconds: float = 0.0
    look_seconds: float = 0.0

    def plus(self, other: Tally) -> Tally:
        """The sum of both."""
        sums = {field: getattr(self, field) + getattr(other, field) for field in self._fields}
        return self._replace(**sums)


def _paired(
    things: tuple[Thing, ...], sightings: tuple[Sighting, ...], scene_aspect: tuple[float, float]
) -> list[tuple[Thing, Thing | None]]:
    """Each thing with the nearest sighting whose middle lies within a third of its box, each sighting used once."""
    wide, high = scene_aspect
    free = [sighting.thing for sighting in sightings]
    pairs: list[tuple[Thing, Thing | None]] = []
    for thing in things:

        def apart(seen: Thing, thing: Thing = thing) -> float:
            return max(abs(seen.x - thing.x) * wide, abs(seen.y - thing.y) * high) / thing.size

        nearest = min(free, key=apart, default=None)
        if nearest is not None and apart(nearest) < 1 / 3 and abs(nearest.size / thing.size - 1) < 1 / 3:
            free.remove(nearest)
        else:
            nearest = None
        pairs.append((thing, nearest))
    return pairs


def _letters_right(text: str, seen: str) -> int:
    return sum(a == b for a, b in zip(text, seen, strict=False)) if len(text) == len(seen) else 0


def judge(scene: Scene, sight: Sight, width: int, height: int) -> Tally:
    """Compares what was seen with what was drawn."""
    shorter = min(width, height)
    pairs = _paired(scene.things, sight.sightings, (width / shorter, height / shorter))
    hits = [(thing, seen) for thing, seen in pairs if seen is not None]
    words = (
        replace(thing, x=0, y=0, size=0, text=spell(thing.text)) == replace(seen, x=0, y=0, size=0)
        for thing, seen in hits
    )
    exact = (
        len(hits) == len(scene.things) == len(sight.sightings) and all(words) and sight.background == scene.background
    )
    signs = [(spell(thing.text), seen.text) for thing, seen in hits if thing.name == "sign" == seen.name]
    certain = sight.confidence >= CONFIDENT
    return Tally(
        scenes=1,
        exact=exact,
        things=len(scene.things),
        recalled=len(hits),
        invented=len(sight.sightings) - len(hits),
        names=sum(thing.name == seen.name for thing, seen in hits),
        colors=sum(thing.color == seen.color for thing, seen in hits),
        textures=sum(thing.texture == seen.texture for thing, seen in hits),
        letters=sum(len(text) for text, _ in signs),
        letters_right=sum(_letters_right(text, seen) for text, seen in signs),
        backgrounds=sight.background == scene.background,
        certain=certain,
        certain_false=certain and not exact,
    )


def _tally(draw: random.Random, width: int, height: int, overlap: float, signs: bool = False) -> Tally:
    scene = random_scene(draw, width, height, overlap, 6 if signs else MAX_OBJECTS)
    if signs:
        scene = Scene(
            tuple(replace(thing, name="sign", text=random_text(draw)) for thing in scene.things), scene.background
        )
    start = process_time()
    picture = render(scene, width, height)
    drawn = process_time()
    sight = look(picture)
    looked = process_time()
    return judge(scene, sight, width, height)._replace(render_seconds=drawn - start, look_seconds=looked - drawn)


def _line(label: str, tally: Tally) -> str:
    def share(part: float, whole: float) -> str:
        return f"{part / whole:.4f}" if whole else "-"

    return (
        f"{label:<22} recall {share(tally.recalled, tally.things)}  invented {tally.invented}"
        f"  name {share(tally.names, tally.recalled)}"
        f"  color {share(tally.colors, tally.recalled)}  texture {share(tally.textures, tally.recalled)}"
        f"  letters {share(tally.letters_right, tally.letters)}  background {share(tally.backgrounds, tally.scenes)}"
        f"  exact {share(tally.exact, tally.scenes)}  certain {share(tally.certain, tally.scenes)}"
        f"  certain but false {share(tally.certain_false, tally.scenes)}"
        f"  render {tally.render_seconds / tally.scenes:.3f} s  look {tally.look_seconds / tally.scenes:.3f} s"
    )


def measure(scenes: int, seed: int) -> Iterator[str]:
    """Draws and reads random scenes; yields one line for each size, then for overlaps and for signs."""
    draw = random.Random(seed)
    look(render(Scene(), 64, 64))
    apart = Tally()
    for width, height in SIZES:
        tally = Tally()
        for _ in range(scenes):
            tally = tally.plus(_tally(draw, width, height, 0.0))
        yield _line(f"apart {width}x{height}", tally)
        apart = apart.plus(tally)
    yield _line("apart, all sizes", apart)
    for label, overlap, signs in (("overlaps to 15%", 0.15, False), ("signs", 0.0, True)):
        tally = Tally()
        for k in range(scenes):
            tally = tally.plus(_tally(draw, *SIZES[k % len(SIZES)], overlap, signs))
        yield _line(label, tally)
