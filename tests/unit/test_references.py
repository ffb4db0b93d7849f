"""Pictures that a person brings along."""

import io
import re
import warnings
from pathlib import Path

import pytest
from PIL import Image

from gems.core.errors import GemsConfigError
from gems.memory.references import MOST_BYTES, MOST_SIDE, as_reference, read_reference


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def test_a_photo_is_turned_upright_and_loses_its_metadata():
    photo = Image.new("RGB", (40, 20), "red")
    photo.putpixel((0, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif[0x010F] = "a camera"
    kept = opened(as_reference(encoded(photo, "JPEG", exif=exif, quality=100, subsampling=0), "photo.jpg"))
    assert (kept.format, kept.mode, kept.size) == ("PNG", "RGB", (20, 40))
    assert not kept.getexif()
    assert not kept.info


def test_a_large_picture_is_scaled_down():
    kept = opened(as_reference(encoded(Image.new("L", (4096, 64)), "PNG"), "wide.png"))
    assert kept.size == (MOST_SIDE, 32)


@pytest.mark.parametrize(("mode", "form"), [("I;16", "PNG"), ("I;16", "TIFF"), ("I;16B", "TIFF")])
def test_grey_of_sixteen_bits_keeps_its_tones(mode: str, form: str):
    scan = Image.new(mode, (4, 1))
    for place, tone in enumerate((0, 0x4040, 0x9C9C, 0xFFFF)):
        scan.putpixel((place, 0), tone)
    kept = opened(as_reference(encoded(scan, form), "scan"))
    assert [kept.getpixel((place, 0)) for place in range(4)] == [(tone,) * 3 for tone in (0, 0x40, 0x9C, 0xFF)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is no PNG, JPEG, WebP, GIF, BMP or TIFF"),
        (b"three red apples", "is no PNG, JPEG, WebP, GIF, BMP or TIFF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no PNG, JPEG, WebP, GIF, BMP or TIFF"),
        (encoded(Image.new("RGB", (64, 64)), "PNG")[:-40], "no picture that can be read"),
        (encoded(Image.new("1", (9000, 9000)), "PNG"), "9000x9000 pixels; the limit is 40 million"),
        (encoded(Image.new("1", (10000, 10000)), "PNG"), "10000x10000 pixels; the limit is 40 million"),
        (bytes(MOST_BYTES + 1), "larger than 30 MiB"),
    ],
    ids=["empty", "text", "svg", "cut off", "large", "bomb", "heavy"],
)
def test_what_is_no_picture_is_refused_by_name(content: bytes, complaint: str):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(GemsConfigError) as caught:
            as_reference(content, "cat.png")
    assert re.search(f"reference image cat.png .*{complaint}", str(caught.value))
    assert "object at" not in str(caught.value)
    assert [it.category for it in warned] == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(GemsConfigError, match=r"cannot read the reference image .*cat\.png: No such file"):
        read_reference(tmp_path / "cat.png")
