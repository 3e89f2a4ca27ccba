"""Tensors in [0, 1] -> a grid of images, curves, a file. Pillow and matplotlib are loaded when something is drawn."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checkpoint import atomic
from ..errors import CheckpointError
from . import captions
from .captions import About

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray
    from PIL import Image

PADDING = 2  # pixels between images
SMALLEST = 320  # a grid is enlarged by whole pixels until its longer side has this many


def grid(images: Tensor, columns: int) -> Tensor:
    """Return one image [C, H, W] of the images [N, C, H, W], row by row."""
    N, C, H, W = images.shape
    rows = -(-N // columns)
    sheet = images.new_zeros(C, rows * (H + PADDING) + PADDING, columns * (W + PADDING) + PADDING)
    for i, image in enumerate(images):
        top, left = PADDING + (i // columns) * (H + PADDING), PADDING + (i % columns) * (W + PADDING)
        sheet[:, top : top + H, left : left + W] = image
    return sheet


def finite(made: Tensor) -> Tensor:
    """Return what a model made; raise CheckpointError where it is not finite, which clamping would hide."""
    if not made.isfinite().all():
        raise CheckpointError(
            "the model makes images that are not finite; take weights of before it diverged, or a lower --temperature."
        )
    return made


def to_bytes(images: Tensor) -> Tensor:
    """Return uint8 images of floats in [0, 1]; raise CheckpointError where they are not finite."""
    return (finite(images).clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def to_array(images: Tensor) -> NDArray[numpy.uint8]:
    """Return images [N, C, H, W] in [0, 1] as uint8 [N, H, W, C], or [N, H, W] for one channel."""
    array: NDArray[numpy.uint8] = to_bytes(images.cpu()).permute(0, 2, 3, 1).numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def from_array(array: NDArray[Any]) -> Tensor:
    """Return an array [N, H, W, C] or [N, H, W] as a tensor [N, C, H, W] of the same type."""
    whole = array[..., None].copy() if array.ndim == 3 else array.copy()  # a view may be reversed or read-only
    x = torch.from_numpy(whole)
    return x.movedim(-1, 1).contiguous() if x.dim() == 4 else x


def save(path: Path, images: Tensor, columns: int, about: About | None = None) -> None:
    """Write images [N, C, H, W] as a grid (.png) or as an array `images` uint8 [N, H, W, C] (.npz).

    What the file says of itself stands beside them: texts of the PNG, arrays of the .npz.
    """
    images = to_bytes(images.cpu())
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        import numpy

        said: dict[str, Any] = {key.lower(): numpy.array(text) for key, text in captions.texts(about).items()}
        numpy.savez_compressed(buffer, images=images.permute(0, 2, 3, 1).numpy(), **said)
    else:
        picture(grid(images, columns)).save(buffer, format="png", **captions.png(about))
    atomic.write(path, buffer.getvalue())


def frames(images: Tensor, columns: int, down: bool) -> list[Image.Image]:
    """Return the rows of a grid of images as pictures one after the other (down), or its columns."""
    images = to_bytes(images.cpu())
    parts = list(images.split(columns)) if down else [images[i::columns] for i in range(columns)]
    return [picture(grid(part, round(len(part) ** 0.5 + 0.4999))) for part in parts]


def png(sheet: Tensor) -> bytes:
    """Return one image [C, H, W] in [0, 1] as a PNG of its own pixels."""
    buffer = io.BytesIO()
    picture(to_bytes(sheet.cpu()), enlarged=False).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def picture(sheet: Tensor, enlarged: bool = True) -> Image.Image:
    """Return an image [C, H, W] as a picture; a small one is enlarged by whole pixels."""
    from PIL import Image

    C, H, W = sheet.shape
    if C not in (1, 3):  # other channel counts are shown one below the other
        sheet = sheet.reshape(1, C * H, W)
    array = sheet.squeeze(0).numpy() if len(sheet) == 1 else sheet.permute(1, 2, 0).numpy()
    whole = Image.fromarray(array)
    factor = max(1, -(-SMALLEST // max(whole.size))) if enlarged else 1
    return whole.resize((whole.width * factor, whole.height * factor), Image.Resampling.NEAREST)
