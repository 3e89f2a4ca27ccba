"""The contract of a model: who plays, what is minimised, and what a trained model can do.

Images enter as uint8 [N, C, H, W]; each model makes its own floats of them on the device.
Images leave as floats in [0, 1]. Letters: N images, C, H, W their shape, K draws, D = C*H*W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..config import ModelConfig, Shape

if TYPE_CHECKING:
    from ..data import Images


@dataclass(frozen=True)
class Batch:
    """What a training step sees; all of it on the device, for a step may be captured once and replayed."""

    x: Tensor  # uint8 [N, C, H, W]
    y: Tensor | None  # int64 [N], where the data have labels
    step: Tensor  # scalar: 0 for the first step of the run
    progress: Tensor  # scalar: 0 at the start of the run, 1 at its end


class Player(NamedTuple):
    """One side of the game: what it tunes, and the momenta of its Adam (Kingma & Ba 2015)."""

    name: str
    parameters: list[nn.Parameter]
    betas: tuple[float, float] = (0.9, 0.999)
    gentle: Sequence[nn.Parameter] = ()  # those of the parameters that step at a tenth of the rate
    share: float = 1.0  # of the learning rate, the player's own


class Loss(NamedTuple):
    """One move: the scalar its player minimises, and named scalars to read."""

    player: str
    minimise: Tensor  # scalar
    terms: Mapping[str, Tensor]  # scalars: means over the batch; likelihoods in nats per image


@dataclass(frozen=True)
class Plot:
    """What a run's curves show: names of metrics by their label, and horizontal lines."""

    unit: str
    series: Mapping[str, str]  # label -> metric
    levels: Mapping[str, float] = field(default_factory=dict)  # label -> height


class Model(nn.Module, ABC):
    """A generative model of images: one game of any number of players."""

    plot: Plot
    smallest_batch: ClassVar[int] = 1  # images in a step
    batch_multiple: int = 1  # what their number is divisible by
    replayable: ClassVar[bool] = True  # False where losses() reads tensors on the host or branches on them

    def __init__(self, config: ModelConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.parameters()).device

    @abstractmethod
    def players(self) -> list[Player]:
        """Return who plays; an optimizer is made for each."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield one Loss per move in the paper's order; the mover steps before the next is computed."""

    def initialize(self, x: Tensor) -> None:
        """Set what depends on the data, once, before the first step; x is uint8 [N, C, H, W]."""

    def training_images(self, images: Images) -> Tensor:
        """Return the uint8 [N, C, H, W] that training draws its batches from."""
        return images.pixels

    def networks(self) -> Iterable[nn.Module]:
        """Return the parts that --precision bf16 rounds: each makes one tensor of tensors, and no likelihood."""
        return ()

    def compiled(self) -> Iterable[nn.Module]:
        """Return the parts that --compile compiles, each by itself; those that are alike share the work."""
        return self.children()


class Encodes(Model):
    """A model that finds the latent of an image."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Map uint8 x [N, C, H, W] to z [N, *latent_shape]."""


class Decodes(Model):
    """A model that makes an image of a latent drawn from N(0, I)."""

    latent_shape: tuple[int, ...]
    draws: ClassVar[bool] = False  # whether draw() differs from decode()

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Map z [N, *latent_shape] to the mean image in [0, 1], [N, C, H, W]."""

    def draw(self, z: Tensor, u: Tensor) -> Tensor:
        """Draw an image of p(x|z) with uniform noise u [N, C, H, W]; by default the mean image."""
        return self.decode(z)


class Scores(Model):
    """A model with a likelihood."""

    data: str  # what it is a likelihood of: "256 levels", or "binarized" with how its training images were
    negative_bound: str  # the term of the loss that bounds -log p(x), nats per image
    validation_draws: int = 1  # K of the bound in validation

    @abstractmethod
    def log_weights(self, x: Tensor, K: int, generator: torch.Generator, proposal: str = "posterior") -> Tensor:
        """Return log w [K, N] in nats with E_k[w] = p(x), for uint8 x [N, C, H, W].

        The latents come from the model's posterior, or from the prior where its config names that estimator. The
        noise is made on generator.device.
        """

    def observe(self, images: Images) -> Tensor:
        """Return the uint8 images that the likelihood is of (binarized ones for a Bernoulli model)."""
        return images.pixels

    def diagnose(self, x: Tensor) -> dict[str, float]:
        """Return what else to log after an epoch, of the observed validation images, uint8 [N, C, H, W]."""
        return {}


class Inverts(Model):
    """A model that is a bijection: both directions return their log-determinant."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x [N, C, H, W] in (0, 256) to z [N, D] and log |det dz/dx| [N]."""

    @abstractmethod
    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z [N, D] to x [N, C, H, W] in (0, 256) and log |det dx/dz| [N]."""


CAPABILITIES = {"encode": Encodes, "decode": Decodes, "score": Scores}
