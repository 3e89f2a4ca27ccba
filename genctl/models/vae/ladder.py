"""A VAE with levels of latents that are inferred from the top down (Sonderby et al. 2016, arXiv:1602.02282).

p(z) = p(z_L) prod p(z_l | z_>l)    q(z|x) = prod q(z_l | z_>l, x), both Gaussian, sharing the top-down pass
(the bidirectional inference of Kingma et al. 2016, arXiv:1606.04934).

The latent of the contract is the noise e = (z - mu_p) / sigma_p of all levels side by side. It is N(0, I) under the
prior; q is stated for it, level by level, so that KL and weights have the form of the flat VAE (the two
log-determinants of z = mu_p + sigma_p e cancel). Given a class, each class has a top-down start of its own, so that all
levels' priors are p(z_l | z_>l, y).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from ...types import Shape
from ..blocks import Stack, by_class, halvings, sees_class
from .config import VAEConfig
from .importance import Inference
from .likelihoods import outputs
from .networks import Residual, residual

WIDEST = 5.0  # largest log-variance of p(z_l | z_>l): unbounded, a rare draw far out widens the next level without end


def heads(inputs: int, channels: int, zc: int) -> nn.Sequential:
    """Return the network from features to mu and logvar."""
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=1), nn.SiLU(), nn.Conv2d(channels, 2 * zc, 3, padding=1)
    )


class BottomUp(nn.Module):
    """The bottom-up pass: features d_1 (half the image's size), d_2 (a quarter), ..., d_L, all of c channels."""

    def __init__(self, config: VAEConfig, shape: Shape) -> None:
        super().__init__()
        c = config.channels

        def stage(inputs: int, size: int, stride: int, classes: int = 0) -> Stack:
            first = nn.Conv2d(inputs, c, size, stride=stride, padding=1)
            return Stack(first, *sees_class(classes, c), nn.SiLU(), *residual(c, config.depth))

        n = resolutions(config, shape)
        halving = [stage(shape[0], 4, 2, config.classes), *(stage(c, 4, 2) for _ in range(1, n))]
        same = [stage(c, 3, 1) for _ in range(n, config.levels)]
        self.stages = nn.ModuleList([*halving, *same])

    def forward(self, x: Tensor, y: Tensor | None = None) -> list[Tensor]:
        """Return d_L, ..., d_1 for x [N, C, H, W]."""
        features = []
        for stage in self.stages:
            x = stage(x, y)
            features.append(x)
        return features[::-1]


class Level(nn.Module):
    """One level of the top-down pass: p(z | h), q(e | h, d), and how z changes h [N, c, h, w]."""

    def __init__(self, config: VAEConfig, size: tuple[int, int], grows: bool) -> None:
        super().__init__()
        c, zc = config.channels, config.latent_channels
        self.noise = (zc, *size)
        self.prior = heads(c, c, zc)
        self.posterior = heads(2 * c, c, zc)
        self.merge = nn.Conv2d(zc, c, 3, padding=1)
        up = [nn.SiLU(), nn.ConvTranspose2d(c, c, 4, stride=2, padding=1)] if grows else []
        self.blocks = nn.Sequential(*residual(c, config.depth), *up)

    def infer(self, h: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of q(e | h, d), each [N, dims]."""
        mu, logvar = self.posterior(torch.cat([h, d], 1)).chunk(2, dim=1)
        return mu.flatten(1), logvar.flatten(1)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """Return the next h for noise e [N, dims]: z = mu_p + sigma_p e is merged in."""
        mu, logvar = self.prior(h).chunk(2, dim=1)
        logvar = logvar.clamp_max(WIDEST)
        z = mu + torch.exp(0.5 * logvar) * e.unflatten(1, self.noise)
        return self.blocks(h + self.merge(z))


class TopDown(nn.Module):
    """The top-down pass: from a learned start, one for each class if there are any, through the levels to theta."""

    def __init__(self, config: VAEConfig, shape: Shape) -> None:
        super().__init__()
        _, H, W = shape
        c, n = config.channels, resolutions(config, shape)
        self.start = nn.Parameter(torch.zeros(*([config.classes] if config.classes else []), c, H >> n, W >> n))
        downward = []
        for level in range(config.levels, 0, -1):
            halved = min(level, n)
            downward.append(Level(config, (H >> halved, W >> halved), grows=1 < level <= n))
        self.dims = [prod(level.noise) for level in downward]
        self.latent = sum(self.dims)
        self.levels = nn.ModuleList(downward)
        half = max(1, c // 2)
        self.output = nn.Sequential(
            nn.SiLU(),
            nn.ConvTranspose2d(c, half, 4, stride=2, padding=1),  # [N, c/2, H, W]
            nn.SiLU(),
            nn.Conv2d(half, outputs(config, shape)[0], 3, padding=1),  # [N, P * C, H, W]
        )

    prior: None = None  # of its own for each level: the latent of the contract is the noise

    def begin(self, N: int, y: Tensor | None) -> Tensor:
        """Return what the top level sees before any latent, [N, c, h, w]."""
        return self.start.expand(N, *self.start.shape) if y is None else by_class(y, self.start)

    def forward(self, e: Tensor, y: Tensor | None = None) -> Tensor:
        """Return theta for noise e [N, dims of all levels]."""
        h = self.begin(e.shape[0], y)
        for level, part in zip(self.levels, e.split(self.dims, 1), strict=True):
            h = level(h, part)
        return self.output(h)

    def infer(self, code: list[Tensor], noise: Tensor, y: Tensor | None = None) -> Inference:
        """Return what K draws of q(e|x) leave, for the features of the bottom-up pass, computed once per image."""
        K, N = noise.shape[:2]
        features = [d.expand(K, *d.shape).flatten(0, 1) for d in code]
        found = self.descend(features, noise.flatten(0, 1), None if y is None else y.expand(K, -1).flatten())
        return Inference(*(part.unflatten(0, (K, N)) for part in found))

    def posterior(self, code: list[Tensor], y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of each level's noise, given the means above it."""
        return self.descend(code, None, y)[1:3]

    def descend(
        self, features: list[Tensor], noise: Tensor | None, y: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return e, mu, logvar [N, dims of all levels] and theta for features d_L, ..., d_1.

        e = mu + sigma noise, or the mean at every level where noise is None.
        """
        h = self.begin(features[0].shape[0], y)
        parts = [None] * len(self.dims) if noise is None else noise.split(self.dims, 1)
        found = []
        for level, d, own in zip(self.levels, features, parts, strict=True):
            mu, logvar = cast(Level, level).infer(h, d)
            e = mu if own is None else mu + torch.exp(0.5 * logvar) * own
            found.append((e, mu, logvar))
            h = level(h, e)
        e, mu, logvar = (torch.cat(each, 1) for each in zip(*found, strict=True))
        return e, mu, logvar, self.output(h)

    def grouped(self, kl: Tensor) -> Tensor:
        """Return the KL of each level."""
        return torch.stack([part.sum() for part in kl.split(self.dims)])

    def parts(self, encoder: nn.Module) -> Iterable[nn.Module]:
        """Return the blocks of both networks: the top-down pass is not called as a whole."""
        return [part for half in (encoder, self) for part in half.modules() if isinstance(part, Residual)]


def resolutions(config: VAEConfig, shape: Shape) -> int:
    """Return how often the image is halved: at most once a level."""
    return min(config.levels, halvings(config.arch, shape))


def ladder(config: VAEConfig, shape: Shape) -> tuple[BottomUp, TopDown]:
    """Return the bottom-up and the top-down network."""
    return BottomUp(config, shape), TopDown(config, shape)
