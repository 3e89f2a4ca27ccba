"""The generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661).

    min_G max_D V(D, G) = E_x[log D(x)] + E_z[log(1 - D(G(z)))],    z ~ N(0, I)

At the optimum D = 1/2 everywhere and V = -log 4. D is a logit here, so log D = -softplus(-D).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

from ...config import Shape
from ...model import Batch, Decodes, Loss, Player, Plot
from .config import GANConfig
from .networks import BUILDERS


def value(real: Tensor, fake: Tensor) -> Tensor:
    """Return V(D, G) with hard labels from the logits of real and of generated images."""
    return -F.softplus(-real).mean() - F.softplus(fake).mean()


class GAN(Decodes):
    """Two players: the discriminator D moves first, then the generator G, on the same G(z)."""

    smallest_batch = 2  # batch norm
    plot = Plot("nats", {"D loss": "d_loss", "G loss": "g_loss", "V(D, G)": "value"}, {"-log 4": -log(4)})

    def __init__(self, config: GANConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.label_noise = config.label_noise
        self.latent_shape = (config.latent_dim,)
        self.generator, self.discriminator = BUILDERS[config.arch](config, shape)

    def players(self) -> list[Player]:
        """Return D and G with the momenta of Radford et al. 2016."""
        D, G = self.discriminator, self.generator
        betas = (0.5, 0.999)
        return [
            Player("discriminator", list(D.parameters()), betas),
            Player("generator", list(G.parameters()), betas),
        ]

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield D's cross-entropy with soft noisy labels, then G's non-saturating -log D(G(z))."""
        D, G = self.discriminator, self.generator
        x = batch.x.float().div_(127.5).sub_(1)
        z = torch.randn(len(x), *self.latent_shape, device=x.device)
        fake = G(z)
        # Labels of real images in [0.8, 1], of fakes in [0, 0.2]: symmetric, so D = 1/2 stays the fixed point.
        noise = self.label_noise * torch.rand(2, len(x), 1, device=x.device)
        real_logits, fake_logits = D(torch.cat([x, fake.detach()])).chunk(2)  # [N, 1] each
        d_loss = F.binary_cross_entropy_with_logits(real_logits, 1 - noise[0])
        d_loss = d_loss + F.binary_cross_entropy_with_logits(fake_logits, noise[1])
        with torch.no_grad():
            v = value(real_logits, fake_logits)
        yield Loss("discriminator", d_loss, {"d_loss": d_loss, "value": v})
        g_loss = F.softplus(-D(fake)).mean()
        yield Loss("generator", g_loss, {"g_loss": g_loss})

    def decode(self, z: Tensor) -> Tensor:
        """Return G(z), moved from [-1, 1] to [0, 1]."""
        return (self.generator(z) + 1) / 2
