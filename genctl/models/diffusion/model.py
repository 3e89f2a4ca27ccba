"""Diffusion and flow matching (Song et al. 2021, arXiv:2011.13456; Lipman et al. 2023, arXiv:2210.02747).

    z = a y + b e,  e ~ N(0, I),  lam = log(a/b)        an image y in [-1, 1]^D, and noise
    yhat(z, lam) = E[y|z]                               what the network learns (preconditioning.py)
    dz = yhat da + ehat db,  ehat = (z - a yhat)/b      the ODE from N(0, I) to images (samplers.py)
    -log p(y) <= KL(q(z_0|y) || p(z_0)) + int exp(2 lam) E|y - yhat|^2 dlam + D (log(2 pi e)/2 - lam_1)

The last line is the bound of Kingma et al. 2021 (arXiv:2107.00630), lam from lam_0 to lam_1. Pixels x of 256 levels are
y = (x + u)/128 - 1, u ~ U[0, 1), and log p(x + u) = log p(y) - D log 128 bounds log P(x) (dequantization). To know the
image, the noise or the velocity is the same: v = yhat - ehat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from math import e as euler_number
from math import exp, log, pi, prod
from typing import Any

import torch
from torch import Tensor, nn

from ...config import SamplingOptions
from ...errors import UsageError
from ...seeds import generator, noise
from ...types import Shape
from ..base import Batch, Decodes, Diagnosis, Encodes, Epoch, Group, Loss, Player, Plot, Scores
from . import diagnosis
from .config import GUIDED, DiffusionConfig, DiffusionSampling
from .likelihood import Density, random
from .networks import BUILDERS
from .preconditioning import Preconditioning
from .processes import PROCESSES
from .samplers import SAMPLERS, Level
from .times import CLEANEST, NOISIEST, Uniform

CHECKED = 20  # images for which a likelihood's numbers are checked
PLOTS = {
    "likelihood": Plot("bits/dim", {"train": "bits_per_dim", "validation": "validation_bits_per_dim"}),
    "pictures": Plot("error, of the best linear guess's", {name: f"error_{name}" for name in diagnosis.BANDS}),
}


class Diffusion(Encodes, Decodes, Scores):
    """The network learns the image behind the noise, at all noise levels; a guide, if there is one, plays beside it."""

    config: DiffusionConfig
    negative_bound = "negative_elbo"
    validation_estimator = "elbo"  # one look at the network an image; the ODE takes hundreds

    def __init__(self, config: DiffusionConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.latent_shape = (prod(shape),)
        self.process = PROCESSES[config.process]
        self.times = Uniform() if config.weighting == "likelihood" else self.process.times
        self.plot = PLOTS[config.weighting]
        self.known = Preconditioning(config.process, shape)
        self.network = BUILDERS[config.arch](config, shape)
        self.guide = BUILDERS[config.arch](config.smaller, shape) if config.guide else None

    def players(self) -> list[Player]:
        """Return the one player, and the guide if there is one."""
        own = [Player("diffusion", [Group(list(self.network.parameters()))])]
        return own if self.guide is None else [*own, Player("guide", [Group(list(self.guide.parameters()))])]

    def networks(self) -> list[nn.Module]:
        """Return the networks; what is known without them stays float32."""
        return [self.network] if self.guide is None else [self.network, self.guide]

    compiled = networks

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Measure the mean and the deviation of each pixel over the first images."""
        self.known.initialize(self.scaled(x, noise("uniform", x.shape, x.device)))

    @staticmethod
    def scaled(x: Tensor, u: Tensor | float) -> Tensor:
        """Return y in [-1, 1] of pixels of 256 levels and the places u in [0, 1) within their levels."""
        return (x + u) / 128 - 1

    def denoise(self, z: Tensor, lam: Tensor, y: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        """Return yhat [N, C, H, W] of z at lam [N] for classes y, guided: worse + w (yhat(y) - worse).

        What is worse is the guide's guess (Karras et al. 2024, arXiv:2406.02507), or the network's without the class
        (Ho & Salimans 2022, arXiv:2207.12598).
        """
        guess = self.guess(self.network, z, lam, y)
        if guidance == 1:
            return guess
        return torch.lerp(self.guess(self.guide or self.network, z, lam, None), guess, guidance)

    def guess(self, network: nn.Module, z: Tensor, lam: Tensor, y: Tensor | None) -> Tensor:
        """Return a network's yhat [N, C, H, W] of z at lam [N]."""
        level = lam.reshape(-1, 1, 1, 1)
        a, b = self.process.scales(level)
        known = self.known.coefficients(a, b)
        return known.shift + known.skip * z + known.out * network(self.known.inputs(z, a, b), lam, y)

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield the mean squared error of yhat, weighted; each image has a noise level of its own."""
        x, device = batch.x, batch.x.device
        image = self.scaled(x, noise("uniform", x.shape, device))
        lam, density = self.times.draw(len(x), noise("uniform", (1,), device, images=None))
        y = self.told(batch.y)
        e = noise("normal", x.shape, device)
        loss, terms = self.weighted(self.error(image, lam, e, y), image, lam, density)
        yield Loss("diffusion", loss, terms)
        if self.guide is not None:
            loss, _ = self.weighted(self.error(image, lam, e, None, self.guide), image, lam, density)
            yield Loss("guide", loss, {"guide": loss})

    def weighted(
        self, error: Tensor, image: Tensor, lam: Tensor, density: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return what is minimised of errors [N], and what is read of them."""
        bound = self.bound(image, error, lam, density).mean()
        if self.config.weighting == "likelihood":
            return bound, {"negative_elbo": bound}
        a, b = self.process.scales(lam)
        residual = (error / self.known.unit(a, b).square()).mean() / prod(self.shape)
        return residual, {"residual": residual, "negative_elbo": bound}

    def told(self, y: Tensor | None) -> Tensor | None:
        """Return the classes that the network is told in training: now and then none, for guidance."""
        y = self.given(y)
        if y is None:
            return None
        left_out = noise("uniform", y.shape, y.device) < self.config.class_dropout
        return y.masked_fill(left_out, self.config.classes)

    def error(
        self, image: Tensor, lam: Tensor, e: Tensor, y: Tensor | None, network: nn.Module | None = None
    ) -> Tensor:
        """Return |y - yhat|^2 [N] at lam [N] with the noise e, of the network or of another."""
        a, b = self.process.scales(lam.reshape(-1, 1, 1, 1))
        guess = self.guess(network or self.network, a * image + b * e, lam, y)
        return (image - guess).square().flatten(1).sum(1)

    def bound(self, image: Tensor, error: Tensor, lam: Tensor, density: Tensor) -> Tensor:
        """Return the bound on -log P(x) [N] in nats of one noise level each, drawn with this density."""
        D = prod(self.shape)
        s, m = self.known.deviation, self.known.mean
        variance = exp(-2 * NOISIEST)
        far = s.square() + variance  # p(z_0 / a) = N(m, far), q = N(y, variance)
        kl = 0.5 * ((variance + (image - m).square()) / far - 1 + (far / variance).log()).flatten(1).sum(1)
        last = D * (0.5 * log(2 * pi * euler_number) - CLEANEST + log(128))
        return kl + (2 * lam).exp() * error / density + last

    def start(self, u: Tensor, first: Level) -> Tensor:
        """Return z at the first noise level of a latent u ~ N(0, I) [N, D]: with the mean and spread of z there."""
        m, s = self.known.mean, self.known.deviation
        return first.a * m + ((first.a * s).square() + first.b.square()).sqrt() * u.unflatten(1, self.shape)

    def latent_of(self, z: Tensor, first: Level) -> Tensor:
        """Return the latent u of z at the first noise level."""
        m, s = self.known.mean, self.known.deviation
        return ((z - first.a * m) / ((first.a * s).square() + first.b.square()).sqrt()).flatten(1)

    def levels(self, options: DiffusionSampling) -> list[Level]:
        """Return the noise levels of a sampler, from noise to image."""
        lam = torch.tensor(self.process.grid(options.sampler_steps), device=self.device)
        return [Level(*level) for level in zip(lam, *self.process.scales(lam), strict=True)]

    def chosen(self, options: SamplingOptions | None) -> tuple[DiffusionSampling, float]:
        """Return the sampling options, or the usual ones, and w; raise UsageError for guidance away from nothing."""
        found = options if isinstance(options, DiffusionSampling) else DiffusionSampling()
        if found.guidance is None:
            return found, GUIDED if self.guide is not None else 1.0
        if found.guidance != 1 and not self.config.classes and self.guide is None:
            raise UsageError("--guidance is for a model of --conditional or with a --guide; leave it out.")
        return found, found.guidance

    def decode(self, z: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Follow the ODE from z [N, D] to the image, rounded to its level of 256, in [0, 1]."""
        (how, w), y = self.chosen(options), self.given(y)
        levels = self.levels(how)
        end = self.follow(how, self.start(z, levels[0]), levels, y, w)
        image = self.denoise(end, levels[-1].lam.expand(len(z)), y, w)
        return ((image + 1) * 128).floor().clamp(0, 255) / 255

    def encode(self, x: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Follow the ODE backwards from the middle of each pixel's level to z [N, D]."""
        found = options if options is not None else DiffusionSampling()
        (how, w), y = self.chosen(found.for_given_images()), self.given(y)
        levels = self.levels(how)[::-1]
        image = self.scaled(x, 0.5)
        z = self.follow(how, levels[0].a * image, levels, y, w)
        return self.latent_of(z, levels[-1])

    def follow(self, how: DiffusionSampling, z: Tensor, levels: list[Level], y: Tensor | None, w: float) -> Tensor:
        """Return z at the last noise level of z at the first, by the chosen solver."""

        def denoise(z: Tensor, level: Level) -> Tensor:
            return self.denoise(z, level.lam.expand(len(z)), y, w)

        return SAMPLERS[how.sampler](denoise, z, levels)

    def log_weights(
        self,
        x: Tensor,
        K: int,
        generator: torch.Generator,
        estimator: str,
        y: Tensor | None = None,
        options: SamplingOptions | None = None,
    ) -> Tensor:
        """Return log p(x + u_k) by the ODE, or draws of the ELBO, both [K, N]: their mean is the bound."""
        if estimator == "elbo":
            return torch.stack([self.elbo(x, generator, self.given(y)) for _ in range(K)])
        steps, density = self.chosen(options)[0].ode_steps, Density(self.process, self.known, self.denoise)
        draws = [(self.dequantized(x, generator), density.probe(len(x), generator)) for _ in range(K)]
        return torch.stack([density.log_density(image, self.given(y), steps, probe) for image, probe in draws])

    def dequantized(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return images in [-1, 1], each pixel anywhere in its level."""
        return self.scaled(x, random("uniform", x.shape, generator, self.known.mean))

    def elbo(self, x: Tensor, generator: torch.Generator, y: Tensor | None) -> Tensor:
        """Return a draw of the ELBO for each image [N], each of one noise level, uniform in lam."""
        image = self.dequantized(x, generator)
        e = random("normal", x.shape, generator, self.known.mean)
        lam, density = Uniform().draw(len(x), random("uniform", (1,), generator, self.known.mean))
        return -self.bound(image, self.error(image, lam, e, y), lam, density)

    def numerics(
        self, x: Tensor, estimator: str, y: Tensor | None = None, options: SamplingOptions | None = None
    ) -> Mapping[str, Any]:
        """Return the solver of the ODE, and what a half step and another probe change for some images."""
        if estimator != "ode":
            return {}
        x, y, own = x[:CHECKED], self.given(None if y is None else y[:CHECKED]), generator("numerics", device=x.device)
        density = Density(self.process, self.known, self.denoise)
        return density.numerics(self.dequantized(x, own), y, self.chosen(options)[0].ode_steps, own)

    @torch.no_grad()
    def diagnose(self, epoch: Epoch) -> Diagnosis:
        """Look at the error in bands of noise, and at samples."""
        assert epoch.observed is not None  # noqa: S101 - a diffusion model scores
        x, own = epoch.observed[: diagnosis.IMAGES], generator("diagnosis", device=epoch.observed.device)
        y = None if epoch.labels is None else epoch.labels[: diagnosis.IMAGES]
        image, e = self.dequantized(x, own), random("normal", x.shape, own, self.known.mean)
        guess = partial(self.denoise, y=self.given(y))
        errors = diagnosis.errors(self.process, self.known, guess, image, e)
        seen, sentences = diagnosis.look(epoch.samples(diagnosis.SAMPLES), epoch.train)
        return Diagnosis({**errors, **seen}, [*diagnosis.alarms(errors), *sentences])
