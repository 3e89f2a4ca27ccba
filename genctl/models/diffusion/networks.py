"""Networks of a noisy image, its noise level and its class: a U-Net (Ronneberger et al. 2015), or an MLP.

A block is x + conv(silu(norm(...))), whose normalized middle is scaled and shifted by what is known of the noise level
and the class (Dhariwal & Nichol 2021, arXiv:2105.05233). All that ends in a sum starts at 0, so F = 0 before training.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...types import Shape
from ..blocks import by_class, halvings, widths
from .config import DiffusionConfig

INPUTS = 3  # channels that a network sees of each of an image's: preconditioning.inputs
FREQUENCIES = 32
PER_GROUP = 8  # channels that are normalized together
PER_HEAD = 32


def zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """Return the layer, with its weights and bias set to 0."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


def norm(width: int) -> nn.GroupNorm:
    """Return a normalization of groups of channels."""
    return nn.GroupNorm(max(1, width // PER_GROUP) if width % PER_GROUP == 0 else 1, width)


class Condition(nn.Module):
    """What a block is told: a vector [N, width] of lam [N] and of the class; the last row is no class."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.classes = nn.Parameter(torch.randn(classes + 1, width)) if classes else None

    def forward(self, lam: Tensor, y: Tensor | None) -> Tensor:
        """Return the vector for classes y: int64 [N], or weights [N, classes]; None for no class."""
        angles = lam[:, None] * torch.exp2(torch.linspace(-3, 2, FREQUENCIES, device=lam.device, dtype=lam.dtype))
        h = self.layers(torch.cat([angles.sin(), angles.cos()], 1))
        if self.classes is not None:
            none = len(self.classes) - 1
            y = torch.full(lam.shape, none, device=lam.device) if y is None else y
            h = h + by_class(F.pad(y, (0, 1)) if y.is_floating_point() else y, self.classes)
        return F.silu(h)


class Block(nn.Module):
    """h + conv(silu(norm(conv(silu(norm(h)))) (1 + scale) + shift)), scale and shift of the condition."""

    def __init__(self, width: int, told: int, layer: Callable[[int, int], nn.Conv2d | nn.Linear]) -> None:
        super().__init__()
        self.first = nn.Sequential(norm(width), nn.SiLU(), layer(width, width), norm(width))
        self.told = nn.Linear(told, 2 * width)
        self.last = zeroed(layer(width, width))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Map h [N, width, ...]."""
        scale, shift = self.told(c).reshape(len(c), -1, *[1] * (h.dim() - 2)).chunk(2, 1)
        return h + self.last(F.silu(torch.addcmul(shift, self.first(h), 1 + scale)))


class Attention(nn.Module):
    """h + self-attention over all places (Vaswani et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // PER_HEAD) if width % PER_HEAD == 0 else 1
        self.norm = norm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = zeroed(nn.Linear(width, width))

    def forward(self, h: Tensor) -> Tensor:
        """Map h [N, width, H, W]."""
        tokens = self.norm(h).flatten(2).transpose(1, 2)  # [N, H*W, width]
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [N, heads, H*W, -1]
        shares = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).softmax(3)  # few places: a fused kernel is slower here
        mixed = (shares @ v).transpose(1, 2).flatten(2)
        return h + self.out(mixed).transpose(1, 2).unflatten(2, h.shape[2:])


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Blocks(nn.ModuleList):
    """Residual blocks, one after the other."""

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Map h [N, width, H, W]."""
        for block in self:
            h = block(h, c)
        return h


class UNet(nn.Module):
    """Down to the coarsest resolution and up again, each resolution on the way up seeing that on the way down.

    The finest is half the image's, four pixels a place: a convolution at the image's own costs most and sees least.
    """

    def __init__(self, config: DiffusionConfig, shape: Shape) -> None:
        super().__init__()
        C = shape[0]
        w = widths(config.channels, halvings(config.arch, shape))
        told = 2 * config.channels

        def blocks(width: int) -> Blocks:
            return Blocks(Block(width, told, conv3x3) for _ in range(config.blocks))

        self.condition = Condition(told, config.classes)
        self.inward = conv3x3(4 * INPUTS * C, w[0])
        self.down = nn.ModuleList(map(blocks, w[:-1]))
        self.coarser = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(w))
        self.middle = nn.ModuleList([blocks(w[-1]), blocks(w[-1])])
        self.attention = Attention(w[-1])
        self.finer = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(w))
        self.merge = nn.ModuleList(nn.Conv2d(2 * a, a, 1) for a in w[:-1])
        self.up = nn.ModuleList(map(blocks, w[:-1]))
        self.outward = nn.Sequential(norm(w[0]), nn.SiLU(), zeroed(conv3x3(w[0], 4 * C)), nn.PixelShuffle(2))

    def forward(self, x: Tensor, lam: Tensor, y: Tensor | None = None) -> Tensor:
        """Map x [N, 3C, H, W] and lam [N] to F [N, C, H, W]."""
        c = self.condition(lam, y)
        h = self.inward(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))
        skips = []
        for down, coarser in zip(self.down, self.coarser, strict=True):
            h = down(h, c)
            skips.append(h)
            h = coarser(h)
        h = self.middle[1](self.attention(self.middle[0](h, c)), c)
        for i in reversed(range(len(skips))):
            h = self.merge[i](torch.cat([F.pixel_shuffle(self.finer[i](h), 2), skips[i]], 1))
            h = self.up[i](h, c)
        return self.outward(h)


class MLP(nn.Module):
    """The same blocks, fully connected, over the flat image."""

    def __init__(self, config: DiffusionConfig, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        D, hidden = prod(shape), config.hidden
        self.condition = Condition(hidden, config.classes)
        self.inward = nn.Linear(INPUTS * D, hidden)
        self.blocks = Blocks(Block(hidden, hidden, nn.Linear) for _ in range(config.depth))
        self.outward = nn.Sequential(norm(hidden), nn.SiLU(), zeroed(nn.Linear(hidden, D)))

    def forward(self, x: Tensor, lam: Tensor, y: Tensor | None = None) -> Tensor:
        """Map x [N, 3C, H, W] and lam [N] to F [N, C, H, W]."""
        h = self.blocks(self.inward(x.flatten(1)), self.condition(lam, y))
        return self.outward(h).unflatten(1, self.shape)


BUILDERS: dict[str, Callable[[DiffusionConfig, Shape], UNet | MLP]] = {"unet": UNet, "mlp": MLP}
