"""The variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114).

p(z) = N(0, I)    p(x|z) = Bernoulli or logistics(decoder(z))    q(z|x) = N(mu(x), diag exp logvar(x))
log p(x) >= ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))
log p(x) >= E_q[log 1/K sum_k w_k], w_k = p(x, z_k) / q(z_k|x)  (Burda et al. 2016, arXiv:1509.00519)
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, pi
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ...config import Shape
from ...model import Batch, Decodes, Encodes, Loss, Player, Plot, Scores
from .config import VAEConfig
from .likelihoods import likelihood_of
from .networks import conv, mlp

if TYPE_CHECKING:
    from ...data import Images

ACTIVE = 0.01  # variance of a unit's posterior mean over images from which it counts (Burda et al. 2016)
AT_ONCE = 500  # images encoded together


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp logvar) || N(0, 1)) = 1/2 (mu^2 + exp logvar - logvar - 1) of each dimension, in nats."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1)


def kl_to_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp logvar) || N(0, I)), [N] nats."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(-1)


def log_normal(z: Tensor, mu: Tensor | float = 0.0, logvar: Tensor | float = 0.0) -> Tensor:
    """Return log N(z; mu, diag exp logvar), summed over the last dimension, in nats."""
    squares = (z - mu).square() * torch.exp(-torch.as_tensor(logvar))
    return -0.5 * (squares + logvar + log(2 * pi)).sum(-1)


class Inference(NamedTuple):
    """What K draws of q(z|x) for N images leave; mu and logvar are [N, latent] where they are the same for all K."""

    z: Tensor  # [K, N, latent]
    mu: Tensor  # [K, N, latent]
    logvar: Tensor  # [K, N, latent]
    theta: Tensor  # [K, N, P * C, H, W]

    def log_ratio(self) -> Tensor:
        """Return log p(z) - log q(z|x), [K, N] nats."""
        return log_normal(self.z) - log_normal(self.z, self.mu, self.logvar)


class VAE(Encodes, Decodes, Scores):
    """One player: encoder and decoder tighten the bound together."""

    draws = True
    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, config: VAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.options = config
        self.p_x = likelihood_of(config)
        self.data = self.p_x.data
        iwae = config.objective == "iwae"
        self.negative_bound = "negative_iwae" if iwae else "negative_elbo"
        self.validation_draws = config.particles if iwae else 1
        unit = f"-log p bound of {config.particles} draws" if iwae else "-ELBO"
        curves = {"train": self.negative_bound, "validation": "validation_nats"}
        self.plot = Plot(f"{unit}, nats per image", curves)
        self.make_networks(config, shape)

    def make_networks(self, config: VAEConfig, shape: Shape) -> None:
        """Make encoder and decoder."""
        self.encoder, self.decoder = (conv if config.arch == "conv" else mlp)(config, shape)
        self.latent_shape = (config.latent_dim,)

    def players(self) -> list[Player]:
        """Return the one player."""
        return [Player("vae", list(self.parameters()))]

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Start the decoder's last bias at the data's mean, if that was chosen."""
        if not self.options.start_at_mean:
            return
        bias = [p for name, p in self.decoder.named_parameters() if name.endswith("bias")][-1]
        theta = self.p_x.fit(x)  # [P * C, H, W]
        bias.copy_(theta.flatten() if bias.numel() == theta.numel() else theta.mean((1, 2)))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar [N, latent_dim] of q(z|x) for x in [0, 1]."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def infer(self, x: Tensor, noise: Tensor) -> Inference:
        """Return what K draws of q(z|x) leave, for noise [K, N, latent]; x is encoded once."""
        mu, logvar = self.posterior(x)
        z = mu + torch.exp(0.5 * logvar) * noise
        theta = self.decoder(z.flatten(0, 1)).unflatten(0, noise.shape[:2])
        return Inference(z, mu, logvar, theta)

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield the negative bound of a batch, with K draws of z per image."""
        x = self.p_x.visit(batch.x)
        noise = torch.randn(self.options.particles, len(x), *self.latent_shape, device=x.device)
        found = self.infer(x, noise)
        share = self.options.kl_warmup
        warmth = (batch.progress / share).clamp(max=1) if share else None
        yield (self.iwae if self.options.objective == "iwae" else self.elbo)(x, found, warmth)

    def elbo(self, x: Tensor, found: Inference, warmth: Tensor | None) -> Loss:
        """Return -ELBO = reconstruction + KL, its KL in closed form.

        What is minimised may count less of the KL: warmth times it, and of each dimension's mean over the batch no
        less than the free bits (Kingma et al. 2016, arXiv:1606.04934), below which it has no gradient.
        """
        reconstruction = self.p_x.cost(x, found.theta)
        kl = kl_to_standard_normal(found.mu, found.logvar).mean()
        loss, counted = reconstruction + kl, kl
        if self.options.free_bits:
            each = self.grouped(kl_per_dimension(found.mu, found.logvar).flatten(0, -2).mean(0))
            counted = each.clamp_min(self.options.free_bits).sum()
        minimise = reconstruction + (counted if warmth is None else warmth * counted)
        return Loss("vae", minimise, {"negative_elbo": loss, "reconstruction": reconstruction, "kl": kl})

    def grouped(self, kl: Tensor) -> Tensor:
        """Return the KL [latent] in the groups that have free bits: here each dimension."""
        return kl

    def iwae(self, x: Tensor, found: Inference, warmth: Tensor | None) -> Loss:
        """Return -log 1/K sum_k w_k; warmth weighs log p(z) - log q(z|x)."""
        log_p, ratio, K = self.p_x.log_prob(x, found.theta), found.log_ratio(), len(found.z)
        log_w = log_p + ratio  # [K, N]
        loss = log(K) - log_w.logsumexp(0).mean()
        minimise = loss if warmth is None else log(K) - (log_p + warmth * ratio).logsumexp(0).mean()
        return Loss("vae", minimise, {"negative_iwae": loss, "negative_elbo": -log_w.mean()})

    def training_images(self, images: Images) -> Tensor:
        """Return the images that the likelihood is trained on."""
        return self.p_x.training_images(images)

    def observe(self, images: Images) -> Tensor:
        """Return the images that the likelihood is of."""
        return self.p_x.observe(images)

    @torch.no_grad()
    def diagnose(self, x: Tensor) -> dict[str, float]:
        """Return how many latent dimensions are in use: those whose posterior mean varies over images."""
        mu = torch.cat([self.encode(part) for part in x.split(AT_ONCE)])
        return {"active_units": int((mu.var(0, correction=0) > ACTIVE).sum())}

    def encode(self, x: Tensor) -> Tensor:
        """Return the posterior mean mu."""
        return self.posterior(x / 255)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean image."""
        return self.p_x.mean(self.decoder(z))

    def draw(self, z: Tensor, u: Tensor) -> Tensor:
        """Return a draw of p(x|z)."""
        return self.p_x.draw(self.decoder(z), u)

    def log_weights(self, x: Tensor, K: int, generator: torch.Generator, proposal: str = "posterior") -> Tensor:
        """Return log p(x, z_k) - log q(z_k|x) [K, N]; for proposal="prior" log p(x|z_k), the same z_k for all."""
        x = (x / 255).to(next(self.parameters()).dtype)
        each = () if proposal == "prior" else (len(x),)
        shape, made_on = (K, *each, *self.latent_shape), generator.device
        noise = torch.randn(shape, generator=generator, dtype=x.dtype, device=made_on).to(x.device)
        if proposal == "prior":
            return self.p_x.pairwise(x, self.decoder(noise))
        found = self.infer(x, noise)
        return self.p_x.log_prob(x, found.theta) + found.log_ratio()
