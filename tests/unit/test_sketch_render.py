from __future__ import annotations

from colorsys import rgb_to_hsv
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from gems.backends.sketch.backgrounds import background
from gems.backends.sketch.fills import FILLS, tint, tones
from gems.backends.sketch.icons import STROKES, shape
from gems.backends.sketch.lettering import spell, typeset
from gems.backends.sketch.render import render
from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.vocabulary import BACKGROUNDS, COLORS, OBJECTS, TEXTURES


def _scene(*things: Thing, on: str = "grass") -> Scene:
    return Scene(things, on)


def test_every_object_has_a_glyph_of_one_plate_that_fills_its_box() -> None:
    assert set(STROKES) == set(OBJECTS)
    for name in OBJECTS:
        form = shape(name, 96)
        plate = form.plate > 0
        assert ndimage.label(plate)[1] == 1, name
        assert ndimage.label(np.pad(~plate, 1, constant_values=True))[1] == 1, f"the plate of {name} has a hole"
        assert max(form.reach) == pytest.approx(1, abs=0.03), name
        assert (form.plate[form.ink > 0.5] > 0).all(), name


def test_glyphs_are_distinct() -> None:
    masks = {name: shape(name, 96).ink.ravel() > 0.5 for name in OBJECTS}
    for one, other in combinations(masks, 2):
        union = float((masks[one] | masks[other]).sum())
        assert (masks[one] & masks[other]).sum() / union < 0.93, (one, other)


def test_a_glyph_looks_the_same_on_every_grid() -> None:
    for name in ("skis", "hot dog", "hair drier", "zebra"):
        small, large = shape(name, 96), shape(name, 192)
        halved = large.plate.reshape(96, 2, 96, 2).mean((1, 3))
        assert ((small.plate > 0) == (halved > 0)).mean() > 0.985, name


@pytest.mark.parametrize(("width", "height"), [(64, 64), (512, 768), (1536, 1024), (333, 65), (2048, 512)])
def test_any_size(width: int, height: int) -> None:
    picture = render(_scene(Thing("cat", 0.5, 0.5, 0.6, "red"), Thing("dog", 0.99, 0.01, 0.4, "blue")), width, height)
    assert picture.size == (width, height)
    assert picture.mode == "RGB"


@pytest.mark.parametrize(("width", "height"), [(63, 512), (512, 4097), (0, 0)])
def test_sizes_out_of_range_are_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match=f"{width}x{height}"):
        render(Scene(), width, height)


def test_the_largest_size_is_drawn() -> None:
    assert render(Scene((), "night"), 4096, 64).size == (4096, 64)


def test_pictures_are_deterministic_and_independent() -> None:
    scene = _scene(
        Thing("owl", 0.4, 0.4, 0.3, "brown", "wooden"), Thing("sign", 0.7, 0.7, 0.4, "red", None, "HELLO 42")
    )
    first = render(scene, 256, 256)
    first_bytes = first.tobytes()
    first.paste((0, 0, 0), (0, 0, 256, 256))
    assert render(scene, 256, 256).tobytes() == first_bytes


def test_what_stands_lower_is_in_front() -> None:
    high, low = Thing("apple", 0.5, 0.45, 0.4, "red"), Thing("apple", 0.5, 0.55, 0.4, "blue")
    pictures = [render(_scene(*order), 256, 256) for order in ((high, low), (low, high))]
    assert pictures[0].tobytes() == pictures[1].tobytes()
    red, _, blue = pictures[0].getpixel((128, 150))  # type: ignore[misc]
    assert blue > red


def test_a_box_that_would_leave_the_canvas_is_moved_inside() -> None:
    outside, inside = Thing("key", 1.2, -0.3, 0.4, "yellow"), Thing("key", 0.8, 0.2, 0.4, "yellow")
    assert render(_scene(outside), 200, 200).tobytes() == render(_scene(inside), 200, 200).tobytes()


def test_backgrounds_differ_and_are_never_near_white() -> None:
    pictures = {name: np.asarray(background(name, 160, 120), np.float32) for name in BACKGROUNDS}
    for name, pixels in pictures.items():
        assert pixels.min(-1).max() < 218, name
    for one, other in combinations(pictures, 2):
        assert np.abs(pictures[one] - pictures[other]).mean() > 8, (one, other)


def test_textures_differ_in_every_color() -> None:
    depth = np.full((96, 96), 1.0, np.float32)
    fields = {fill: tones(fill, depth) for fill in FILLS}
    assert set(FILLS) == {None, *TEXTURES}
    for color in COLORS:
        for one, other in combinations(FILLS, 2):
            apart = np.abs(tint(color, fields[one]) - tint(color, fields[other])).mean()
            assert apart > 5, (color, one, other)


def test_a_texture_keeps_its_hue() -> None:
    depth = np.full((96, 96), 1.0, np.float32)
    for color, rgb in COLORS.items():
        hue, saturation, _ = rgb_to_hsv(*rgb)
        for texture in TEXTURES:
            seen_hue, seen_saturation, _ = rgb_to_hsv(*tint(color, tones(texture, depth)).mean((0, 1)).tolist())
            if color in ("black", "white", "gray"):
                assert seen_saturation < 0.1, (color, texture)
            else:
                turn = abs(seen_hue - hue)
                assert min(turn, 1 - turn) < 0.02, (color, texture)
                assert seen_saturation > 0.4 * saturation, (color, texture)


@pytest.mark.parametrize(
    ("text", "rows"), [("HELLO", 1), ("hello world", 2), ("ABCDEFGHIJKL", 1), ("", 0), ("NO DOGS", 2)]
)
def test_rows_break_at_spaces_alone(text: str, rows: int) -> None:
    boxes = typeset(text, 1.4)
    assert "".join(box.letter for box in boxes) == spell(text).replace(" ", "")
    assert len({round(box.top, 6) for box in boxes}) == rows
    for box in boxes:
        assert min(box.left, box.top) >= -1e-6
        assert max(box.left + box.width, box.top + box.height) <= 1 + 1e-6


def test_a_sign_carries_capitals_digits_and_single_spaces() -> None:
    assert spell("  open\t24/7 café ") == "OPEN 247 CAF"


def test_unknown_words_are_refused() -> None:
    unicorn, teal = Thing("unicorn", 0.5, 0.5, 0.3, "red"), Thing("cat", 0.5, 0.5, 0.3, "teal")
    for scene in (_scene(unicorn), _scene(teal), Scene((), "moon")):
        with pytest.raises(KeyError):
            render(scene, 64, 64)


def test_a_sticker_is_an_image_that_can_be_saved(tmp_path: object) -> None:
    picture = render(_scene(Thing("star", 0.5, 0.5, 0.5, "yellow", "sparkling")), 128, 128)
    path = f"{tmp_path}/star.png"
    picture.save(path)
    with Image.open(path) as read:
        assert read.tobytes() == picture.tobytes()
