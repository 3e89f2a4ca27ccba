"""The encoder and decoder of a VAE, one builder per --arch.

An encoder maps x [N, C, H, W] in [0, 1] to what the decoder infers a latent from; a decoder maps z [N, latent] to the
likelihood's parameters theta [N, P * C, H, W]. Those here have one latent vector: the encoder returns [N, 2 * latent],
mu beside logvar. ladder.py has levels of latents. With classes both get y [N] too, which enters behind the first layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from ...types import Shape
from ..blocks import ClassGaussian, Stack, halvings, sees_class, widths
from .config import VAEConfig
from .importance import Inference
from .likelihoods import outputs
from .prior import FlowPrior


class FlatDecoder(Stack):
    """p(x|z) of one latent vector z [N, latent], or p(x|z, y).

    With --prior class the latent of the contract is the noise e = (z - mu_y) / sigma_y, which is N(0, I) under the
    prior, as in ladder.py; q is stated for it, so that the KL and the weights keep their form. With --prior flow it is
    e = f(z); q is stated for z, whose log p(z) is no longer that of N(0, I).
    """

    def __init__(self, config: VAEConfig, *layers: nn.Module) -> None:
        super().__init__(*first_of(config), *layers)
        self.latent = config.latent_dim

    @property
    def prior(self) -> FlowPrior | None:
        """Return the learned prior of z, where there is one."""
        return self[0] if isinstance(self[0], FlowPrior) else None

    def infer(self, code: Tensor, noise: Tensor, y: Tensor | None = None) -> Inference:
        """Return what K draws of q(z|x) leave, for the encoder's code [N, 2 * latent] and noise [K, N, latent]."""
        mu, logvar = code.chunk(2, dim=1)
        z = mu + torch.exp(0.5 * logvar) * noise
        given = None if y is None else y.expand(len(noise), -1).flatten()
        flat, sizes = z.flatten(0, 1), noise.shape[:2]
        if self.prior is None:
            return Inference(z, mu, logvar, self(flat, given).unflatten(0, sizes))
        theta, log_p = self(flat, given, 1), self.prior.log_prob(flat, given)
        return Inference(z, mu, logvar, theta.unflatten(0, sizes), log_p.unflatten(0, sizes))

    def posterior(self, code: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mu and logvar of the posterior, [N, latent] both."""
        mu, logvar = code.chunk(2, dim=1)
        return mu, logvar

    def grouped(self, kl: Tensor) -> Tensor:
        """Return the KL [latent] in the groups that have free bits: here each dimension."""
        return kl

    def parts(self, encoder: nn.Module) -> Iterable[nn.Module]:
        """Return the parts of both networks that may round or be compiled, each by itself."""
        return [encoder, self]


def first_of(config: VAEConfig) -> list[nn.Module]:
    """Return what makes z of the contract's latent, if they are not the same."""
    if config.prior == "flow":
        return [FlowPrior(config)]
    return [ClassGaussian(config.classes, config.latent_dim)] if config.classes and config.prior == "class" else []


def mlp(config: VAEConfig, shape: Shape) -> tuple[nn.Module, FlatDecoder]:
    """Return fully connected networks."""
    theta = outputs(config, shape)
    encoder = Stack(nn.Flatten(), *_dense(config, prod(shape), 2 * config.latent_dim))
    layers = [*_dense(config, config.latent_dim, prod(theta)), nn.Unflatten(1, theta)]
    return encoder, FlatDecoder(config, *layers)


def _dense(config: VAEConfig, inputs: int, outputs: int) -> list[nn.Module]:
    tanh = config.activation == "tanh"
    linear = _glorot if tanh else nn.Linear
    layers: list[nn.Module] = []
    for i in range(config.layers):
        given = [] if i else sees_class(config.classes, config.hidden)
        layers += [linear(inputs, config.hidden), *given, nn.Tanh() if tanh else nn.ReLU(inplace=True)]
        inputs = config.hidden
    return [*layers, linear(inputs, outputs)]


def _glorot(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer that keeps the variance under tanh, both ways (Glorot & Bengio 2010)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    """x + f(x) with two convolutions, their activations before them (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)]
        for p in conv[1].parameters():
            nn.init.zeros_(p)  # each block starts as the identity, so that a deep stack trains from the first step
        self.f = nn.Sequential(nn.SiLU(), conv[0], nn.SiLU(), conv[1])

    def forward(self, x: Tensor) -> Tensor:
        """Return x + f(x)."""
        return x + self.f(x)


def residual(channels: int, blocks: int) -> list[nn.Module]:
    """Return a stack of residual blocks."""
    return [Residual(channels) for _ in range(blocks)]


def conv(config: VAEConfig, shape: Shape) -> tuple[nn.Module, FlatDecoder]:
    """Return convolutional networks that halve the image n times, each with more channels."""
    C, H, W = shape
    n = halvings(config.arch, shape)
    wide = widths(config.channels, n)  # c, 2c, ...
    coarse = (wide[-1], H >> n, W >> n)
    encoder: list[nn.Module] = []
    for inputs, c in pairwise([C, *wide]):
        encoder += [nn.Conv2d(inputs, c, 4, stride=2, padding=1)]  # [N, c, H/2, W/2], ...
        encoder += [*(sees_class(config.classes, c) if len(encoder) == 1 else []), nn.ReLU(inplace=True)]
        encoder += residual(c, config.depth)
    encoder += [nn.Flatten(), nn.Linear(prod(coarse), 2 * config.latent_dim)]
    decoder: list[nn.Module] = [nn.Linear(config.latent_dim, prod(coarse)), *sees_class(config.classes, prod(coarse))]
    decoder += [nn.ReLU(inplace=True), nn.Unflatten(1, coarse), *residual(wide[-1], config.depth)]
    for inputs, c in pairwise(wide[::-1]):
        decoder += [nn.ConvTranspose2d(inputs, c, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
        decoder += residual(c, config.depth)
    theta = outputs(config, shape)[0]
    decoder += [nn.ConvTranspose2d(wide[0], theta, 4, stride=2, padding=1)]  # [N, P * C, H, W]
    return Stack(*encoder), FlatDecoder(config, *decoder)
