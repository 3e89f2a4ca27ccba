"""The RealNVP flow (Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803).

log p(y) = log N(f(y); 0, I) + log |det df/dy|        for y = x + u, u ~ U[0, 1)^D
log P(x) = log E_u[p(x + u)] >= E_u[log p(x + u)]     for x in {0, ..., 255}^D (dequantization)
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, pi, prod

import torch
from torch import Tensor, nn

from ...config import Shape
from ...model import Batch, Decodes, Encodes, Inverts, Loss, Player, Plot, Scores
from .bijections import Logit, Standardize
from .config import RealNVPConfig
from .networks import BUILDERS


def log_standard_normal(z: Tensor) -> Tensor:
    """Return log N(z; 0, I) [N] in nats for z [N, D]."""
    return -0.5 * (z.square() + log(2 * pi)).sum(1)


class RealNVP(Inverts, Encodes, Decodes, Scores):
    """One player: the flow maximises the likelihood of dequantized images."""

    data = "256 levels"
    negative_bound = "nll"
    plot = Plot("bits/dim", {"train": "bits_per_dim", "validation": "validation_bits_per_dim"})

    def __init__(self, config: RealNVPConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.latent_shape = (prod(shape),)
        self.logit = Logit(config.alpha)
        self.standardize = Standardize(shape)
        self.couplings = BUILDERS[config.arch](config, shape)

    def players(self) -> list[Player]:
        """Return the one player; the wide layers that see a whole image need a lower rate than convolutions."""
        dense = [p for part in self.couplings.modules() if isinstance(part, nn.Linear) for p in part.parameters()]
        return [Player("flow", list(self.parameters()), gentle=dense)]

    def initialize(self, x: Tensor) -> None:
        """Standardize each pixel's logit over the first images."""
        self.standardize.initialize(self.logit(x + torch.rand(x.shape, device=x.device))[0])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map y in (0, 256)^D to z [N, D] and log |det dz/dy| [N]."""
        total = x.new_zeros(len(x))
        for part in (self.logit, self.standardize, self.couplings):
            x, log_det = part(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z [N, D] to y and log |det dy/dz| [N]."""
        total = z.new_zeros(len(z))
        for part in (self.couplings, self.standardize, self.logit):
            z, log_det = part.inverse(z)
            total = total + log_det
        return z, total

    def log_density(self, y: Tensor) -> Tensor:
        """Return log p(y) [N] in nats for dequantized y in (0, 256)^D."""
        z, log_det = self.forward(y)
        return log_standard_normal(z) + log_det

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield the mean of -log p(x + u) over a batch."""
        u = torch.rand(batch.x.shape, device=batch.x.device)
        nll = -self.log_density(batch.x + u).mean()
        yield Loss("flow", nll, {"nll": nll})

    def encode(self, x: Tensor) -> Tensor:
        """Return f at the middle of each pixel's interval."""
        return self.forward(x + 0.5)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Return the image of 256 levels that holds f^-1(z), in [0, 1]."""
        return self.inverse(z)[0].floor().clamp(0, 255) / 255

    def log_weights(self, x: Tensor, K: int, generator: torch.Generator, proposal: str = "posterior") -> Tensor:
        """Return log p(x + u_k) [K, N] for u_k ~ U[0, 1)^D, whose density is 1."""
        dtype = next(self.parameters()).dtype
        u = torch.rand(K, *x.shape, generator=generator, dtype=dtype).to(x.device)
        return self.log_density((x + u).flatten(0, 1)).unflatten(0, (K, len(x)))
