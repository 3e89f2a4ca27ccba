"""What keeps D's slope small, by the name of --gradient-penalty: functions of D, x and G(z), images [N, C, H, W].

D maps images to logits, and knows the classes of x where there are any; those of G(z) are the same. Each penalty
differentiates D by the images, exactly, in a graph through which D's parameters are then differentiated.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...seeds import noise

Judge = Callable[[Tensor], Tensor]  # images -> logits; nothing compiled, which would have no second derivative


def squared_slope(D: Judge, images: Tensor) -> Tensor:
    """Return |grad_x D(x)|^2 for each image, [N]."""
    images = images.detach().requires_grad_()
    (slope,) = torch.autograd.grad(D(images).sum(), images, create_graph=True)
    return slope.square().flatten(1).sum(1)


def r1(D: Judge, x: Tensor, fake: Tensor) -> Tensor:
    """Return E|grad D(x)|^2 / 2 at real images (Mescheder, Geiger & Nowozin 2018, arXiv:1801.04406)."""
    return squared_slope(D, x).mean() / 2


def r2(D: Judge, x: Tensor, fake: Tensor) -> Tensor:
    """Return E|grad D(G(z))|^2 / 2 at generated images (Mescheder et al. 2018)."""
    return squared_slope(D, fake).mean() / 2


def r1_and_r2(D: Judge, x: Tensor, fake: Tensor) -> Tensor:
    """Return the sum of both, from one pass (Huang et al. 2024, arXiv:2501.05441)."""
    return squared_slope(D, torch.cat([x, fake])).mean()


def wasserstein(D: Judge, x: Tensor, fake: Tensor) -> Tensor:
    """Return E(|grad D| - 1)^2 at random points between x and G(z) (Gulrajani et al. 2017, arXiv:1704.00028)."""
    u = noise("uniform", (len(x), 1, 1, 1), x.device).to(x.dtype)
    slope = (squared_slope(D, x + u * (fake - x)) + 1e-12).sqrt()  # finite derivative where D is flat
    return (slope - 1).square().mean()


PENALTIES: dict[str, Callable[[Judge, Tensor, Tensor], Tensor]] = {
    "r1": r1,
    "r2": r2,
    "r1+r2": r1_and_r2,
    "wasserstein": wasserstein,
}
