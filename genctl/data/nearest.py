"""Real images near to others: they name the class of a generated one, and show what was memorized.

Distances are Euclidean in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 10


def vote(x: Tensor, pixels: Tensor, labels: Tensor, k: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
    """Return the class [N] that most of the k nearest real images have, and how many of them have it.

    x is [N, C, H, W] in [0, 1]; pixels uint8 [M, C, H, W]; the distance is Euclidean in pixels.
    """
    classes = int(labels.max()) + 1
    _, index = neighbours(x, pixels, k)
    counts = torch.nn.functional.one_hot(labels[index], classes).sum(1)  # [N, classes]
    agreeing, label = counts.max(1)
    return label, agreeing


def neighbours(x: Tensor, pixels: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distances [N, k] of the k nearest real images, and their indices [N, k].

    x is [N, C, H, W] in [0, 1]; pixels uint8 [M, C, H, W].
    """
    queries, k = x.flatten(1).float(), min(k, len(pixels))
    near = queries.new_full((len(x), k), torch.inf)
    who = torch.zeros(len(x), k, dtype=torch.int64, device=x.device)
    for start in range(0, len(pixels), 10_000):
        real = pixels[start : start + 10_000].flatten(1).float() / 255
        squares = real.square().sum(1) - 2 * queries @ real.T  # |x - r|^2 less |x|^2, [N, 10000]
        distance, index = squares.topk(min(k, len(real)), dim=1, largest=False)
        all_distances, all_who = torch.cat([near, distance], 1), torch.cat([who, start + index], 1)
        near, best = all_distances.topk(k, dim=1, largest=False)
        who = all_who.gather(1, best)
    squares = near + queries.square().sum(1, keepdim=True)
    return squares.clamp_min(0).sqrt(), who


def spread(x: Tensor) -> float:
    """Return the mean Euclidean distance of all pairs of images [N, C, H, W]."""
    return torch.pdist(x.flatten(1)).mean().item()
