"""What of an image is known without the network, and what the network is asked for.

The denoiser is yhat(z) = skip (z - a m) + m + out F(c_in (z - a m'), lam), an estimate of E[y|z]. For images of mean m
and deviation s the best linear one has F = 0 and

    skip = a s^2 / (a^2 s^2 + b^2)      out = b s / sqrt(a^2 s^2 + b^2)      c_in = 1 / sqrt(a^2 s^2 + b^2)

so F is asked for a residual of variance 1 at every noise. This is the preconditioning of Karras et al. 2022 (table 1,
for a = 1 and m = 0), with a mean and a deviation for each pixel. F means the same for the velocity v = y - e of flow
matching, which is (yhat - z)/b there. For v = a e - b y (Salimans & Ho 2022, arXiv:2202.00512): skip = a, out = -b.
"""

from __future__ import annotations

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...types import Shape

LEVEL = 2 / 256  # width of a level of 256 in [-1, 1]
PSEUDO = 16  # images more that vary as all pixels do: a pixel that is dark in all images may be bright in the next


class Coefficients(NamedTuple):
    """The denoiser of a noise level is shift + skip z + out F; each is [N, 1, 1, 1] or [N, C, H, W]."""

    shift: Tensor | float
    skip: Tensor
    out: Tensor


class Preconditioning(nn.Module):
    """The coefficients of a process, of the data's mean and deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, process: str, shape: Shape) -> None:
        super().__init__()
        self.process = process
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.full(shape, 0.5))

    def initialize(self, y: Tensor) -> None:
        """Set each pixel's mean and deviation over images y [N, C, H, W] in [-1, 1]."""
        N, variance = len(y), y.var(0, correction=0)
        self.mean.copy_(y.mean(0))
        self.deviation.copy_(((N * variance + PSEUDO * y.var(correction=0)) / (N + PSEUDO)).sqrt())

    @property
    def of_all(self) -> tuple[Tensor, Tensor]:
        """Return the mean and the deviation of all pixels together."""
        mean = self.mean.mean()
        return mean, (self.deviation.square().mean() + (self.mean - mean).square().mean()).sqrt()

    def coefficients(self, a: Tensor, b: Tensor) -> Coefficients:
        """Return those of the noise level a, b [N, 1, 1, 1]."""
        if self.process == "cosine":
            return Coefficients(0.0, a, -b)
        m, s = (self.mean, self.deviation) if self.process == "linear" else (0.0, self.of_all[1])
        spread = (a * s).square() + b.square()
        skip = a * s * s / spread
        return Coefficients(m - skip * a * m, skip, b * s * spread.rsqrt())

    def spread(self, noise: Tensor) -> Tensor:
        """Return S, each pixel's deviation of z/a = y + noise e."""
        return (self.deviation.square() + noise.square()).sqrt()

    def linear(self, w: Tensor, noise: Tensor) -> Tensor:
        """Return the best linear guess of y from w = y + noise e, pixel by pixel: m + s^2/S^2 (w - m)."""
        return self.mean + (self.deviation / self.spread(noise)).square() * (w - self.mean)

    def unit(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the error that --weighting pictures counts as one, [N, 1, 1, 1]: out, of all pixels together."""
        s = self.of_all[1]
        return b if self.process == "cosine" else b * s * ((a * s).square() + b.square()).rsqrt()

    def inputs(self, z: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Return what the network sees of z: it, scaled, and where in its level of 256 each pixel is [N, 3C, H, W].

        The phase is a sine and a cosine, each shrunk by what noise leaves of it (their use: Kingma et al. 2021,
        arXiv:2107.00630).
        """
        m, s = self.of_all
        phase = (2 * pi / LEVEL) * (z / a + 1)
        left = torch.exp(-0.5 * ((2 * pi / LEVEL) * b / a).square())
        scaled = (z - a * m) * ((a * s).square() + b.square()).rsqrt()
        return torch.cat([scaled, phase.sin() * left, phase.cos() * left], 1)
