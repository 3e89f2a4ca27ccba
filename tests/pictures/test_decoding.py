"""One picture as it is meant: every mode, alpha, orientation, depth, profile; and what is refused."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageCms

from genctl.pictures import decoding
from genctl.pictures.regular import Unreadable, opened

WHITE, RED = (255, 255, 255), (255, 0, 0)
COLOURS = numpy.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=numpy.uint8)
GREYS = COLOURS[..., 0]


def packed(picture: Image.Image, kind: str = "PNG", **options: Any) -> io.BytesIO:
    """Return a picture as an opened file."""
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    file.seek(0)
    return file


def read(file: io.BytesIO, background: tuple[int, int, int] = WHITE) -> numpy.ndarray:
    """Return the decoded pixels, and hold that the header promised their shape."""
    look = decoding.look(file, background)
    file.seek(0)
    pixels = decoding.decode(file, background)
    assert pixels.dtype == numpy.uint8 and pixels.flags.c_contiguous
    assert look.size == pixels.shape[:2]
    assert look.grey == (pixels.shape[2] == 1)
    return pixels


def half_clear(mode: str) -> Image.Image:
    """Return a picture whose upper rows are clear."""
    picture = Image.fromarray(COLOURS).convert(mode)
    alpha = Image.fromarray(numpy.repeat([[0], [0], [255], [255], [255]], 7, 1).astype(numpy.uint8))
    picture.putalpha(alpha)
    return picture


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (packed(Image.fromarray(GREYS)), GREYS[..., None]),
        (packed(Image.fromarray(COLOURS)), COLOURS),
        (packed(Image.fromarray(GREYS > 127)), numpy.where(GREYS > 127, 255, 0)[..., None]),
        (packed(Image.fromarray(COLOURS).convert("P", palette=Image.Palette.ADAPTIVE, colors=64)), COLOURS),
        (packed(Image.fromarray(GREYS).quantize(256)), GREYS[..., None]),
        (packed(Image.fromarray(GREYS.astype(numpy.uint16) * 257)), GREYS[..., None]),
        (packed(Image.fromarray(GREYS.astype(numpy.uint16) * 257), "TIFF"), GREYS[..., None]),
        (packed(Image.fromarray(GREYS.astype(numpy.int32) * 257), "TIFF"), GREYS[..., None]),
        (packed(Image.fromarray(GREYS.astype(numpy.float32) / 255), "TIFF"), GREYS[..., None]),
        (packed(Image.fromarray(GREYS.astype(numpy.float32)), "TIFF"), GREYS[..., None]),
        (packed(Image.fromarray(COLOURS), "BMP"), COLOURS),
        (packed(Image.fromarray(COLOURS), "WEBP", lossless=True), COLOURS),
        (packed(Image.fromarray(COLOURS), "PPM"), COLOURS),
        (packed(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"), COLOURS),
    ],
    ids=[
        *("grey", "colour", "bits", "palette", "grey-palette", "16-bit", "16-bit-tiff"),
        *("32-bit", "floats", "float-levels", "bmp", "webp", "ppm", "cmyk"),
    ],
)
def test_a_mode_is_read_as_meant(file: io.BytesIO, expected: numpy.ndarray) -> None:
    assert numpy.array_equal(read(file), expected)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV"])
def test_other_colour_spaces_come_near(mode: str) -> None:
    smooth = numpy.linspace(40, 200, 105).reshape(5, 7, 3).astype(numpy.uint8)
    picture = Image.fromarray(smooth)
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        picture = ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
    elif mode == "YCbCr":
        picture = picture.convert(mode)
    else:
        assert decoding._in_srgb(picture.convert("HSV"), WHITE, False).mode == "RGB"
        return
    assert numpy.abs(read(packed(picture, "TIFF")).astype(int) - smooth).max() <= 6


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("background", "above"), [(WHITE, (255, 255, 255)), (RED, RED)])
def test_alpha_lies_over_the_background(mode: str, background: tuple[int, int, int], above: tuple) -> None:
    pixels = read(packed(half_clear(mode)), background)
    grey = mode == "L" and background == WHITE
    assert pixels.shape[2] == (1 if grey else 3)
    assert (pixels[:2] == numpy.array(above[: pixels.shape[2]])).all()
    expected = numpy.asarray(Image.fromarray(COLOURS).convert(mode))[2:]
    assert numpy.array_equal(pixels[2:, :, 0], expected if mode == "L" else expected[..., 0])


def test_a_transparent_palette_entry_and_colour_lie_over_the_background() -> None:
    picture = Image.fromarray(numpy.array([[0, 1]], dtype=numpy.uint8), mode=None).convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    assert read(packed(picture, transparency=0), RED).tolist() == [[[255, 0, 0], [40, 50, 60]]]
    plain = Image.fromarray(numpy.array([[[1, 2, 3], [4, 5, 6]]], dtype=numpy.uint8))
    assert read(packed(plain, transparency=(1, 2, 3)), RED).tolist() == [[[255, 0, 0], [4, 5, 6]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {3: numpy.rot90(COLOURS, 2), 6: numpy.rot90(COLOURS, -1), 8: numpy.rot90(COLOURS), 1: COLOURS}
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        pixels = read(packed(Image.fromarray(COLOURS), kind, exif=exif, **options))
        assert pixels.shape[:2] == ((5, 7) if orientation < 5 else (7, 5))
        if orientation in turned:
            assert numpy.array_equal(pixels, turned[orientation])


def test_the_first_frame_counts() -> None:
    frames = [Image.new("L", (3, 2), level) for level in (10, 200)]
    for kind in ("GIF", "TIFF", "PNG"):
        assert (read(packed(frames[0], kind, save_all=True, append_images=frames[1:])) == 10).all()


def test_a_profile_is_applied_and_a_damaged_one_is_not() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = srgb.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))  # red and blue change places
    other = other.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")
    picture = Image.fromarray(COLOURS)
    assert numpy.array_equal(read(packed(picture, icc_profile=srgb)), COLOURS)
    assert numpy.array_equal(read(packed(picture, icc_profile=b"no profile")), COLOURS)
    red = Image.new("RGB", (2, 2), (200, 0, 0))
    assert read(packed(red, icc_profile=other))[0, 0].tolist() == pytest.approx([0, 0, 200], abs=2)


def cut(file: io.BytesIO, end: int) -> io.BytesIO:
    return io.BytesIO(file.getvalue()[:end])


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (io.BytesIO(), "it is empty"),
        (io.BytesIO(b"hello"), "no picture format that is read here"),
        (io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"), "no picture format that is read here"),
        (cut(packed(Image.fromarray(COLOURS)), 60), "it is no sound picture"),
        (cut(packed(Image.fromarray(COLOURS)), 20), "is"),
        (packed(Image.fromarray(numpy.full((2, 2), -3.0, numpy.float32)), "TIFF"), "from -3 to -3, not from 0 to 1 or"),
        (packed(Image.fromarray(numpy.full((2, 2), numpy.nan, numpy.float32)), "TIFF"), "from nan to nan"),
        (packed(Image.fromarray(numpy.full((2, 2), 70_000, numpy.int32)), "TIFF"), "from 70000 to 70000, not from 0"),
    ],
)
def test_what_cannot_be_read_has_a_reason(file: io.BytesIO, why: str) -> None:
    with pytest.raises(Unreadable, match=why) as caught:
        decoding.decode(file, WHITE)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    for size, why in (((7, 3), "its 7 x 3 pixels are more than 20"), ((9, 9), "could be decompression bomb")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(Unreadable, match=why):
                decoding.look(packed(Image.new("L", size)), WHITE)


def test_only_regular_files_of_a_bounded_size_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "large").write_bytes(bytes(11))
    for name, why in {
        "fifo": "a FIFO",
        "zero": "a device",
        "large": "its 11 bytes are more than 10",
        "no": "No such",
    }.items():
        with pytest.raises(Unreadable, match=why), opened(tmp_path / name, 10):
            pass
