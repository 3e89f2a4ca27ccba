"""The variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114).

p(z) = N(0, I)    p(x|z) = Bernoulli(decoder(z))    q(z|x) = N(mu(x), diag exp logvar(x))
log p(x) >= ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, pi
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ...config import Shape
from ...model import Batch, Decodes, Encodes, Loss, Player, Plot, Scores
from .config import VAEConfig
from .networks import BUILDERS

if TYPE_CHECKING:
    from ...data import Images


def kl_to_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp logvar) || N(0, I)) = 1/2 sum(mu^2 + exp logvar - logvar - 1), [N] nats."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)


def log_normal(z: Tensor, mu: Tensor | float = 0.0, logvar: Tensor | float = 0.0) -> Tensor:
    """Return log N(z; mu, diag exp logvar), summed over the last dimension, in nats."""
    squares = (z - mu).square() * torch.exp(-torch.as_tensor(logvar))
    return -0.5 * (squares + logvar + log(2 * pi)).sum(-1)


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """Return log p(x | logits) = sum(x * logits - softplus(logits)) over C, H, W; broadcasts, in nats."""
    return (x * logits - F.softplus(logits)).flatten(-3).sum(-1)


class VAE(Encodes, Decodes, Scores):
    """One player: encoder and decoder minimise -ELBO together."""

    data = "binarized"
    negative_bound = "negative_elbo"
    draws = True
    plot = Plot("-ELBO, nats per image", {"train": "negative_elbo", "validation": "validation_nats"})

    def __init__(self, config: VAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.binarize = config.binarize
        self.latent_shape = (config.latent_dim,)
        self.encoder, self.decoder = BUILDERS[config.arch](config, shape)

    def players(self) -> list[Player]:
        """Return the one player."""
        return [Player("vae", list(self.parameters()))]

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar [N, latent_dim] of q(z|x) for x in {0, 1}."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield -ELBO = reconstruction + KL of a batch, with one draw of z per image."""
        u = torch.rand(batch.x.shape, device=batch.x.device)
        x = (255 * u < batch.x).float()  # a Bernoulli draw of the grey value; 0 and 255 stay
        mu, logvar = self.posterior(x)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        logits = self.decoder(z)  # [N, C, H, W]
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        kl = kl_to_standard_normal(mu, logvar).mean()
        loss = reconstruction + kl
        yield Loss("vae", loss, {"negative_elbo": loss, "reconstruction": reconstruction, "kl": kl})

    def training_images(self, images: Images) -> Tensor:
        """Return grey images to binarize anew at each visit, or images that are binary already."""
        return images.pixels if self.binarize == "dynamic" else self.observe(images)

    def observe(self, images: Images) -> Tensor:
        """Return images of 0 and 255: the fixed Bernoulli draw of the data set, or cut at one half."""
        return images.thresholded() if self.binarize == "threshold" else images.binarized()

    def encode(self, x: Tensor) -> Tensor:
        """Return the posterior mean mu."""
        return self.posterior(x / 255)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Return the Bernoulli means."""
        return torch.sigmoid(self.decoder(z))

    def draw(self, mean: Tensor, u: Tensor) -> Tensor:
        """Return a Bernoulli draw."""
        return (u < mean).to(mean.dtype)

    def log_weights(self, x: Tensor, K: int, generator: torch.Generator, proposal: str = "posterior") -> Tensor:
        """Return log p(x, z_k) - log q(z_k|x) [K, N]; q is the prior itself for proposal="prior"."""
        x = (x / 255).to(next(self.parameters()).dtype)
        if proposal == "prior":
            return self._log_likelihood_under_prior(x, K, generator)
        mu, logvar = self.posterior(x)  # [N, latent_dim]
        eps = torch.randn(K, *mu.shape, generator=generator, dtype=mu.dtype).to(mu.device)
        z = mu + torch.exp(0.5 * logvar) * eps  # [K, N, latent_dim]
        logits = self.decoder(z.flatten(0, 1)).unflatten(0, (K, len(x)))  # [K, N, C, H, W]
        return log_bernoulli(x, logits) + log_normal(z) - log_normal(z, mu, logvar)

    def _log_likelihood_under_prior(self, x: Tensor, K: int, generator: torch.Generator) -> Tensor:
        """Return log p(x | z_k) [K, N] for z_k ~ N(0, I), the same K draws for all images."""
        z = torch.randn(K, *self.latent_shape, generator=generator, dtype=x.dtype).to(x.device)
        logits = self.decoder(z).flatten(1)  # [K, D]
        return logits @ x.flatten(1).T - F.softplus(logits).sum(1, keepdim=True)
