"""A share of a batch: the images of it that are computed here, as if the whole batch were.

A batch is divided among processes, and in each into passes. Every share makes the same noise of the whole batch and
takes its own rows, so that no draw depends on how many shares there are. The share at work is known here, as that of
the noise is to torch's default generator; outside a divided step there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import UsageError

Sum = Callable[[Tensor], object]  # adds a tensor of all processes up, in place
Draw = Callable[[tuple[int, ...]], Tensor]

AT_ONCE = "this model's loss is of the whole batch at once; leave out --accumulate."


@dataclass
class Share:
    """One of the shares of a batch; sum is None where the others are not computed at the same time."""

    counts: Sequence[int]  # images of each
    index: int
    sum: Sum | None = None
    drawn: list[Tensor] | None = None  # noise of the whole batch, where the passes of a step share it
    taken: int = 0  # of these

    @property
    def first(self) -> int:
        """Return the place of its first image in the batch."""
        return sum(self.counts[: self.index])

    @property
    def count(self) -> int:
        """Return its images."""
        return self.counts[self.index]

    @property
    def weight(self) -> float:
        """Return its part of the batch, by which its means count."""
        return self.count / sum(self.counts)

    def anew(self, drawn: list[Tensor] | None) -> Self:
        """Return the same share in another step, whose noise is kept in this list."""
        return replace(self, drawn=drawn, taken=0)

    def noise(self, draw: Draw, shape: tuple[int, ...], images: int, each: int) -> Tensor:
        """Return its rows of noise that is drawn for the whole batch.

        The dimension `images` counts k batches one after the other: their images, or packs of `each` of them.
        """
        total, rows = sum(self.counts), shape[images]
        blocks = max(1, rows * each // self.count)
        each = blocks * self.count // rows
        if blocks * self.count != rows * each or total % each or self.first % each:
            raise RuntimeError(f"noise of {rows} rows is not for a share of {self.count} images; see seeds.noise")
        whole = self.whole(draw, (*shape[:images], blocks * total // each, *shape[images + 1 :]))
        whole = whole.unflatten(images, (blocks, total // each))
        return whole.narrow(images + 1, self.first // each, self.count // each).flatten(images, images + 1)

    def whole(self, draw: Draw, shape: tuple[int, ...]) -> Tensor:
        """Return noise for the whole batch: what the pass before has drawn, or a new draw."""
        if self.drawn is None:
            return draw(shape)
        if self.taken == len(self.drawn):
            self.drawn.append(draw(shape))
        self.taken += 1
        return self.drawn[self.taken - 1]

    def every(self, x: Tensor) -> Tensor:
        """Return x of every share, [shares, *x.shape]; gradients go back to where each x is from."""
        if self.sum is None:
            raise UsageError(AT_ONCE)
        slots = [x if i == self.index else torch.zeros_like(x) for i in range(len(self.counts))]
        return _Summed.apply(torch.stack(slots), self.sum)


class _Summed(torch.autograd.Function):
    """A sum over all processes. Each has a loss, and their sum is what is differentiated: so gradients are summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, add_up: Sum) -> Tensor:
        ctx.add_up = add_up
        total = x.clone()
        add_up(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Summed.apply(gradients[0], ctx.add_up), None


_at_work: list[Share] = []


@contextmanager
def within(share: Share) -> Iterator[None]:
    """Within, noise and means of the batch are those of this share."""
    _at_work.append(share)
    try:
        yield
    finally:
        _at_work.pop()


def at_work() -> Share | None:
    """Return the share that is computed, None where it is the whole batch."""
    return _at_work[-1] if _at_work else None


def noise(draw: Draw, shape: tuple[int, ...], images: int | None = 0, each: int = 1) -> Tensor:
    """Return noise of this shape for the images here, see Share.noise; None: for all images the same."""
    share = at_work()
    if share is None:
        return draw(shape)
    return share.whole(draw, shape) if images is None else share.noise(draw, shape, images, each)


def places(images: int, device: torch.device) -> Tensor:
    """Return for the images here i/n in [0, 1), of which each is the i-th of n in the whole batch."""
    share = at_work()
    first, total = (0, images) if share is None else (share.first, sum(share.counts))
    return torch.arange(first, first + images, device=device) / total


def over_batch(mean: Tensor) -> Tensor:
    """Return the mean over the whole batch of what is a mean over the images here: for what is no sum over images."""
    share = at_work()
    return mean if share is None else weighted(share, share.every(mean))


def moments(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance [C] of the whole batch, of those of the images here.

    V = sum_r w_r (V_r + (m_r - m)^2), the law of total variance: nothing large is subtracted (Chan et al. 1979).
    """
    share = at_work()
    if share is None:
        return mean, variance
    means, variances = share.every(torch.stack([mean, variance])).unbind(1)  # [shares, C] each
    whole = weighted(share, means)
    return whole, weighted(share, variances + (means - whole).square())


def weighted(share: Share, each: Tensor) -> Tensor:
    """Return the mean over shares of each [shares, ...], by their images."""
    total = sum(share.counts)
    return torch.stack([n / total * one for n, one in zip(share.counts, each, strict=True)]).sum(0)


def even(images: int, shares: int, together: int = 1) -> list[int]:
    """Return how many images each share has, as even as can be in packs of `together`; the first have the rest."""
    packs, rest = divmod(images // together, shares)
    return [together * (packs + (i < rest)) for i in range(shares)]
