"""The generator and discriminator of a GAN, one builder per --arch.

A generator maps z [N, latent_dim] to [N, C, H, W] in (-1, 1); a discriminator maps m = --pack such images, in its
channels, to logits [N/m, 1].
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import Tensor, nn

from ...seeds import random_16_bits
from ...types import Shape
from ..blocks import halvings, widths
from .config import GANConfig


def leaky() -> nn.Module:
    """Return the nonlinearity of both players."""
    return nn.LeakyReLU(0.2, inplace=True)


class Dropout(nn.Module):
    """Zero each unit with probability p and divide the rest by 1 - p (Srivastava et al. 2014); p to 16 bits.

    nn.Dropout draws a float for each unit, on a CPU a tenth of this GAN's step.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = round(p * 2**16)  # of 2^16 equal draws

    def forward(self, x: Tensor) -> Tensor:
        """Return x with units dropped in training, x itself otherwise."""
        if not self.training or not self.dropped:
            return x
        kept = random_16_bits(x.shape, x.device) >= self.dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - self.dropped))


def mlp(config: GANConfig, shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Return G z-128-256-512-1024-D with batch norm and D D-512-256-1 with dropout."""
    D = prod(shape)
    generator: list[nn.Module] = [nn.Linear(config.latent_dim, 128), leaky()]
    for inputs, outputs in pairwise([128, 256, 512, 1024]):
        generator += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), leaky()]
    generator += [nn.Linear(1024, D), nn.Tanh(), nn.Unflatten(1, shape)]
    discriminator: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise([config.pack * D, 512, 256]):
        discriminator += [nn.Linear(inputs, outputs), leaky(), Dropout(config.dropout)]
    discriminator += [nn.Linear(256, 1)]
    return nn.Sequential(*generator), nn.Sequential(*discriminator)


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
    generator: list[nn.Module] = [nn.Linear(config.latent_dim, prod(coarse), bias=False), nn.BatchNorm1d(prod(coarse))]
    generator += [nn.ReLU(inplace=True), nn.Unflatten(1, coarse)]
    for inputs, c in pairwise(wide[::-1]):
        up = nn.ConvTranspose2d(inputs, c, 4, stride=2, padding=1, bias=False)  # ..., [N, c, H/2, W/2]
        generator += [up, nn.BatchNorm2d(c), nn.ReLU(inplace=True)]
    generator += [nn.ConvTranspose2d(wide[0], C, 4, stride=2, padding=1), nn.Tanh()]  # [N, C, H, W]
    discriminator: list[nn.Module] = []
    for inputs, c in pairwise([config.pack * C, *wide]):
        discriminator += [nn.Conv2d(inputs, c, 4, stride=2, padding=1), leaky(), Dropout(config.dropout)]
    discriminator += [nn.Flatten(), nn.Linear(prod(coarse), 1)]
    return nn.Sequential(*generator), nn.Sequential(*discriminator)


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
    generator: list[nn.Module] = [nn.Linear(config.latent_dim, prod(coarse)), nn.Unflatten(1, coarse)]
    generator += [Residual(wide[-1])]
    for inputs, c in pairwise(wide[::-1]):
        generator += [nn.Conv2d(inputs, c, 1), nn.Upsample(scale_factor=2), Residual(c)]  # ..., [N, c, H/2, W/2]
    generator += [leaky(), nn.ConvTranspose2d(wide[0], C, 4, stride=2, padding=1), nn.Tanh()]  # [N, C, H, W]
    discriminator: list[nn.Module] = [nn.Conv2d(config.pack * C, wide[0], 4, stride=2, padding=1), Residual(wide[0])]
    for inputs, c in pairwise(wide):
        discriminator += [nn.AvgPool2d(2), nn.Conv2d(inputs, c, 1), Residual(c)]  # [N, 2c, H/4, W/4], ...
    discriminator += [leaky(), nn.Flatten(), nn.Linear(prod(coarse), 1)]
    return nn.Sequential(*generator), nn.Sequential(*discriminator)


BUILDERS = {"mlp": mlp, "dcgan": dcgan, "resnet": resnet}
