"""Models of another package, at the ends of what the contract allows.

tally: no latent, an exact likelihood, classes, a sampling option of its own. trio: three players, rates and optimizers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genctl.config import Estimator, ModelConfig, Opt, SamplingOptions, Tempered
from genctl.models.base import (
    Batch,
    Decodes,
    Diagnosis,
    Epoch,
    Group,
    Loss,
    Noise,
    Optimizer,
    Player,
    Plot,
    Samples,
    Scores,
)
from genctl.types import Shape


@dataclass(frozen=True, kw_only=True)
class TallySampling(SamplingOptions):
    """What may be chosen when pixels are drawn."""

    contrast: Annotated[float, Opt("factor on the logits", min=0, acts="draw")] = 1.0


@dataclass(frozen=True, kw_only=True)
class TallyConfig(ModelConfig):
    """Independent pixels: a tally of the levels at each place, given the class."""

    name: ClassVar = "tally"
    model: ClassVar = "strangers:Tally"
    can: ClassVar = frozenset({"sample", "score"})
    sampling: ClassVar = TallySampling
    estimators: ClassVar = (Estimator("exact", bound="exact -log p", draws="none"),)
    defaults: ClassVar = {"lr": 0.05}

    conditional: Annotated[bool, Opt("given the class: p(x|y)")] = False


class Tally(Samples, Scores):
    """p(x|y) = prod_d softmax(logits[y, d])[x_d]."""

    negative_bound = "nll"
    plot = Plot("bits/dim", {"train": "bits_per_dim", "validation": "validation_bits_per_dim"})

    def __init__(self, config: TallyConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.logits = nn.Parameter(torch.zeros(max(1, config.classes), prod(shape), 256))

    def players(self) -> list[Player]:
        return [Player("tally", [Group([self.logits])], Optimizer("adamw", weight_decay=0.01))]

    def of(self, y: Tensor | None, n: int) -> Tensor:
        """Return the logits [n, D, 256] of the images' classes."""
        return self.logits[y] if self.config.classes and y is not None else self.logits[0].expand(n, -1, -1)

    def log_prob(self, x: Tensor, y: Tensor | None) -> Tensor:
        picked = self.of(y, len(x)).log_softmax(-1).gather(-1, x.flatten(1).long()[..., None])
        return picked.sum((1, 2))

    def losses(self, batch: Batch) -> Iterator[Loss]:
        nll = -self.log_prob(batch.x, batch.y).mean()
        yield Loss("tally", nll, {"nll": nll})

    def log_weights(
        self,
        x: Tensor,
        K: int,
        generator: torch.Generator,
        estimator: str,
        y: Tensor | None = None,
        options: SamplingOptions | None = None,
    ) -> Tensor:
        return self.log_prob(x, y).expand(K, -1)

    @property
    def noise_shapes(self) -> Sequence[Noise]:
        return (Noise("uniform", self.shape),)

    def draw(self, noise: Sequence[Tensor], y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        contrast = options.contrast if isinstance(options, TallySampling) else 1.0
        p = (contrast * self.of(y, len(noise[0]))).softmax(-1).cumsum(-1)
        level = torch.searchsorted(p, noise[0].flatten(1)[..., None]).clamp_max(255)
        return (level / 255).view_as(noise[0])

    def diagnose(self, epoch: Epoch) -> Diagnosis:
        return Diagnosis({"mean_level": epoch.samples(4).mean().item()}, ["the tally is only a tally"])


@dataclass(frozen=True, kw_only=True)
class TrioConfig(ModelConfig):
    """Three players, one layer each."""

    name: ClassVar = "trio"
    model: ClassVar = "strangers:Trio"
    can: ClassVar = frozenset({"sample", "decode"})
    sampling: ClassVar = Tempered
    latent_dim: Annotated[int, Opt("dimension of z", min=1)] = 3


class Trio(Decodes):
    """A linear decoder: first, middle and last each want the mean of a batch nearer."""

    plot = Plot("squares", {"first": "first_loss"})

    def __init__(self, config: TrioConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.latent_shape = (config.latent_dim,)
        self.parts = nn.ModuleDict(
            {
                "first": nn.Linear(config.latent_dim, 4),
                "middle": nn.Linear(4, 4),
                "last": nn.Linear(4, prod(shape)),
            }
        )

    def players(self) -> list[Player]:
        first, middle, last = self.parts.values()
        return [
            Player("first", [Group(list(first.parameters()))]),
            Player("middle", [Group([middle.weight]), Group([middle.bias], 0.1)], Optimizer(betas=(0.5, 0.9))),
            Player("last", [Group(list(last.parameters()))], Optimizer("adamw", weight_decay=0.1)),
        ]

    def losses(self, batch: Batch) -> Iterator[Loss]:
        target = batch.x.flatten(1) / 255
        z = torch.ones(len(target), *self.latent_shape, device=target.device)
        for name in self.parts:
            loss = F.mse_loss(self.decode(z).flatten(1), target)
            yield Loss(name, loss, {f"{name}_loss": loss})

    def decode(self, z: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        for part in self.parts.values():
            z = part(z)
        return z.sigmoid().unflatten(1, self.shape)
