"""Images that may be more than memory holds: what is made of them is made a piece at a time, in order or by index."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from contextlib import suppress

import numpy
import torch
from torch import Tensor

from .images import Images

KEPT = 1 << 28  # bytes of images of which all is made at once: what memory may grow by with a set
WILL_NEED = 3  # madvise's word
PROCESS_MADVISE = 440  # the system call's number, the same on all of Linux's processors
AT_ONCE = 1024  # ranges in a call


class Pieces:
    """What a model makes of images, uint8 [N, C, H, W]: it has slices as a tensor has, and no more is made of it."""

    def __init__(self, images: Images, made: Callable[[Images], Tensor], device: torch.device) -> None:
        self.images, self.made, self.device = images, made, device

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, piece: slice) -> Tensor:
        return self.made(self.images.part(piece)).to(self.device)

    def ask(self, index: Tensor) -> None:
        """Ask the disk for the images at these indices, which are soon gathered."""
        ask(self.images.pixels, index)

    def gather(self, index: Tensor) -> Tensor:
        """Return the images at these indices, on the CPU."""
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
    """Ask Linux to read these rows, if they are mapped from a file; it is advice, and may do nothing.

    Without it a row is read when it is touched, a page at a time, one after the other. It is one call for all rows, for
    a thread that makes one for each has to wait for Python's lock each time that it comes back.
    """
    if sys.platform != "linux":
        return
    begin, size = pixels.data_ptr(), pixels[0].nbytes
    rows = begin + index.numpy().astype(numpy.uint64) * size
    pages = rows - rows % mmap.PAGESIZE
    ranges = numpy.stack([pages, rows + size - pages], axis=1)  # an iovec each
    with suppress(OSError, AttributeError):  # a system without it
        process = os.pidfd_open(os.getpid())
        try:
            for some in (ranges[i : i + AT_ONCE] for i in range(0, len(ranges), AT_ONCE)):
                words = PROCESS_MADVISE, process, some.ctypes.data, len(some), WILL_NEED, 0
                ctypes.CDLL(None).syscall(*map(ctypes.c_long, words))
        finally:
            os.close(process)
