"""Images made elsewhere: a folder of pictures, or an array in an NPZ file, read without pickle."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError
from ..types import Shape

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
MOST_BYTES = 4 << 30


def read(path: Path, shape: Shape, n: int | None = None) -> Tensor:
    """Return the first n images (all by default) as uint8 [N, C, H, W]; raise DataError if they do not fit."""
    return _folder(path, shape, n) if path.is_dir() else _array(path, shape, n)


def _array(path: Path, shape: Shape, n: int | None) -> Tensor:
    """Return the array `images`, or the only one, uint8 [N, H, W, C] or [N, H, W]."""
    import numpy

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise DataError(f"{path} unpacks to more than {MOST_BYTES >> 30} GiB; divide it.")
        with numpy.load(path, allow_pickle=False) as arrays:
            name = "images" if "images" in arrays.files else next(iter(arrays.files), "images")
            if len(arrays.files) > 1 and name != "images":
                raise DataError(f"{path} holds {', '.join(arrays.files[:5])}; name the array of images `images`.")
            found = numpy.asarray(arrays[name])  # an entry that is no array comes as bytes
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read as an NPZ file ({reason}).") from error
    C, H, W = shape
    if found.ndim == 3:
        found = found[..., None]
    if found.dtype != numpy.uint8 or found.ndim != 4 or found.shape[1:] != (H, W, C):
        raise DataError(
            f"{path} holds {found.dtype} {list(found.shape)}; images are uint8 [N, {H}, {W}, {C}]"
            f"{f' or [N, {H}, {W}]' if C == 1 else ''}."
        )
    return torch.from_numpy(found[:n].copy()).permute(0, 3, 1, 2).contiguous()


def _folder(path: Path, shape: Shape, n: int | None) -> Tensor:
    """Return the pictures of a folder in the order of their names."""
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)[:n]
    if not files:
        raise DataError(f"{path} holds no pictures; images are {', '.join(SUFFIXES)} files, or one .npz file.")
    return torch.stack([_picture(file, shape) for file in files])


def _picture(file: Path, shape: Shape) -> Tensor:
    import numpy
    from PIL import Image

    C, H, W = shape
    if C not in (1, 3):
        raise DataError(f"{file} cannot have {C} channels; give images of such data as an .npz file.")
    try:
        with Image.open(file) as picture:
            if picture.size != (W, H):
                raise DataError(f"{file} has {picture.width} x {picture.height} pixels; the data set has {W} x {H}.")
            pixels = numpy.array(picture.convert("L" if C == 1 else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be read as a picture ({error}).") from error
    return torch.from_numpy(pixels).reshape(H, W, C).permute(2, 0, 1)
