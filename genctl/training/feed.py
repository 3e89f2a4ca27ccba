"""The batches of a training, in the order of each epoch; from a set larger than memory they are read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ..data.pieces import Pieces
from ..seeds import generator

ASKED = 16  # batches that the disk is asked for before they are read
AHEAD = 4  # batches that are read before they are needed
READERS = 2  # threads; one waits for the disk while the other copies
ALL = slice(None)

Pair = tuple[Tensor, Tensor | None]  # images and labels


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the full batches in an epoch; what does not fill one is left for another epoch's order."""
    return max(1, images // batch_size)


def order_of(epoch: int, images: int, seed: int) -> Tensor:
    """Return the epoch's order, a pure function of (seed, epoch)."""
    return torch.randperm(images, generator=generator("order", seed, epoch))


def indices(
    images: int,
    size: int,
    seed: int,
    steps: range,
    device: torch.device | str = "cpu",
    mine: slice = ALL,
) -> Iterator[Tensor]:
    """Yield the indices of each step's batch; of several processes each has its slice of it."""
    per_epoch, order = steps_per_epoch(images, size), None
    for step in steps:
        epoch, i = divmod(step, per_epoch)
        if order is None or i == 0:
            order = order_of(epoch, images, seed).to(device)
        yield order[i * size : (i + 1) * size][mine]


def at(pixels: Tensor | Pieces, index: Tensor) -> Tensor:
    """Return the images at these indices, on their device."""
    if isinstance(pixels, Pieces):
        pixels.ask(index)
        return pixels.gather(index).to(pixels.device)
    return pixels[index.to(pixels.device)]


def batches(
    pixels: Tensor | Pieces, labels: Tensor | None, size: int, seed: int, steps: range, mine: slice = ALL
) -> Iterator[Pair]:
    """Yield images and labels of each step, on the device of the images; mine is the part of a batch that is read."""
    if isinstance(pixels, Pieces):
        yield from read_ahead(pixels, labels, indices(len(pixels), size, seed, steps, mine=mine))
        return
    for index in indices(len(pixels), size, seed, steps, pixels.device, mine):
        yield pixels.index_select(0, index), None if labels is None else labels.index_select(0, index)


def read_ahead(pixels: Pieces, labels: Tensor | None, order: Iterator[Tensor]) -> Iterator[Pair]:
    """Yield the same of images that are not all in memory; threads gather them, for CUDA into pinned memory."""
    device = pixels.device
    known = None if labels is None else labels.cpu()

    def pinned(t: Tensor) -> Tensor:
        return t.pin_memory() if device.type == "cuda" else t

    def gathered(index: Tensor) -> Pair:
        return pinned(pixels.gather(index)), None if known is None else pinned(known.index_select(0, index))

    def ready(waiting: deque[Future[Pair]]) -> Pair:
        x, y = waiting.popleft().result()
        return x.to(device, non_blocking=True), None if y is None else y.to(device, non_blocking=True)

    pool, waiting = ThreadPoolExecutor(READERS, "prefetch"), deque[Future[Pair]]()
    try:
        for index in asked(pixels, order, pool):
            waiting.append(pool.submit(gathered, index))
            if len(waiting) > AHEAD:
                yield ready(waiting)
        while waiting:
            yield ready(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def asked(pixels: Pieces, order: Iterator[Tensor], pool: ThreadPoolExecutor) -> Iterator[Tensor]:
    """Yield the same indices, each once the disk has been asked for those of the next batches."""
    coming = deque[Tensor]()
    for index in order:
        pool.submit(pixels.ask, index)
        coming.append(index)
        if len(coming) > ASKED:
            yield coming.popleft()
    yield from coming
