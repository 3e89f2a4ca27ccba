"""Pictures of one shape: their size chosen, cut, padded or stretched to it, grey or in colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy
from numpy.typing import NDArray

from .reading import Reading

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]  # H, W
USUAL = (32, 64)  # where pictures differ in size


def choose_size(sizes: Mapping[Size, int], reading: Reading) -> tuple[Size, str]:
    """Return height and width for pictures of these sizes, and a sentence where they were chosen here."""
    if reading.size is not None:
        return reading.size, ""
    if len(sizes) == 1:
        return next(iter(sizes)), ""
    sides = sorted(min(size) for size, n in sizes.items() for _ in range(n))
    side = min(USUAL, key=lambda usual: abs(usual - sides[len(sides) // 2]))
    low, high = min(sizes), max(sizes)
    return (side, side), (
        f"pictures of {low[0]} x {low[1]} to {high[0]} x {high[1]} pixels become {side} x {side}"
        f" ({reading.fit}); --image-size chooses another size, --fit another way"
    )


def fit(pixels: NDArray[numpy.uint8], size: Size, channels: int, reading: Reading) -> NDArray[numpy.uint8]:
    """Return the picture [H, W, C] as [channels, *size]."""
    from PIL import Image

    if pixels.shape == (*size, channels):
        return pixels.transpose(2, 0, 1)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if (picture.height, picture.width) != size:
        picture = _resized(picture, size, reading)
    return numpy.asarray(picture).reshape(*size, channels).transpose(2, 0, 1)


def _resized(picture: Image, size: Size, reading: Reading) -> Image:
    """Return the picture in another size: the middle of it, all of it on the background, or stretched."""
    from PIL import Image, ImageOps

    wanted, filter_ = size[::-1], Image.Resampling.LANCZOS
    if reading.fit == "stretch":
        return picture.resize(wanted, filter_)
    if reading.fit == "pad":
        grey = round(sum(w * c for w, c in zip((0.299, 0.587, 0.114), reading.background, strict=True)))
        colour = grey if picture.mode == "L" else reading.background
        return ImageOps.pad(picture, wanted, filter_, color=colour)
    return ImageOps.fit(picture, wanted, filter_)
