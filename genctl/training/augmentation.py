"""Images that are mirrored, moved, enlarged and turned at random in training: on the device, on whole batches.

Each image is sampled at s = A p + t for its pixels p, counted from its middle. What lies outside has the mean of the
image's border. The draws are made of the step's noise, so they are a function of (seed, step).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import ceil, pi, sqrt
from typing import Any

import torch
from torch import Tensor

from ..config import TrainConfig
from ..errors import UsageError
from ..seeds import noise
from ..types import Shape

Augment = Callable[[Tensor], Tensor]  # images [N, C, H, W] -> as many, differentiably


def augment_of(config: TrainConfig, shape: Shape) -> Augment | None:
    """Return what the training's images go through, None for nothing; raise UsageError where they are too small."""
    side = min(shape[1:])
    for name, most in (("shift", side - 1), ("crop", side // 2)):
        if getattr(config, name) > most:
            raise UsageError(f"--{name} of images of {shape[1]} x {shape[2]} is at most {most}.")
    if not (config.flip or config.shift or config.crop or config.rotate):
        return None
    reach = 0.0  # of a pixel's weight in the result: whole pixels move as they are
    if config.rotate or config.crop:
        reach = (sqrt(2) if config.rotate else 1.0) * (side - 1) / max(1, side - 1 - config.crop)

    def augment(x: Tensor) -> Tensor:
        A, t = draw(config, x)
        edges = (x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1])
        border = torch.cat(edges, -1).mean(-1)[..., None, None]  # [N, C, 1, 1]
        moved: Tensor = _Resampled.apply(x - border, A, t, reach, False)
        return moved + border

    return augment


def to_bytes(x: Tensor) -> Tensor:
    """Return images of 0 to 255 as uint8."""
    return x.round().clamp(0, 255).to(torch.uint8)


def draw(config: TrainConfig, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return A [N, 2, 2] and t [N, 2] for images x, in the order y, x."""
    H, W = x.shape[2:]
    u = noise("uniform", (len(x), 7), x.device).unsqueeze(-1)  # [N, 7, 1]
    angle = config.rotate * pi / 180 * (2 * u[:, 0] - 1)
    mirrored = torch.where(u[:, 1] < 0.5, -1.0, 1.0) if config.flip else torch.ones_like(angle)
    turned = torch.cat([angle.cos(), -angle.sin() * mirrored, angle.sin(), angle.cos() * mirrored], 1).view(-1, 2, 2)
    moved = (u[:, 2:4, 0] * (2 * config.shift + 1)).floor().clamp(max=2 * config.shift) - config.shift
    cut = config.crop * u[:, 4]  # pixels that the window is smaller by
    scale = torch.cat([1 - cut / max(1, H - 1), 1 - cut / max(1, W - 1)], 1)
    return scale.unsqueeze(-1) * turned, moved + cut * (u[:, 5:7, 0] - 0.5)


class _Resampled(torch.autograd.Function):
    """Bilinear sampling of x at A p + t, zero outside, or its transpose: each is the other's gradient.

    Both gather, so that a GPU adds in one order; the gradient of torch.nn.functional.grid_sample adds as it comes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, A: Tensor, t: Tensor, reach: float, transposed: bool) -> Tensor:
        ctx.save_for_backward(A, t)
        ctx.how = reach, transposed
        return resampled(x, A, t, reach, transposed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        A, t = ctx.saved_tensors
        reach, transposed = ctx.how
        return _Resampled.apply(gradients[0], A, t, reach, not transposed), None, None, None, None


def resampled(x: Tensor, A: Tensor, t: Tensor, reach: float, transposed: bool) -> Tensor:
    """Return sum_q w(q, p) x[q], or with its arguments exchanged, for w = max(0, 1 - |A p + t - q|) in y times in x.

    reach is how far from a pixel its weights in the result may lie; for 0, A and t map pixels onto pixels.
    """
    H, W = x.shape[2:]
    middle = (H - 1) / 2, (W - 1) / 2
    place = torch.arange(H * W, device=x.device)
    pixel = torch.stack([place // W - middle[0], place % W - middle[1]]).unsqueeze(1)  # [2, 1, HW]
    shift = t.T.unsqueeze(-1)  # [2, N, 1]
    centre = times(inverse(A), pixel - shift) if transposed else times(A, pixel) + shift  # [2, N, HW]
    first = torch.stack([(c + m + (0 if reach else 0.5)).floor() - m for c, m in zip(centre, middle, strict=True)])
    wide = ceil(reach) if transposed else 1
    out = torch.zeros_like(x).flatten(2)
    for dy, dx in product(range(1 - wide, wide + 1), repeat=2) if reach else [(0, 0)]:
        q = torch.stack([first[0] + dy, first[1] + dx])
        weight = ((q[0].abs() <= middle[0]) & (q[1].abs() <= middle[1])).to(x.dtype)  # [N, HW]
        if reach:
            off = times(A, q) + shift - pixel if transposed else q - centre
            weight = weight * (1 - off.abs()).clamp_min(0).prod(0)
        y, across = (q[i].clamp(-m, m) + m for i, m in enumerate(middle))
        index = (y * W + across).long().unsqueeze(1).expand(-1, x.shape[1], -1)
        out = out + weight.unsqueeze(1) * x.flatten(2).gather(2, index)
    return out.view_as(x)


def times(A: Tensor, v: Tensor) -> Tensor:
    """Return A v [2, N, n] for A [N, 2, 2] and v [2, 1 or N, n]; a matrix multiplication might round to TF32."""
    return torch.stack([A[:, i, 0, None] * v[0] + A[:, i, 1, None] * v[1] for i in range(2)])


def inverse(A: Tensor) -> Tensor:
    """Return the inverses of A [N, 2, 2], without the look at the host that torch's takes."""
    adjugate = torch.stack([A[:, 1, 1], -A[:, 0, 1], -A[:, 1, 0], A[:, 0, 0]], -1).view(-1, 2, 2)
    return adjugate / (A[:, 0, 0] * A[:, 1, 1] - A[:, 0, 1] * A[:, 1, 0])[:, None, None]
