"""Images that may be more than memory holds: what is made of them is made a piece at a time, in order or by index."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from .images import Images

KEPT = 1 << 28  # bytes of images of which all is made at once: what memory may grow by with a set
WILL_NEED = 3  # madvise's word, on Linux and macOS


class Pieces:
    """What a model makes of images, uint8 [N, C, H, W]: it has slices as a tensor has, and no more is made of it."""

    def __init__(self, images: Images, made: Callable[[Images], Tensor], device: torch.device) -> None:
        self.images, self.made, self.device = images, made, device

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, piece: slice) -> Tensor:
        return self.made(self.images.part(piece)).to(self.device)

    def gather(self, index: Tensor) -> Tensor:
        """Return the images at these indices, on the CPU; all are asked of the disk before the first is waited for."""
        ask(self.images.pixels, index)
        return self.made(self.images.gather(index))


def through(images: Images, made: Callable[[Images], Tensor], device: torch.device) -> Tensor | Pieces:
    """Return what a function makes of images, on the device: all of it where it fits, else pieces."""
    if images.pixels.nbytes <= room(device):
        return made(images).to(device)
    return Pieces(images, made, device)


def room(device: torch.device) -> int:
    """Return how many bytes of images may lie on the device."""
    return int(torch.cuda.mem_get_info(device)[0]) // 2 if device.type == "cuda" else KEPT


def ask(pixels: Tensor, index: Tensor) -> None:
    """Ask the system to read these rows, all at once, if they are mapped from a file; it is advice, and may do nothing.

    Without it a row is read when it is touched, one after the other, each with its neighbours on the disk.
    """
    with suppress(OSError, AttributeError, TypeError):  # a system without it
        madvise = ctypes.CDLL(None).madvise
        begin, size = pixels.data_ptr(), pixels[0].nbytes
        for i in index.tolist():
            row = begin + i * size
            page = row - row % mmap.PAGESIZE
            madvise(ctypes.c_void_p(page), ctypes.c_size_t(row + size - page), WILL_NEED)
