"""A learned prior p(z): couplings that turn z into the noise of the contract.

e = f(z) ~ N(0, I)    log p(z) = log N(f(z); 0, I) + log |det df/dz|

The couplings are those of Dinh et al. 2017, arXiv:1605.08803, and a prior made of such a map is that of Chen et al.
2017, arXiv:1611.02731: it can be what the posteriors of all images together are, which N(0, I) is not, so that a draw
of it is a latent that the decoder knows. As a part of the decoder f^-1 would do as much for p(x), but not for the
bound: q(z|x) is a Gaussian on the decoder's side of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from ..blocks import SeesClass, Stack, sees_class
from .config import VAEConfig
from .importance import log_normal


class FlowPrior(SeesClass):
    """z = f^-1(e) of e ~ N(0, I), or of a class y too, [N, D] all; it starts as N(0, I).

    A coupling maps (a, b) to (b exp(s(a)) + t(a), a), s in (-1, 1): the part that moved steers next.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        D = config.latent_dim
        self.sizes = (D - D // 2, D // 2)  # of the parts of z
        self.networks = nn.ModuleList(network(config, *self.sides(i)) for i in range(config.prior_couplings))

    def sides(self, i: int) -> tuple[int, int]:
        """Return the dimensions that steer the coupling i, and those that it moves."""
        return self.sizes if i % 2 == 0 else self.sizes[::-1]

    def turned(self, parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the parts in the order of z from that behind the last coupling, or back."""
        return parts if len(self.networks) % 2 == 0 else parts[::-1]

    def noise(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return e, and s of all couplings side by side, whose sum is log |det de/dz|."""
        a, b = z.split(self.sizes, 1)
        scales = []
        for net in self.networks:
            s, t = steered(net, a, y)
            a, b = b * torch.exp(s) + t, a
            scales.append(s)
        return torch.cat(self.turned((a, b)), 1), torch.cat(scales, 1)

    def forward(self, e: Tensor, y: Tensor | None = None) -> Tensor:
        """Return z."""
        a, b = self.turned(cast(tuple[Tensor, Tensor], e.split(self.sizes, 1)))
        for net in reversed(self.networks):
            s, t = steered(net, b, y)
            a, b = b, (a - t) * torch.exp(-s)
        return torch.cat([a, b], 1)

    def log_prob(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return log p(z), [N] nats."""
        e, scales = self.noise(z, y)
        return log_normal(e) + scales.sum(1)

    def undone(self) -> Iterator[tuple[Stack, int, int]]:
        """Yield each coupling's network, the last first, and where in z the part begins that steers, and the other."""
        for i in reversed(range(len(self.networks))):
            yield cast(Stack, self.networks[i]), *((0, self.sizes[0]) if i % 2 == 0 else (self.sizes[0], 0))


def steered(net: nn.Module, a: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the log-scale and the shift that a part of z asks for."""
    raw, t = net(a, y).chunk(2, dim=1)
    return torch.tanh(raw), t


def network(config: VAEConfig, stays: int, moves: int) -> Stack:
    """Return a coupling's network: zero at the start, where f is the identity."""
    last = nn.Linear(config.prior_hidden, 2 * moves)
    for p in last.parameters():
        nn.init.zeros_(p)
    seen = sees_class(config.classes, config.prior_hidden, 0)
    return Stack(nn.Linear(stays, config.prior_hidden), *seen, nn.ReLU(inplace=True), last)
