"""What the networks of several families share."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..ranks.shares import at_work, moments
from ..ranks.shares import over_batch as over_batch
from ..ranks.shares import places as places
from ..types import Shape

COARSEST = 8  # largest shorter side at the coarsest resolution
FEWEST = 2  # halvings, also of a small image


def halvings(arch: str, shape: Shape) -> int:
    """Return how often a convolutional form halves the image: twice for sides of 28 or 32, three times for 64.

    It does until the shorter side is at most 8. Raise UsageError, with the next size that does, where that leaves a
    remainder.
    """
    _, H, W = shape
    n = FEWEST
    while min(H, W) > COARSEST << n:
        n += 1
    step = 1 << n
    if H % step or W % step:
        fits = " x ".join(str(-(-side // step) * step) for side in (H, W))
        raise UsageError(
            f"--arch {arch} needs a height and width divisible by {step}, not {H} x {W}; use --arch mlp, or images of"
            f" {fits}."
        )
    return n


def widths(channels: int, n: int) -> list[int]:
    """Return the channels after each of n halvings, the finest first: c, 2c, then 4c."""
    return [channels * min(1 << i, 4) for i in range(n)]


def by_class(y: Tensor, table: Tensor) -> Tensor:
    """Return the rows [N, ...] of a table [classes, ...] for classes y.

    y is int64 [N], or float [N, classes]: weights of a mixture, on a path between two classes.
    """
    flat = table.flatten(1)
    rows = y.to(flat.dtype) @ flat if y.is_floating_point() else F.embedding(y, flat)
    return rows.unflatten(1, table.shape[1:])


class SeesClass(nn.Module):
    """A layer that is given the class, or None where there is none."""


class ByClass(SeesClass):
    """Add an embedding of the class to h [N, width, ...], the same at all places.

    Behind a linear layer it does what a one-hot y beside that layer's input would do. It starts as normal draws of this
    deviation; at 0 the model is the one without classes.
    """

    def __init__(self, classes: int, width: int, deviation: float) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(classes, width))
        if deviation:
            nn.init.normal_(self.embedding, std=deviation)

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        """Return h + e(y), or h where no class is given."""
        if y is None:
            return h
        e = by_class(y, self.embedding)
        return h + e.reshape(*e.shape, *[1] * (h.dim() - 2))


class ClassGaussian(SeesClass):
    """z ~ N(mu_y, diag sigma_y^2) of e ~ N(0, I): z = mu_y + sigma_y e, [N, D] both; it starts as N(0, I)."""

    def __init__(self, classes: int, D: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(classes, D))
        self.log_sigma = nn.Parameter(torch.zeros(classes, D))

    def forward(self, e: Tensor, y: Tensor) -> Tensor:
        """Return z."""
        return by_class(y, self.mu) + torch.exp(by_class(y, self.log_sigma)) * e

    def inverse(self, z: Tensor, y: Tensor) -> Tensor:
        """Return e."""
        return (z - by_class(y, self.mu)) * torch.exp(-by_class(y, self.log_sigma))

    def log_det(self, y: Tensor) -> Tensor:
        """Return log |det dz/de|, [N] nats."""
        return by_class(y, self.log_sigma).sum(1)


class Stack(nn.Sequential):
    """Layers one after the other; those that see the class get it too."""

    def forward(self, x: Tensor, y: Tensor | None = None, start: int = 0) -> Tensor:
        """Map x [N, ...] through the layers, from the one at start on."""
        for layer in islice(self, start, None):
            x = layer(x, y) if isinstance(layer, SeesClass) else layer(x)
        return x


class FromSigned(nn.Module):
    """(x + 1) / 2: from [-1, 1] to [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x moved."""
        return (x + 1) / 2


APART = 1.0  # deviation of an embedding at the start: from 0 a VAE finds the class late, and puts it into z first


def sees_class(classes: int, width: int, deviation: float = APART) -> list[nn.Module]:
    """Return the layer that adds the class to `width` channels; none for a model without classes."""
    return [ByClass(classes, width, deviation)] if classes else []


class _OverBatch(nn.modules.batchnorm._BatchNorm):
    """Batch norm (Ioffe & Szegedy 2015, arXiv:1502.03167) over the whole batch, also if other processes have a part.

    y = gamma (x - m) / sqrt(V + eps) + beta; m and V are of all places in all images, and so are their gradients.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize x [N, c, ...]; outside training by the running mean and variance."""
        share, x = at_work(), input
        if share is None or not self.training:
            return super().forward(x)
        places = [i for i in range(x.dim()) if i != 1]
        mean, variance = moments(x.mean(places), x.var(places, correction=0))
        n = x.numel() // x.shape[1] * sum(share.counts) // share.count
        self.remember(mean.detach(), variance.detach() * n / max(1, n - 1))
        scale = self.weight / (variance + self.eps).sqrt()
        shape = [1, -1, *[1] * (x.dim() - 2)]
        return x * scale.view(shape) + (self.bias - mean * scale).view(shape)

    @torch.no_grad()
    def remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running mean and variance."""
        assert self.running_mean is not None and self.running_var is not None  # noqa: S101
        assert self.num_batches_tracked is not None and self.momentum is not None  # noqa: S101
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked.add_(1)


class BatchNorm1d(_OverBatch, nn.BatchNorm1d):
    """Batch norm of features [N, c]."""


class BatchNorm2d(_OverBatch, nn.BatchNorm2d):
    """Batch norm of channels [N, c, H, W]."""
