from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from gems.backends.sketch.measure import SIZES, judge, random_scene
from gems.backends.sketch.render import render
from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.vision import CONFIDENT, Sight, look
from gems.backends.sketch.vocabulary import BACKGROUNDS, COLORS, LETTERS, OBJECTS, TEXTURES


def _grid(words: list[tuple[str, str, str | None]], across: int, on: str) -> Scene:
    down = -(-len(words) // across)
    return Scene(
        tuple(
            Thing(
                name, (k % across + 0.5) / across, (k // across + 0.5) / down, 0.92 / max(across, down), color, texture
            )
            for k, (name, color, texture) in enumerate(words)
        ),
        on,
    )


def _words(sight: Sight) -> list[tuple[str, str, str | None]]:
    return sorted(((thing.name, thing.color, thing.texture) for thing in sight.scene.things), key=str)


def test_every_class_is_read_back() -> None:
    names = list(OBJECTS)
    for start in range(0, len(names), 20):
        some = names[start : start + 20]
        words: list[tuple[str, str, str | None]] = [(name, OBJECTS[name].color, None) for name in some]
        sight = look(render(_grid(words, 5, "snow"), 768, 768))
        assert _words(sight) == sorted(words, key=str)
        assert sight.confidence >= CONFIDENT


@pytest.mark.parametrize("name", ["cat", "fork"])
def test_every_color_and_texture_is_read_back(name: str) -> None:
    for color in COLORS:
        words: list[tuple[str, str, str | None]] = [(name, color, texture) for texture in (None, *TEXTURES)]
        assert _words(look(render(_grid(words, 4, "forest"), 768, 768))) == sorted(words, key=str)


@pytest.mark.parametrize("on", list(BACKGROUNDS))
def test_every_background_is_read_back(on: str) -> None:
    sight = look(render(Scene((Thing("bus", 0.5, 0.6, 0.5, "yellow"),), on), 480, 320))
    assert (sight.background, sight.background_confidence >= CONFIDENT) == (on, True)


def test_places_and_sizes() -> None:
    things = (Thing("dog", 0.2, 0.3, 0.3, "brown"), Thing("bottle", 0.7, 0.7, 0.5, "green"))
    for width, height in SIZES:
        for thing, seen in zip(things, look(render(Scene(things), width, height)).scene.things, strict=True):
            assert (seen.x, seen.y, seen.size) == pytest.approx((thing.x, thing.y, thing.size), abs=0.01)


_TEXTS = ["HELLO", "OPEN 24 7", LETTERS[:12], LETTERS[12:24], LETTERS[24:36], "O0I1 Z2S5", "A", "III", "", "L I L"]


@pytest.mark.parametrize("text", _TEXTS)
def test_letters_are_read_back(text: str) -> None:
    sight = look(render(Scene((Thing("sign", 0.5, 0.5, 0.45, "red", "wooden", text),), "street"), 1024, 768))
    assert [thing.text for thing in sight.scene.things] == [text]
    assert sight.confidence >= CONFIDENT


def test_letters_too_small_to_read_are_doubtful() -> None:
    sight = look(render(Scene((Thing("sign", 0.5, 0.5, 0.3, "red", None, "ABCDEFGHIJKL"),), "street"), 200, 200))
    assert sight.sightings[0].thing.name == "sign"
    assert sight.sightings[0].text_confidence < CONFIDENT


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_random_scenes_are_read_back(width: int, height: int) -> None:
    draw = random.Random(1)
    for _ in range(3):
        scene = random_scene(draw, width, height)
        tally = judge(scene, look(render(scene, width, height)), width, height)
        assert (tally.exact, tally.invented, tally.certain_false) == (1, 0, 0), scene


def test_a_covered_thing_is_still_seen() -> None:
    things = (Thing("elephant", 0.4, 0.45, 0.36, "blue", "striped"), Thing("star", 0.62, 0.6, 0.26, "yellow"))
    sight = look(render(Scene(things, "desert"), 1024, 1024))
    assert _words(sight) == [("elephant", "blue", "striped"), ("star", "yellow", None)]


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))


def _page() -> Image.Image:
    page = Image.new("RGB", (500, 500), "white")
    for k in range(12):
        ImageDraw.Draw(page).text((20, 40 * k), "The quick brown fox jumps over the lazy dog", fill="black")
    return page


def _shapes() -> Image.Image:
    picture = Image.new("RGB", (500, 500), (90, 120, 60))
    draw = random.Random(0)
    for k in range(25):
        x, y, size = draw.randint(0, 450), draw.randint(0, 450), draw.randint(20, 120)
        box, fill = (x, y, x + size, y + size), "white" if k % 2 else "red"
        ImageDraw.Draw(picture).ellipse(box, fill=fill, outline="white", width=5)
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (400, 300), "white"),
        Image.new("L", (300, 400)),
        Image.new("RGBA", (64, 64), (1, 2, 3, 4)),
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (1, 600), "white"),
        _noise(),
        _noise().resize((40, 30)).resize((640, 480)),
        _page(),
        _shapes(),
    ],
    ids=["white", "black", "transparent", "pixel", "line", "noise", "soft noise", "page", "shapes"],
)
def test_foreign_pictures_give_nothing_confident(picture: Image.Image) -> None:
    sight = look(picture)
    assert all(sighting.confidence < CONFIDENT for sighting in sight.sightings)
    assert sight.confidence < CONFIDENT


def test_what_cannot_be_made_out_is_a_doubt_not_an_absence() -> None:
    picture = render(Scene((Thing("cat", 0.3, 0.5, 0.4, "red"), Thing("dog", 0.75, 0.5, 0.4, "blue"))), 512, 512)
    # Scribbles over the dog leave a plate on which nothing fits.
    pen = ImageDraw.Draw(picture)
    for k in range(9):
        pen.line((280, 170 + 20 * k, 500, 340 - 20 * k), fill=(120, 60, 30), width=7)
    sight = look(picture)
    assert ("cat", "red", None) in _words(sight)
    assert sight.confidence < CONFIDENT


def test_looking_changes_nothing_and_is_deterministic() -> None:
    picture = render(random_scene(random.Random(5), 512, 512), 512, 512)
    before = picture.tobytes()
    assert look(picture) == look(picture)
    assert picture.tobytes() == before
