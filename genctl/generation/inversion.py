"""The latent of an image for a model that has no encoder: found by descent (Zhu et al. 2016, arXiv:1609.03552)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..config import SamplingOptions
from ..models.base import Decodes
from . import sampling

CANDIDATES = 512  # latents of the model among which the descent starts at the nearest
STEPS = 400
RATE = 0.05


class Inverted(NamedTuple):
    """Latents, and how far their images are from those that were wanted."""

    z: Tensor  # [N, *latent_shape]
    error: Tensor  # [N]: the root of the mean squared error of an image, in [0, 1]


def invert(
    model: Decodes, x: Tensor, options: SamplingOptions | None = None, steps: int = STEPS, y: Tensor | None = None
) -> Inverted:
    """Return the latents whose images are near to uint8 x [N, C, H, W]: argmin over z of |G(z) - x|^2.

    Of a conditional model y [N] are the classes of the images; the start is looked for among samples of the first.
    Adam descends from the nearest of the model's own samples and keeps the best latent on its way. Each image is found
    by itself: its latent does not depend on the others.
    """
    wanted = x.to(model.device) / 255
    start = sampling.latents(model, 0, CANDIDATES, options)
    drawn = sampling.decode(model, start, None if y is None else y[:1].expand(len(start)), options).flatten(1)
    near = torch.cdist(x.flatten(1) / 255, drawn).argmin(1)
    z = start[near].to(model.device).requires_grad_()
    best, least = z.detach().clone(), torch.full((len(x),), torch.inf, device=model.device)
    optimizer, given = torch.optim.Adam([z], lr=RATE), None if y is None else y.to(model.device)
    with torch.enable_grad():
        for _ in range(steps + 1):
            error = (model.decode(z, given, options) - wanted).square().flatten(1).mean(1)  # [N]
            better = error.detach() < least
            least[better], best[better] = error.detach()[better], z.detach()[better]
            optimizer.zero_grad()
            error.sum().backward()
            optimizer.step()
    return Inverted(best.cpu(), least.sqrt().cpu())
