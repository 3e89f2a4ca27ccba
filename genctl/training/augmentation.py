"""Images that are mirrored, moved, enlarged and turned at random in training: on the device, on whole batches.

Each image is sampled at s = A p + t for its pixels p, counted from its middle. What lies outside has the mean of the
image's border. The draws are made of the step's noise, so they are a function of (seed, step).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import ceil, pi, sqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

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
    N, C, H, W = x.shape
    sizes, rows, columns = (H, W), torch.arange(H, device=x.device)[:, None], torch.arange(W, device=x.device)
    middle = (H - 1) / 2, (W - 1) / 2
    back = inverse(A) if transposed else A
    pixel = rows - middle[0], columns - middle[1]
    shift = t if not transposed else -torch.stack([(back[:, i] * t).sum(1) for i in range(2)], 1)
    centre = affine(back, shift, pixel)  # y and x, [N, H, W] each
    first = [(c + (m if reach else m + 0.5)).floor_() for c, m in zip(centre, middle, strict=True)]  # counted from 0
    at_first = [f - m for f, m in zip(first, middle, strict=True)]
    off = affine(A, t, at_first) if transposed else at_first
    off = [o - p for o, p in zip(off, pixel if transposed else centre, strict=True)] if reach else []
    edged = F.pad(x, (1, 1, 1, 1)).flatten(2)  # what lies outside is read there
    wide = ceil(reach) if transposed else 1
    out: Tensor | None = None
    for step in product(range(1 - wide, wide + 1), repeat=2) if reach else [(0, 0)]:
        y, across = ((f + d + 1).clamp_(0, n + 1) for f, d, n in zip(first, step, sizes, strict=True))
        index = y.mul_(W + 2).add_(across).long().view(N, 1, -1).expand(-1, C, -1)
        part = edged.gather(2, index).view_as(x)
        if reach:
            moved: Sequence[Tensor | int] = step
            moved = [A[:, i, 0] * step[0] + A[:, i, 1] * step[1] for i in range(2)] if transposed else moved
            near = [(o + per_image(m)).abs_().neg_().add_(1).clamp_min_(0) for o, m in zip(off, moved, strict=True)]
            part = part * near[0].mul_(near[1]).unsqueeze(1)
        out = part if out is None else out + part
    assert out is not None  # noqa: S101 - there is a first tap
    return out


def per_image(value: Tensor | int) -> Tensor | int:
    """Return a number of each image [N] as [N, 1, 1]."""
    return value[:, None, None] if isinstance(value, Tensor) else value


def affine(A: Tensor, t: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
    """Return y and x of A v + t; a matrix multiplication might round to TF32."""
    entry = A[..., None, None]  # [N, 2, 2, 1, 1]
    return [(entry[:, i, 0] * v[0] + t[:, i, None, None]) + entry[:, i, 1] * v[1] for i in range(2)]


def inverse(A: Tensor) -> Tensor:
    """Return the inverses of A [N, 2, 2], without the look at the host that torch's takes."""
    adjugate = torch.stack([A[:, 1, 1], -A[:, 0, 1], -A[:, 1, 0], A[:, 0, 0]], -1).view(-1, 2, 2)
    return adjugate / (A[:, 0, 0] * A[:, 1, 1] - A[:, 0, 1] * A[:, 1, 0])[:, None, None]
