"""The generator and discriminator of a GAN, one builder per --arch.

A generator maps z [N, latent_dim] to [N, C, H, W] in (-1, 1); a discriminator maps m = --pack such images, in its
channels, to logits [N/m, 1]. With classes both get them too: y [N] enters G's first layer, as an embedding beside z
would; that works alike in all three forms, of which the residual one has no normalization that a class could steer. D
compares its features with an embedding of the class (Projection).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...seeds import random_16_bits
from ...types import Shape
from ..blocks import BatchNorm1d, BatchNorm2d, Stack, halvings, sees_class, widths
from .config import GANConfig


class Projection(nn.Module):
    """D(x, y) = psi(f(x)) + sum_j V_j(y_j) . f(x) (Miyato & Koyama 2018, arXiv:1802.05637).

    f are the features before the last, linear layer psi; j counts the m images that are judged together, which may
    be of different classes.
    """

    def __init__(self, config: GANConfig, features: Iterable[nn.Module], psi: nn.Linear) -> None:
        super().__init__()
        self.classes = config.classes
        self.features, self.psi = nn.Sequential(*features), psi
        self.V = nn.Parameter(torch.zeros(config.pack * config.classes, psi.in_features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return logits [N, 1] of images [N, mC, H, W] and their classes [N, m]."""
        f = self.features(x)
        rows = y + self.classes * torch.arange(y.shape[1], device=y.device)
        logits: Tensor = self.psi(f) + (F.embedding(rows, self.V).sum(1) * f).sum(1, keepdim=True)
        return logits


def judge(config: GANConfig, features: list[nn.Module], inputs: int) -> nn.Module:
    """Return D of its features [N, inputs]: a linear layer makes the logit, and the class has a say."""
    psi = nn.Linear(inputs, 1)
    return Projection(config, features, psi) if config.classes else nn.Sequential(*features, psi)


def leaky() -> nn.Module:
    """Return the nonlinearity of both players."""
    return nn.LeakyReLU(0.2, inplace=True)


class Dropout(nn.Module):
    """Zero each unit with probability p and divide the rest by 1 - p (Srivastava et al. 2014); p to 16 bits.

    nn.Dropout draws a float for each unit, on a CPU a tenth of this GAN's step.
    """

    def __init__(self, p: float, together: int = 1) -> None:
        super().__init__()
        self.dropped = round(p * 2**16)  # of 2^16 equal draws
        self.together = together  # images in a row of x

    def forward(self, x: Tensor) -> Tensor:
        """Return x with units dropped in training, x itself otherwise."""
        if not self.training or not self.dropped:
            return x
        kept = random_16_bits(x.shape, x.device, self.together) >= self.dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - self.dropped))


def mlp(config: GANConfig, shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Return G z-128-256-512-1024-D with batch norm and D D-512-256-1 with dropout."""
    D = prod(shape)
    generator: list[nn.Module] = [nn.Linear(config.latent_dim, 128), *sees_class(config.classes, 128), leaky()]
    for inputs, outputs in pairwise([128, 256, 512, 1024]):
        generator += [nn.Linear(inputs, outputs), BatchNorm1d(outputs), leaky()]
    generator += [nn.Linear(1024, D), nn.Tanh(), nn.Unflatten(1, shape)]
    discriminator: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise([config.pack * D, 512, 256]):
        discriminator += [nn.Linear(inputs, outputs), leaky(), Dropout(config.dropout, config.pack)]
    return Stack(*generator), judge(config, discriminator, 256)


def scales(config: GANConfig, shape: Shape) -> tuple[list[int], Shape]:
    """Return the channels at each halving, the finest first (c, 2c, ...), and the shape at the coarsest."""
    _, H, W = shape
    n = halvings(config.arch, shape)
    wide = widths(config.channels, n)
    return wide, (wide[-1], H >> n, W >> n)


def dcgan(config: GANConfig, shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Return strided convolutions, a scale for each halving (Radford, Metz & Chintala 2016, arXiv:1511.06434)."""
    C = shape[0]
    wide, coarse = scales(config, shape)
    generator: list[nn.Module] = [nn.Linear(config.latent_dim, prod(coarse), bias=False)]
    generator += [*sees_class(config.classes, prod(coarse)), BatchNorm1d(prod(coarse))]
    generator += [nn.ReLU(inplace=True), nn.Unflatten(1, coarse)]
    for inputs, c in pairwise(wide[::-1]):
        up = nn.ConvTranspose2d(inputs, c, 4, stride=2, padding=1, bias=False)  # ..., [N, c, H/2, W/2]
        generator += [up, BatchNorm2d(c), nn.ReLU(inplace=True)]
    generator += [nn.ConvTranspose2d(wide[0], C, 4, stride=2, padding=1), nn.Tanh()]  # [N, C, H, W]
    discriminator: list[nn.Module] = []
    for inputs, c in pairwise([config.pack * C, *wide]):
        discriminator += [nn.Conv2d(inputs, c, 4, stride=2, padding=1), leaky(), Dropout(config.dropout, config.pack)]
    return Stack(*generator), judge(config, [*discriminator, nn.Flatten()], prod(coarse))


class Residual(nn.Module):
    """x + f(x) with two convolutions, not normalized; the second starts at 0 (Zhang et al. 2019, arXiv:1901.09321)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, last = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(last.weight)
        self.branch = nn.Sequential(nn.LeakyReLU(0.2), first, leaky(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, c, H, W] to the same shape."""
        return x + self.branch(x)


def resnet(config: GANConfig, shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Return residual blocks at each scale, a small form of the networks of Huang et al. 2024 (arXiv:2501.05441)."""
    C = shape[0]
    wide, coarse = scales(config, shape)
    generator: list[nn.Module] = [nn.Linear(config.latent_dim, prod(coarse))]
    generator += [*sees_class(config.classes, prod(coarse)), nn.Unflatten(1, coarse), Residual(wide[-1])]
    for inputs, c in pairwise(wide[::-1]):
        generator += [nn.Conv2d(inputs, c, 1), nn.Upsample(scale_factor=2), Residual(c)]  # ..., [N, c, H/2, W/2]
    generator += [leaky(), nn.ConvTranspose2d(wide[0], C, 4, stride=2, padding=1), nn.Tanh()]  # [N, C, H, W]
    discriminator: list[nn.Module] = [nn.Conv2d(config.pack * C, wide[0], 4, stride=2, padding=1), Residual(wide[0])]
    for inputs, c in pairwise(wide):
        discriminator += [nn.AvgPool2d(2), nn.Conv2d(inputs, c, 1), Residual(c)]  # [N, 2c, H/4, W/4], ...
    return Stack(*generator), judge(config, [*discriminator, leaky(), nn.Flatten()], prod(coarse))


BUILDERS = {"mlp": mlp, "dcgan": dcgan, "resnet": resnet}
