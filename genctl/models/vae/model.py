"""The variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114).

p(z) = N(0, I)    p(x|z) = Bernoulli or logistics(decoder(z))    q(z|x) = N(mu(x), diag exp logvar(x))
log p(x) >= ELBO = E_q[log p(x|z)] - KL(q(z|x) || p(z))
Given a class y all of it is given y (Sohn et al. 2015, Kingma et al. 2014, arXiv:1406.5298): p(x|z, y), q(z|x, y).
log p(x) >= E_q[log 1/K sum_k w_k], w_k = p(x, z_k) / q(z_k|x)  (Burda et al. 2016, arXiv:1509.00519)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...config import SamplingOptions
from ...seeds import noise
from ...types import Shape
from ..base import Batch, Decodes, Diagnosis, Encodes, Epoch, Group, Loss, Noise, Player, Plot, Scores
from ..blocks import over_batch
from .config import VAEConfig, VAESampling
from .importance import Inference, doubly, kl_per_dimension, systematic
from .ladder import TopDown, ladder
from .likelihoods import Bernoulli, likelihood_of
from .networks import FlatDecoder, conv, mlp

if TYPE_CHECKING:
    from ...data import Images

ACTIVE = 0.01  # variance of a unit's posterior mean over images from which it counts (Burda et al. 2016)
COLLAPSED = (
    "none of the {units} latent dimensions is in use: the posterior has collapsed, or the training has just begun; a"
    " lower --lr or --kl-warmup may help"
)
AT_ONCE = 500  # images encoded together
BUILDERS: dict[str, Callable[[VAEConfig, Shape], tuple[nn.Module, FlatDecoder | TopDown]]] = {
    "mlp": mlp,
    "conv": conv,
    "ladder": ladder,
}


class VAE(Encodes, Decodes, Scores):
    """One player: encoder and decoder tighten the bound together."""

    config: VAEConfig
    encoder: nn.Module
    decoder: FlatDecoder | TopDown

    def __init__(self, config: VAEConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.p_x = likelihood_of(config)
        iwae = config.objective == "iwae"
        self.negative_bound = "negative_iwae" if iwae else "negative_elbo"
        self.validation_draws = config.particles if iwae else 1
        unit = f"-log p bound of {config.particles} draws" if iwae else "-ELBO"
        curves = {"train": self.negative_bound, "validation": "validation_nats"}
        self.plot = Plot(f"{unit}, nats per image", curves)
        self.encoder, self.decoder = BUILDERS[config.arch](config, shape)
        self.latent_shape = (self.decoder.latent,)
        self.at_once = config.free_bits > 0  # of each dimension's mean over the batch

    def players(self) -> list[Player]:
        """Return the one player."""
        return [Player("vae", [Group(list(self.parameters()))])]

    def networks(self) -> Iterable[nn.Module]:
        """Return what of encoder and decoder makes one tensor of tensors."""
        return self.decoder.parts(self.encoder)

    compiled = networks

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Start the decoder's last bias at the data's mean, if chosen: each pixel's, or one for all places."""
        if not self.config.start_at_mean:
            return
        bias = [p for name, p in self.decoder.named_parameters() if name.endswith("bias")][-1]
        theta = self.p_x.fit(x)  # [P * C, H, W]
        if bias.numel() != theta.numel():
            theta = self.p_x.fit(x.movedim(1, -1).flatten(0, 2)[..., None, None])  # every place an image: [P * C, 1, 1]
        bias.copy_(theta.flatten())

    def infer(self, x: Tensor, eps: Tensor, y: Tensor | None = None) -> Inference:
        """Return what K draws of q(z|x) leave, for x in [0, 1] and eps [K, N, latent]; x is encoded once."""
        return self.decoder.infer(self.encoder(x, y), eps, y)

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield the negative bound of a batch, with K draws of z per image."""
        x, y = self.p_x.visit(batch.x), self.given(batch.y)
        eps = noise("normal", (self.config.particles, len(x), *self.latent_shape), x.device, images=1)
        share = self.config.kl_warmup
        warmth = (batch.progress / share).clamp(max=1) if share else 1.0
        if self.config.objective == "iwae":
            yield self.iwae(x, eps, warmth, y)
        else:
            yield self.elbo(x, self.infer(x, eps, y), warmth)

    def elbo(self, x: Tensor, found: Inference, warmth: Tensor | float) -> Loss:
        """Return -ELBO = reconstruction + KL, its KL in closed form where the prior is N(0, I).

        What is minimised may count less of the KL: warmth times it, and of each dimension's mean over the batch no
        less than the free bits (Kingma et al. 2016, arXiv:1606.04934), below which it has no gradient.
        """
        reconstruction = self.p_x.cost(x, found.theta)
        kl = found.kl().mean()
        loss, counted = reconstruction + kl, kl
        if self.config.free_bits:
            each = self.decoder.grouped(over_batch(kl_per_dimension(found.mu, found.logvar).flatten(0, -2).mean(0)))
            counted = each.clamp_min(self.config.free_bits).sum()
        terms = {"negative_elbo": loss, "reconstruction": reconstruction, "kl": kl}
        return Loss("vae", reconstruction + warmth * counted, terms)

    def iwae(self, x: Tensor, eps: Tensor, warmth: Tensor | float, y: Tensor | None = None) -> Loss:
        """Return -log 1/K sum_k w_k for eps [K, N, latent]; what is minimised has its gradient, not its value.

        warmth weighs log p(z) - log q(z|x) in what is minimised.
        """
        M = self.config.resample
        with torch.set_grad_enabled(M is None):
            found, log_p = self.draws_of(x, eps, y)
        with torch.no_grad():
            ratio = found.log_ratio()
            log_w, v = log_p + ratio, (log_p + warmth * ratio).softmax(0)  # [K, N]
        shares = v  # of the gradient
        if M is not None:
            kept = systematic(v, M)
            found, log_p = self.draws_of(x, eps.gather(0, kept.unsqueeze(-1).expand(-1, -1, eps.shape[-1])), y)
            v = v.gather(0, kept)
            shares = torch.full_like(v, 1 / M)
        if self.config.gradient == "doubly":
            found = doubly(found, v, warmth)
        minimise = -(shares * (log_p + warmth * found.log_ratio())).sum(0).mean()
        terms = {"negative_iwae": log(len(eps)) - log_w.logsumexp(0).mean(), "negative_elbo": -log_w.mean()}
        return Loss("vae", minimise, terms)

    def draws_of(self, x: Tensor, eps: Tensor, y: Tensor | None) -> tuple[Inference, Tensor]:
        """Return what draws of q(z|x) leave, and log p(x|z) [K, N] of each."""
        found = self.infer(x, eps, y)
        return found, self.p_x.log_prob(x, found.theta)

    def training_images(self, images: Images) -> Tensor:
        """Return the images that the likelihood is trained on."""
        return self.p_x.training_images(images)

    def observe(self, images: Images) -> Tensor:
        """Return the images that the likelihood is of."""
        return self.p_x.observe(images)

    @torch.no_grad()
    def diagnose(self, epoch: Epoch) -> Diagnosis:
        """Return how many latent dimensions are in use: those whose posterior mean varies over images."""
        assert epoch.observed is not None  # noqa: S101 - a VAE scores
        x, y = epoch.observed, epoch.labels
        parts = [(x[i : i + AT_ONCE], None if y is None else y[i : i + AT_ONCE]) for i in range(0, len(x), AT_ONCE)]
        mu = torch.cat([self.posterior(*part)["mu"] for part in parts])
        active = int((mu.var(0, correction=0) > ACTIVE).sum())
        return Diagnosis({"active_units": active}, () if active else (COLLAPSED.format(units=mu.shape[1]),))

    @property
    def noise_shapes(self) -> Sequence[Noise]:
        """Return the latent's noise and that of the draw of p(x|z)."""
        return Noise("normal", self.latent_shape), Noise("uniform", self.shape)

    def encode(self, x: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Return the posterior mean mu, or the e = f(mu) of a learned prior."""
        return next(iter(self.posterior(x, y).values()))

    def posterior(
        self, x: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None
    ) -> Mapping[str, Tensor]:
        """Return mu and logvar of q(z|x); with a learned prior the latent e = f(mu) is before them."""
        y = self.given(y)
        mu, logvar = self.decoder.posterior(self.encoder(x / 255, y), y)
        prior = self.decoder.prior
        latent = {} if prior is None else {"latents": prior.noise(mu, y)[0]}
        return {**latent, "mu": mu, "logvar": logvar}

    def decode(self, z: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Return the mean image."""
        return self.p_x.mean(self.decoder(z, self.given(y)))

    def decoder_layers(self) -> Sequence[nn.Module]:
        """Return the layers from z to the mean image, of a flat form with Bernoulli pixels."""
        flat = isinstance(self.decoder, FlatDecoder) and isinstance(self.p_x, Bernoulli)
        return [*self.decoder.children(), nn.Sigmoid()] if flat else ()

    def draw(self, noise: Sequence[Tensor], y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Return a draw of p(x|z), or its mean."""
        z, u = self.latent(noise, options), noise[1]
        if isinstance(options, VAESampling) and options.means:
            return self.decode(z, y)
        theta = self.decoder(z, self.given(y))
        return self.p_x.draw(theta, u).masked_fill(theta.isnan().any(), torch.nan)  # u < nan would be a black pixel

    def log_weights(
        self,
        x: Tensor,
        K: int,
        generator: torch.Generator,
        estimator: str,
        y: Tensor | None = None,
        options: SamplingOptions | None = None,
    ) -> Tensor:
        """Return log p(x, z_k) - log q(z_k|x) [K, N]; for "prior" log p(x|z_k), the same z_k ~ p(z) for all images."""
        x, y = (x / 255).to(next(self.parameters()).dtype), self.given(y)
        each = () if estimator == "prior" else (len(x),)
        shape, made_on = (K, *each, *self.latent_shape), generator.device
        eps = torch.randn(shape, generator=generator, dtype=x.dtype, device=made_on).to(x.device)
        if estimator == "prior":
            return self.prior_weights(x, eps, y)
        found, log_p = self.draws_of(x, eps, y)
        return log_p + found.log_ratio()

    @property
    def weight_noise(self) -> Sequence[Noise]:
        """Return the noise of a draw of q(z|x)."""
        return (Noise("normal", self.latent_shape),)

    def log_weight(self, x: Tensor, noise: Sequence[Tensor], y: Tensor | None = None) -> Tensor:
        """Return log p(x, z) - log q(z|x) [N]."""
        x = (x / 255).to(noise[0].dtype)
        found = self.infer(x, noise[0][None], self.given(y))
        return self.p_x.log_prob(x, found.theta[0]) + found.log_ratio()[0]

    def prior_weights(self, x: Tensor, eps: Tensor, y: Tensor | None) -> Tensor:
        """Return log p(x_n|z_k) or log p(x_n|z_k, y_n) [K, N]: each class decodes the same eps [K, latent]."""
        if y is None:
            return self.p_x.pairwise(x, self.decoder(eps))
        log_p = x.new_empty(len(eps), len(x))
        for one in y.unique():
            log_p[:, y == one] = self.p_x.pairwise(x[y == one], self.decoder(eps, one.expand(len(eps))))
        return log_p
