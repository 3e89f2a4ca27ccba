"""The RealNVP flow (Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803).

log p(y) = log N(f(y); 0, I) + log |det df/dy|        for y = x + u, u ~ q(u|x) on [0, 1)^D
log P(x) = log E_q[p(x + u)/q(u|x)] >= E_q[log p(x + u) - log q(u|x)]    for x in {0, ..., 255}^D (dequantization)

Given a class c, its embedding steers every coupling and the base is N(mu_c, diag sigma_c^2). The latent of the contract
is (f(y; c) - mu_c) / sigma_c, which is N(0, I) for each class. With --clusters c is an image's cluster, and the latent
has e [C] behind it, N(0, I) too, that says which (clusters.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn

from ...config import SamplingOptions
from ...seeds import noise
from ...types import Shape
from ..base import Batch, Decodes, Encodes, Group, Inverts, Loss, Noise, Player, Plot, Scores
from ..blocks import ClassGaussian
from .bijections import Logit, Standardize, log_standard_normal
from .clusters import Clusters
from .config import RealNVPConfig
from .dequantization import DEQUANTIZATIONS, Uniform, Variational
from .networks import BUILDERS, FullyConnected, ResidualBlock
from .steps import Coupling

IMAGES_EACH = 100  # of a cluster, in the mean, when the clusters are found
GENTLE = 0.1  # share of the rate for wide layers that see a whole image


class RealNVP(Inverts, Encodes, Decodes, Scores):
    """One player: the flow maximises the likelihood of dequantized images."""

    negative_bound = "nll"
    plot = Plot("bits/dim", {"train": "bits_per_dim", "validation": "validation_bits_per_dim"})

    def __init__(self, config: RealNVPConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.D = prod(shape)
        self.latent_shape = (self.D + config.clusters,)
        self.logit = Logit(config.alpha)
        self.standardize = Standardize(shape)
        self.couplings = BUILDERS[config.arch](config, shape)
        self.base = ClassGaussian(config.kinds, self.D) if config.kinds else None
        self.clusters = Clusters(config.clusters, self.D) if config.clusters else None
        self.initial_images = max(self.initial_images, IMAGES_EACH * config.clusters)
        self.dequantization: Uniform | Variational = DEQUANTIZATIONS[config.dequantization](config, shape)

    def players(self) -> list[Player]:
        """Return the one player; the wide layers that see a whole image need a lower rate than convolutions."""
        dense = {p for part in self.modules() if isinstance(part, FullyConnected) for p in part.parameters()}
        apart = [[p for p in self.parameters() if (p in dense) is wide] for wide in (False, True)]
        return [Player("flow", [Group(apart[0]), *([Group(apart[1], GENTLE)] if apart[1] else [])])]

    def networks(self) -> list[nn.Module]:
        """Return the couplings' networks; what they steer stays float32, and so the log-determinants."""
        return [part.network for part in self.modules() if isinstance(part, Coupling)]

    def compiled(self) -> list[nn.Module]:
        """Return the blocks of the couplings' networks, few kinds: a large flow as a whole would take minutes."""
        return [part for part in self.modules() if isinstance(part, ResidualBlock | FullyConnected)]

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Find the clusters; standardize each pixel's logit over the first images, and what the couplings normalize."""
        if self.clusters is not None:
            self.clusters.initialize(x)
        x = x[: type(self).initial_images]
        y, _ = self.dequantize(x, noise(self.dequantization.kind, x.shape, x.device))
        self.couplings.initialize(self.standardize.initialize(self.logit(y)[0]))

    def dequantize(self, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Return y = x + u and log q(u|x) [N] for u made of the noise e."""
        u, log_q = self.dequantization(x, e)
        return x + u, log_q

    def kind(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        """Return c, int64 [N]: the class that is given, or the cluster of images in [0, 256), or None."""
        return self.given(y) if self.clusters is None else self.clusters.of(x)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map dequantized x in (0, 256)^D to z [N, D], with clusters [N, D + C], and log |det dz/dx| [N]."""
        c = self.kind(x, y)
        z, log_det = self.straighten(x, c)
        return (z if self.clusters is None or c is None else torch.cat([z, self.clusters.code(c)], 1)), log_det

    def straighten(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map dequantized x to z [N, D] given c, and log |det dz/dx| [N]."""
        total = x.new_zeros(x.shape[0])
        for part in (self.logit, self.standardize, self.couplings):
            x, log_det = part(x, c)
            total = total + log_det
        if self.base is not None and c is not None:
            x, total = self.base.inverse(x, c), total - self.base.log_det(c)
        return x, total

    def inverse(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map z [N, D], with clusters [N, D + C], to dequantized x and log |det dx/dz| [N]."""
        total, c = z.new_zeros(z.shape[0]), y
        if self.clusters is not None:
            z, c = z[:, : self.D], self.clusters.chosen(z[:, self.D :])
        if self.base is not None and c is not None:
            z, total = self.base(z, c), self.base.log_det(c)
        for part in (self.couplings, self.standardize, self.logit):
            z, log_det = part.inverse(z, c)
            total = total + log_det
        return z, total

    def log_density(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Return log p(x), log p(x|c) or log pi_c p(x|c) [N] in nats for dequantized x in (0, 256)^D."""
        z, log_det = self.straighten(x, c)
        log_p = log_standard_normal(z) + log_det
        return log_p if self.clusters is None or c is None else log_p + self.clusters.log_pi(c)

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield the mean of -log p(x + u) + log q(u|x) over a batch."""
        x, log_q = self.dequantize(batch.x, noise(self.dequantization.kind, batch.x.shape, batch.x.device))
        nll = (log_q - self.log_density(x, self.kind(batch.x, batch.y))).mean()
        yield Loss("flow", nll, {"nll": nll})

    @property
    def weight_noise(self) -> Sequence[Noise]:
        """Return the noise of dequantization."""
        return (Noise(self.dequantization.kind, self.shape),)

    def log_weight(self, x: Tensor, noise: Sequence[Tensor], y: Tensor | None = None) -> Tensor:
        """Return log p(x + u) - log q(u|x) [N]."""
        inside, log_q = self.dequantize(x, noise[0])
        return self.log_density(inside, self.kind(x, y)) - log_q

    @property
    def noise_shapes(self) -> Sequence[Noise]:
        """Return z's noise, and what chooses the cluster."""
        chooses = [Noise("normal", (self.clusters.C,))] if self.clusters is not None else []
        return [Noise("normal", (self.D,)), *chooses]

    def latent(self, noise: Sequence[Tensor], options: SamplingOptions | None = None) -> Tensor:
        """Return z [N, D] times the temperature, and what chooses the cluster as it is."""
        return torch.cat([super().latent(noise, options), *noise[1:]], 1)

    def encode(self, x: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Return f(x + u) at the middle of q(u|x), and the mark of its cluster."""
        return self.forward(x + self.dequantization.middle(x), self.given(y))[0]

    def decode(self, z: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Return the image of 256 levels that holds f^-1(z), in [0, 1]."""
        return self.inverse(z, self.given(y))[0].floor().clamp(0, 255) / 255

    def log_weights(
        self,
        x: Tensor,
        K: int,
        generator: torch.Generator,
        estimator: str,
        y: Tensor | None = None,
        options: SamplingOptions | None = None,
    ) -> Tensor:
        """Return log p(x + u_k) - log q(u_k|x) [K, N] for u_k ~ q(u|x); of clusters x's own alone counts."""
        dtype = next(self.parameters()).dtype
        draw = torch.randn if self.dequantization.kind == "normal" else torch.rand
        e = draw((K, *x.shape), generator=generator, dtype=dtype, device=generator.device).to(x.device)
        inside, log_q = self.dequantize(x.expand(e.shape).flatten(0, 1), e.flatten(0, 1))
        c = self.kind(x, y)
        c = None if c is None else c.expand(K, -1).flatten()
        return (self.log_density(inside, c) - log_q).unflatten(0, (K, len(x)))
