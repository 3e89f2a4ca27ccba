"""What generated images are like, by their neighbours among real ones. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..terminal.reporter import Advance

CHUNK, WIDE = 1_000, 50_000  # rows and columns of a table of distances held at a time
MOST_PIXELS = 1 << 26  # of the images that others are compared with at a time: 256 MB
K_PRECISION, K_DENSITY = 3, 5
MEMORIZED = 0.01  # quantile of real images' distances to their nearest training image


def rows_of(M: int) -> int:
    """Return the rows of a table of M columns that are held at a time: CHUNK, fewer of a very wide one."""
    return max(1, CHUNK * WIDE // max(WIDE, M))


def _squares(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield the squared distances of x [N, D] to y [M, D], [rows_of(M), M] at a time."""
    sizes = y.square().sum(1)
    for rows in x.split(rows_of(len(y))):
        yield torch.addmm(sizes + rows.square().sum(1, keepdim=True), rows, y.T, alpha=-2).clamp_min_(0)


def radii(x: Tensor, ks: tuple[int, ...] = (K_PRECISION, K_DENSITY)) -> Tensor:
    """Return the squared distance of each vector [N, D] to its k-th nearest other one, [len(ks), N]."""
    found = [chunk.topk(max(ks) + 1, dim=1, largest=False).values for chunk in _squares(x, x)]
    return torch.cat(found)[:, list(ks)].T  # the nearest of all is the vector itself


def neighbourhoods(
    real: Tensor, fake: Tensor, ks: tuple[int, int] = (K_PRECISION, K_DENSITY), advance: Advance = lambda rows: None
) -> dict[str, Tensor]:
    """Return the terms of precision and density [N fake], recall and coverage [M real]; the figures are their means.

    A ball around a vector reaches to its k-th nearest neighbour of the same set. precision: is a fake in any real
    ball; recall: is a real vector in any fake ball (Kynkaanniemi et al. 2019, arXiv:1904.06991, k = 3). density: in
    how many real balls is a fake, over k; coverage: is any fake in the ball of a real vector (Naeem et al. 2020,
    arXiv:2002.09797, k = 5).
    """
    near, wide = radii(real, ks)
    own = radii(fake, ks[:1])[0]
    precision, density = [], []
    recall = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    coverage = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for chunk, reach in zip(_squares(fake, real), own.split(rows_of(len(real))), strict=True):
        precision.append((chunk <= near).any(1))
        inside = chunk <= wide
        density.append(inside.sum(1) / ks[1])
        recall |= (chunk <= reach[:, None]).any(0)
        coverage |= inside.any(0)
        advance(len(chunk))
    terms = {"precision": torch.cat(precision), "recall": recall, "density": torch.cat(density), "coverage": coverage}
    return {name: values.cpu().double() for name, values in terms.items()}


def nearest(
    x: Tensor, pixels: Tensor, advance: Advance = lambda images: None, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the squared distance in pixels of each image to the nearest of others, both uint8 [.., C, H, W], [N]."""
    best = torch.full((len(x),), torch.inf, device=device)
    for others in pixels.split(max(1, min(10_000, MOST_PIXELS // x[0].numel()))):
        y = others.to(device).flatten(1).float()
        queries = (rows.to(device).flatten(1).float() for rows in x.split(CHUNK))
        found = [chunk.min(1).values for rows in queries for chunk in _squares(rows, y)]
        best = torch.minimum(best, torch.cat(found))
        advance(len(others))
    return best.cpu()


def memorized(generated: Tensor, real: Tensor) -> Tensor:
    """Return which squared distances to the training set are smaller than almost all real images' are.

    The bound is the 1 % quantile of the real ones, so 0.01 is expected of new images of the same kind.
    """
    return (generated < real.double().quantile(MEMORIZED)).double()
