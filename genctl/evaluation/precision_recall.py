"""What generated images are like, by their neighbours among real ones. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

NEIGHBOURS = 10
CHUNK = 1_000  # rows of a table of distances held at a time
K_PRECISION, K_DENSITY = 3, 5
MEMORIZED = 0.01  # quantile of real images' distances to their nearest training image

Advance = Callable[[int], None]


def vote(x: Tensor, pixels: Tensor, labels: Tensor, k: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
    """Return the class [N] that most of the k nearest real images have, and how many of them have it.

    x is [N, C, H, W] in [0, 1]; pixels uint8 [M, C, H, W]; the distance is Euclidean in pixels.
    """
    queries = x.flatten(1).float()
    classes, k = int(labels.max()) + 1, min(k, len(pixels))
    near = queries.new_full((len(x), k), torch.inf)
    who = torch.zeros(len(x), k, dtype=torch.int64, device=x.device)
    for start in range(0, len(pixels), 10_000):
        real = pixels[start : start + 10_000].flatten(1).float() / 255
        squares = real.square().sum(1) - 2 * queries @ real.T  # |x - r|^2 less |x|^2, [N, 10000]
        distance, index = squares.topk(min(k, len(real)), dim=1, largest=False)
        all_distances, all_who = torch.cat([near, distance], 1), torch.cat([who, labels[start + index]], 1)
        near, best = all_distances.topk(k, dim=1, largest=False)
        who = all_who.gather(1, best)
    counts = torch.nn.functional.one_hot(who, classes).sum(1)  # [N, classes]
    agreeing, label = counts.max(1)
    return label, agreeing


def _squares(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield the squared distances of x [N, D] to y [M, D], [CHUNK, M] at a time."""
    sizes = y.square().sum(1)
    for rows in x.split(CHUNK):
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
    recall = torch.zeros(len(real), dtype=torch.bool)
    coverage = torch.zeros(len(real), dtype=torch.bool)
    for chunk, reach in zip(_squares(fake, real), own.split(CHUNK), strict=True):
        precision.append((chunk <= near).any(1))
        inside = chunk <= wide
        density.append(inside.sum(1) / ks[1])
        recall |= (chunk <= reach[:, None]).any(0)
        coverage |= inside.any(0)
        advance(len(chunk))
    terms = {"precision": torch.cat(precision), "recall": recall, "density": torch.cat(density), "coverage": coverage}
    return {name: values.double() for name, values in terms.items()}


def nearest(x: Tensor, pixels: Tensor, advance: Advance = lambda images: None) -> Tensor:
    """Return the squared distance in pixels of each image to the nearest of others, both uint8 [.., C, H, W], [N]."""
    queries = x.flatten(1).float()
    best = torch.full((len(x),), torch.inf)
    for others in pixels.split(10_000):
        found = [chunk.min(1).values for chunk in _squares(queries, others.flatten(1).float())]
        best = torch.minimum(best, torch.cat(found))
        advance(len(others))
    return best


def memorized(generated: Tensor, real: Tensor) -> Tensor:
    """Return which squared distances to the training set are smaller than almost all real images' are.

    The bound is the 1 % quantile of the real ones, so 0.01 is expected of new images of the same kind.
    """
    return (generated < real.double().quantile(MEMORIZED)).double()
