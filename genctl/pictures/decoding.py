"""One picture file as it is meant: an upright uint8 array [H, W, 1] or [H, W, 3] of sRGB.

Every mode of Pillow is treated explicitly or refused. Alpha lies over a background, palettes and CMYK become RGB, 16
bits and floats are scaled to 256 levels and not clipped, profiles become sRGB where Pillow can, of an animation the
first frame counts. Only formats that Pillow decodes by itself are opened: EPS would start another program.
"""

from __future__ import annotations

import io
from contextlib import suppress
from functools import cache
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from .regular import Unreadable, parsing

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I", "F")
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N", "I")
COLOUR = ("RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "P")
Colour = tuple[int, int, int]


class Look(NamedTuple):
    """What a header says of a picture."""

    mode: str  # Pillow's
    size: tuple[int, int]  # H, W, upright
    grey: bool


def look(file: IO[bytes], background: Colour) -> Look:
    """Return a picture's mode and size without decoding it; raise Unreadable."""
    with parsing("it is no sound picture"):
        picture = _open(file)
        turned = _orientation(picture) >= 5 and picture.format != "TIFF"  # whose size Pillow gives upright
        size = picture.size if turned else picture.size[::-1]
        return Look(picture.mode, size, _is_grey(picture, background))


def decode(file: IO[bytes], background: Colour) -> NDArray[numpy.uint8]:
    """Return the picture's pixels, uint8 [H, W, C]; raise Unreadable."""
    import numpy
    from PIL import ImageOps

    with parsing("it is no sound picture"):
        picture = _open(file)
        grey = _is_grey(picture, background)
        picture.load()
        upright = ImageOps.exif_transpose(picture) if _orientation(picture) > 1 else picture
        if upright.mode in SIXTEEN or upright.mode == "F":
            return _scaled(numpy.asarray(upright))[..., None]
        pixels = numpy.asarray(_in_srgb(upright, background, grey))
        return numpy.ascontiguousarray(pixels[..., None] if pixels.ndim == 2 else pixels)


def _open(file: IO[bytes]) -> Image:
    """Open a picture of a format and mode that is read here, within Pillow's limit of pixels."""
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(file, formats=_formats())
    except UnidentifiedImageError as error:
        file.seek(0)
        if not file.read(1):
            raise Unreadable("it is empty") from error
        raise Unreadable("it is of no picture format that is read here") from error
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and picture.width * picture.height > limit:
        raise Unreadable(f"its {picture.width:,} x {picture.height:,} pixels are more than {limit:,}")
    if picture.mode not in (*GREY, *ALPHA, *COLOUR):
        raise Unreadable(f"its mode {picture.mode} is not read here")
    return picture


@cache
def _formats() -> list[str]:
    """Return the formats that this Pillow was built with."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _orientation(picture: Image) -> int:
    """Return the EXIF orientation, 1 for upright; a damaged EXIF block says nothing."""
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # Pillow would decode the whole file to look behind the pixels
    with suppress(Exception):
        found = picture.getexif().get(0x0112, 1)
        return found if isinstance(found, int) and 1 <= found <= 8 else 1
    return 1


def _is_grey(picture: Image, background: Colour) -> bool:
    """Tell whether a picture has no colours: by its mode or palette, and where the background shows, by that too."""
    if _has_alpha(picture) and len(set(background)) > 1:
        return False
    if picture.mode in ("P", "PA"):
        palette = picture.getpalette("RGB") or []
        return palette[::3] == palette[1::3] == palette[2::3]
    return picture.mode in GREY


def _has_alpha(picture: Image) -> bool:
    return picture.mode in ALPHA or ("transparency" in picture.info and picture.mode in ("1", "L", "RGB", "P"))


def _scaled(values: NDArray[Any]) -> NDArray[numpy.uint8]:
    """Return 16-bit levels, or floats in [0, 1] or [0, 255], as 256 levels."""
    import numpy

    low, high = float(values.min()), float(values.max())
    floats = values.dtype.kind == "f"
    if not (low >= 0 and high <= (255 if floats else 65535)):  # NaN is in no range
        of = "0 to 1 or 255" if floats else "0 to 65,535"
        raise Unreadable(f"its values go from {low:g} to {high:g}, not from {of}")
    most = (1 if high <= 1 else 255) if floats else 65535
    return numpy.rint(values.astype(numpy.float64) * (255 / most)).astype(numpy.uint8)


def _in_srgb(picture: Image, background: Colour, grey: bool) -> Image:
    """Return the picture as L or RGB, its profile applied and its alpha laid over the background."""
    from PIL import Image

    alpha = None
    if _has_alpha(picture):
        over = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        alpha, plain = over.getchannel("A"), over.convert("RGB")
    else:
        plain = picture.convert("RGB") if picture.mode in ("P", "RGBX", "HSV") else picture
    plain = _with_profile(plain, picture.info.get("icc_profile"))
    if plain.mode == "LAB":
        plain = _from_lab(plain)
    mode = "L" if grey else "RGB"
    plain = plain if plain.mode == mode else plain.convert(mode)
    if alpha is None:
        return plain
    below = Image.new(plain.mode, plain.size, background[0] if grey else background)
    return Image.composite(plain, below, alpha)


def _with_profile(picture: Image, profile: bytes | None) -> Image:
    """Return the picture in sRGB; as it is without a profile, with sRGB's own, or with one that Pillow cannot apply."""
    if not profile or picture.mode not in ("L", "RGB", "CMYK"):
        return picture
    with suppress(Exception):  # without littlecms, or for a damaged profile or one of another colour space
        from PIL import ImageCms

        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" not in ImageCms.getProfileDescription(own).lower():
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(picture, own, srgb, outputMode="RGB") or picture
    return picture


def _from_lab(picture: Image) -> Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB") or picture
