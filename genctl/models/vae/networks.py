"""The encoder and decoder of a VAE, one builder per --arch.

An encoder maps x [N, C, H, W] in {0, 1} to [N, 2 * latent_dim], mu beside logvar;
a decoder maps z [N, latent_dim] to Bernoulli logits [N, C, H, W].
"""

from __future__ import annotations

from math import prod

from torch import nn

from ...config import Shape
from ...errors import UsageError
from .config import VAEConfig


def mlp(config: VAEConfig, shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Return fully connected networks with one hidden layer each."""
    D, hidden = prod(shape), config.hidden
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(D, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, 2 * config.latent_dim),
    )
    decoder = nn.Sequential(
        nn.Linear(config.latent_dim, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, D),
        nn.Unflatten(1, shape),
    )
    return encoder, decoder


def conv(config: VAEConfig, shape: Shape) -> tuple[nn.Module, nn.Module]:
    """Return convolutional networks that halve the image twice."""
    C, H, W = shape
    if H % 4 or W % 4:
        raise UsageError(f"--arch conv needs a height and width divisible by 4, not {H} x {W}; use --arch mlp.")
    c, coarse = config.channels, (2 * config.channels, H // 4, W // 4)
    encoder = nn.Sequential(
        nn.Conv2d(C, c, 4, stride=2, padding=1),  # [N, c, H/2, W/2]
        nn.ReLU(inplace=True),
        nn.Conv2d(c, 2 * c, 4, stride=2, padding=1),  # [N, 2c, H/4, W/4]
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(prod(coarse), 2 * config.latent_dim),
    )
    decoder = nn.Sequential(
        nn.Linear(config.latent_dim, prod(coarse)),
        nn.ReLU(inplace=True),
        nn.Unflatten(1, coarse),
        nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1),  # [N, c, H/2, W/2]
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(c, C, 4, stride=2, padding=1),  # [N, C, H, W]
    )
    return encoder, decoder


BUILDERS = {"mlp": mlp, "conv": conv}
