"""The variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114).

p(z) = N(0, I)    p(x|z) = Bernoulli or logistics(decoder(z))    q(z|x) = N(mu(x), diag exp logvar(x))
log p(x) >= ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))
log p(x) >= E_q[log 1/K sum_k w_k], w_k = p(x, z_k) / q(z_k|x)  (Burda et al. 2016, arXiv:1509.00519)
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...config import Shape
from ..base import Batch, Decodes, Encodes, Loss, Player, Plot, Scores
from .config import VAEConfig
from .importance import Inference, doubly, systematic
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

    def networks(self) -> list[nn.Module]:
        """Return encoder and decoder."""
        return [self.encoder, self.decoder]

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Start the decoder's last bias at the data's mean, if chosen: each pixel's, or one for all places."""
        if not self.options.start_at_mean:
            return
        bias = [p for name, p in self.decoder.named_parameters() if name.endswith("bias")][-1]
        theta = self.p_x.fit(x)  # [P * C, H, W]
        if bias.numel() != theta.numel():
            theta = self.p_x.fit(x.movedim(1, -1).flatten(0, 2)[..., None, None])  # every place an image: [P * C, 1, 1]
        bias.copy_(theta.flatten())

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
        share = self.options.kl_warmup
        warmth = (batch.progress / share).clamp(max=1) if share else 1.0
        if self.options.objective == "iwae":
            yield self.iwae(x, noise, warmth)
        else:
            yield self.elbo(x, self.infer(x, noise), warmth)

    def elbo(self, x: Tensor, found: Inference, warmth: Tensor | float) -> Loss:
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
        terms = {"negative_elbo": loss, "reconstruction": reconstruction, "kl": kl}
        return Loss("vae", reconstruction + warmth * counted, terms)

    def grouped(self, kl: Tensor) -> Tensor:
        """Return the KL [latent] in the groups that have free bits: here each dimension."""
        return kl

    def iwae(self, x: Tensor, noise: Tensor, warmth: Tensor | float) -> Loss:
        """Return -log 1/K sum_k w_k for noise [K, N, latent]; what is minimised has its gradient, not its value.

        warmth weighs log p(z) - log q(z|x) in what is minimised.
        """
        M = self.options.resample
        with torch.set_grad_enabled(M is None):
            found, log_p = self.draws_of(x, noise)
        with torch.no_grad():
            ratio = found.log_ratio()
            log_w, v = log_p + ratio, (log_p + warmth * ratio).softmax(0)  # [K, N]
        shares = v  # of the gradient
        if M is not None:
            kept = systematic(v, M)
            found, log_p = self.draws_of(x, noise.gather(0, kept.unsqueeze(-1).expand(-1, -1, noise.shape[-1])))
            v = v.gather(0, kept)
            shares = torch.full_like(v, 1 / M)
        if self.options.gradient == "doubly":
            found = doubly(found, v, warmth)
        minimise = -(shares * (log_p + warmth * found.log_ratio())).sum(0).mean()
        terms = {"negative_iwae": log(len(noise)) - log_w.logsumexp(0).mean(), "negative_elbo": -log_w.mean()}
        return Loss("vae", minimise, terms)

    def draws_of(self, x: Tensor, noise: Tensor) -> tuple[Inference, Tensor]:
        """Return what draws of q(z|x) leave, and log p(x|z) [K, N] of each."""
        found = self.infer(x, noise)
        return found, self.p_x.log_prob(x, found.theta)

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
        found, log_p = self.draws_of(x, noise)
        return log_p + found.log_ratio()
