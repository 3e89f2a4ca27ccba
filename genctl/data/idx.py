"""IDX files, the format of the MNIST family: gzipped or not, with or without labels.

A file is a magic number (two zero bytes, 8 for unsigned bytes, the number of dimensions), the sizes as
big-endian 32-bit integers, then the bytes (LeCun, Cortes & Burges).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import IO, cast

import torch
from torch import Tensor

from ..errors import DataError
from ..pictures.regular import Unreadable, opened

CHUNK = 1 << 20
CHANNELS = (1, 3)
KINDS = ("images-idx3", "images-idx4", "labels-idx1")
MOST_BYTES = 4 << 30  # more than this is refused before it is unpacked


def read(path: Path) -> Tensor:
    """Return the file's uint8 tensor; raise DataError if its magic number, sizes or length are wrong."""
    try:
        with opened(path, MOST_BYTES + (1 << 20)) as file:
            return parse(cast(IO[bytes], gzip.open(file)) if path.suffix == ".gz" else file, path)
    except (OSError, EOFError, zlib.error, Unreadable) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch or copy it again.") from error


def parse(file: IO[bytes], path: Path) -> Tensor:
    """Return the uint8 tensor of an opened file; path is what errors name."""
    sizes = _sizes(file.read(4), file, path)
    data = _up_to(prod(sizes) + 1, file)
    if len(data) != prod(sizes):
        found = "more" if len(data) > prod(sizes) else f"{len(data):,}"
        raise DataError(f"{path} promises {prod(sizes):,} bytes and holds {found}; fetch or copy it again.")
    return torch.frombuffer(data, dtype=torch.uint8).reshape(sizes)


def _up_to(n: int, file: IO[bytes]) -> bytearray:
    """Return the next n bytes, or fewer; memory grows with what is there, not with what a header promises."""
    data = bytearray()
    while len(data) < n and (chunk := file.read(min(n - len(data), CHUNK))):
        data += chunk
    return data


def _sizes(magic: bytes, file: IO[bytes], path: Path) -> list[int]:
    if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
        raise DataError(f"{path} is not an IDX file of bytes: it starts with {magic.hex(' ') or 'nothing'}.")
    raw = file.read(4 * magic[3])
    sizes = [int.from_bytes(raw[i : i + 4]) for i in range(0, len(raw), 4)]
    if len(raw) != 4 * magic[3] or min(sizes) == 0 or prod(sizes) > MOST_BYTES:
        raise DataError(f"{path} has impossible sizes {sizes}; fetch or copy it again.")
    return sizes


ENDINGS = ("", ".gz")


def find(folder: Path, name: str, endings: Sequence[str] = ENDINGS) -> Path | None:
    """Return the file of this name in the folder, gzipped or not, written with - or . before idx."""
    for stem in (name, name.replace("-idx", ".idx")):
        for path in (folder / f"{stem}{ending}" for ending in endings):
            if path.exists():  # a FIFO too: reading it says so
                return path
    return None


def is_in(folder: Path) -> bool:
    """Tell whether a folder holds files of these names."""
    return any(find(folder, f"{prefix}-{what}-ubyte") for prefix in ("train", "t10k") for what in KINDS)


def read_split(folder: Path, prefix: str, endings: Sequence[str] = ENDINGS) -> tuple[Tensor, Tensor | None]:
    """Return images [N, C, H, W] and labels [N] or None of the files that start with train or t10k."""
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-images-idx4-ubyte")
    path = find(folder, names[0], endings) or find(folder, names[1], endings)
    if path is None:
        raise DataError(
            f"{folder} has no {prefix}-images-idx3-ubyte (or .gz); a data folder holds train-images-idx3-ubyte"
            " and t10k-images-idx3-ubyte, and labels-idx1-ubyte files if there are labels."
        )
    images = read(path)
    if images.dim() not in (3, 4):
        raise DataError(f"{path} holds {images.dim()} dimensions; images have 3 (N, H, W) or 4 (N, C, H, W).")
    if images.dim() == 3:
        images = images.unsqueeze(1)
    elif images.shape[3] in CHANNELS and images.shape[1] not in CHANNELS:  # [N, H, W, C]
        images = images.permute(0, 3, 1, 2).contiguous()
    label_path = find(folder, f"{prefix}-labels-idx1-ubyte", endings)
    if label_path is None:
        return images, None
    labels = read(label_path)
    if labels.shape != images.shape[:1]:
        raise DataError(f"{label_path} has {tuple(labels.shape)} labels for the {len(images)} images of {path.name}.")
    return images, labels.long()


def read_folder(
    folder: Path, endings: Sequence[str] = ENDINGS
) -> tuple[tuple[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]:
    """Return the (images, labels) of training and of test; raise DataError if they do not fit together."""
    train, test = read_split(folder, "train", endings), read_split(folder, "t10k", endings)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(f"{folder}: training images are {tuple(train[0].shape[1:])}, test {tuple(test[0].shape[1:])}.")
    return train, test
