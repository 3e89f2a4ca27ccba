"""The contract of a model: who plays, what is minimised, and what a trained model can do.

Images enter as uint8 [N, C, H, W]; each model makes its own floats of them on the device. Images leave as floats in
[0, 1]. Labels y [N] are optional everywhere: None for a model of p(x), and for data without labels. Letters: N images,
C, H, W their shape, K draws, D = C*H*W. A model with classes may decode a mixture too: y [N, classes], weights
that sum to one, are what lies on a path between classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..checkpoint import sizes
from ..config import ModelConfig, SamplingOptions, Tempered
from ..types import Shape

if TYPE_CHECKING:
    from ..data import Images
    from ..data.pieces import Pieces


@dataclass(frozen=True)
class Batch:
    """What a training step sees; all of it on the device, for a step may be captured once and replayed."""

    x: Tensor  # uint8 [N, C, H, W]
    y: Tensor | None  # int64 [N], where the data have labels
    step: Tensor  # scalar: 0 for the first step of the run
    progress: Tensor  # scalar: 0 at the start of the run, 1 at its end
    # Of a model that `augments`: what all images pass before they are judged, float [N, C, H, W], differentiably.
    augment: Callable[[Tensor], Tensor] | None = None


class Optimizer(NamedTuple):
    """How a player descends: Adam (Kingma & Ba 2015), or AdamW with decoupled decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adam", "adamw"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0


ADAM = Optimizer()


class Group(NamedTuple):
    """Parameters that step alike."""

    parameters: list[nn.Parameter]
    lr_scale: float = 1.0  # factor on the learning rate
    weight_decay: float | None = None  # in place of the optimizer's


@dataclass(frozen=True)
class Player:
    """A player: the parameters that it optimizes, and how."""

    name: str
    groups: Sequence[Group]
    optimizer: Optimizer = ADAM

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of all groups, in the optimizer's order."""
        return [p for group in self.groups for p in group.parameters]


class Loss(NamedTuple):
    """One move: the scalar its player minimises, and named scalars to read.

    All are means over the images of Batch.x, which may be a share of the batch; what is none needs blocks.over_batch.
    """

    player: str
    minimise: Tensor  # scalar
    terms: Mapping[str, Tensor]  # scalars: means over the batch; likelihoods in nats per image


@dataclass(frozen=True)
class Plot:
    """What a run's curves show: names of metrics by their label, and horizontal lines."""

    unit: str
    series: Mapping[str, str]  # label -> metric
    levels: Mapping[str, float] = field(default_factory=dict)  # label -> height


@dataclass(frozen=True)
class Epoch:
    """What a model may look at after an epoch; nothing of it changes the training."""

    means: Mapping[str, float]  # of the loss's terms over the epoch
    train: Images
    # uint8 [N, C, H, W]: the validation images as the likelihood sees them, to be taken in slices: they may be many.
    observed: Tensor | Pieces | None
    # The first n images of a fixed seed [n, C, H, W] in [0, 1], on the device; sampling options may follow n.
    samples: Callable[..., Tensor]
    labels: Tensor | None = None  # int64 [N]: the classes of those observed, for a conditional model


class Diagnosis(NamedTuple):
    """What a model says of itself after an epoch."""

    metrics: Mapping[str, float] = {}
    warnings: Sequence[str] = ()  # sentences


class Model(nn.Module, ABC):
    """A generative model of images, trained by one or more players."""

    plot: Plot
    smallest_batch: ClassVar[int] = 1  # images in a step
    batch_multiple: int = 1  # what their number is divisible by
    initial_images: int = 1024  # how many initialize() looks at, if there are as many
    at_once: bool = False  # True where a loss is no mean over images, as with batch norm: --accumulate cannot split it
    augments: ClassVar[bool] = False  # True: losses() passes real and generated images alike through batch.augment
    replayable: ClassVar[bool] = True  # False where losses() reads tensors on the host or branches on them

    def __init__(self, config: ModelConfig, shape: Shape) -> None:
        super().__init__()
        self.config = config
        self.shape = shape

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.parameters()).device

    def given(self, y: Tensor | None) -> Tensor | None:
        """Return the classes if this is a model of p(x|y), and None if it is one of p(x)."""
        return y if self.config.classes else None

    @abstractmethod
    def players(self) -> list[Player]:
        """Return who plays; an optimizer is made for each."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield one Loss per move in the paper's order; the mover steps before the next is computed.

        Random numbers come from seeds.noise and seeds.random_16_bits alone.
        """

    def initialize(self, x: Tensor) -> None:
        """Set what depends on the data, once, before the first step; x is uint8 [N, C, H, W]."""

    def training_images(self, images: Images) -> Tensor:
        """Return the uint8 [N, C, H, W] of these images that training draws its batches from, image by image."""
        return images.pixels

    def observe(self, images: Images) -> Tensor:
        """Return the uint8 images that the model sees of these: binarized ones for a Bernoulli likelihood."""
        return images.pixels

    def diagnose(self, epoch: Epoch) -> Diagnosis:
        """Return what else to log after an epoch, and what to warn of."""
        return Diagnosis()

    def networks(self) -> Iterable[nn.Module]:
        """Return the parts that --precision bf16 rounds: each makes one tensor of tensors, and no likelihood."""
        return ()

    def compiled(self) -> Iterable[nn.Module]:
        """Return the parts that --compile compiles, each by itself; those that are alike share the work."""
        return self.children()


class Noise(NamedTuple):
    """Random numbers that an image is made of: N(0, 1) or U[0, 1), of this shape."""

    kind: Literal["normal", "uniform"]
    shape: tuple[int, ...]


class Samples(Model):
    """A model that makes images of noise."""

    @property
    @abstractmethod
    def noise_shapes(self) -> Sequence[Noise]:
        """Return what image i is made of; it is drawn in this order by a generator of (seed, i)."""

    @abstractmethod
    def draw(self, noise: Sequence[Tensor], y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Return images [N, C, H, W] in [0, 1] of noise, a tensor [N, *shape] for each of noise_shapes."""


class Decodes(Samples):
    """A model that makes an image of a latent drawn from N(0, I)."""

    latent_shape: tuple[int, ...]

    @property
    def noise_shapes(self) -> Sequence[Noise]:
        """Return the latent's noise; a model that draws more names it behind."""
        return (Noise("normal", self.latent_shape),)

    def latent(self, noise: Sequence[Tensor], options: SamplingOptions | None = None) -> Tensor:
        """Return z [N, *latent_shape] of the noise, times the temperature where there is one."""
        return options.temperature * noise[0] if isinstance(options, Tempered) else noise[0]

    @abstractmethod
    def decode(self, z: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Map z [N, *latent_shape] to the mean image in [0, 1], [N, C, H, W]."""

    def decoder_layers(self) -> Sequence[nn.Module]:
        """Return modules that make decode(z, y) of z one after the other; none where decode is more than that."""
        return ()

    def draw(self, noise: Sequence[Tensor], y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Return the mean image of the latent; a model whose p(x|z) is noisy draws of it."""
        return self.decode(self.latent(noise, options), y, options)


class Encodes(Model):
    """A model that finds the latent of an image."""

    @abstractmethod
    def encode(self, x: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Map uint8 x [N, C, H, W] to z [N, *latent_shape]."""

    def posterior(
        self, x: Tensor, y: Tensor | None = None, options: SamplingOptions | None = None
    ) -> Mapping[str, Tensor]:
        """Return what the encoder says of x by its name in the paper, z first: [N, *latent_shape] each."""
        return {"latents": self.encode(x, y, options)}


class Scores(Model):
    """A model with a likelihood; its config names the estimators and what the data are."""

    negative_bound: str  # the term of the loss that bounds -log p(x), nats per image
    validation_draws: int = 1  # K of the bound in validation
    validation_estimator: str | None = None  # by which bound; None for the usual one

    @abstractmethod
    def log_weights(
        self,
        x: Tensor,
        K: int,
        generator: torch.Generator,
        estimator: str,
        y: Tensor | None = None,
        options: SamplingOptions | None = None,
    ) -> Tensor:
        """Return log w [K, N] in nats with E_k[w] = p(x), or p(x|y), for uint8 x [N, C, H, W].

        For an exact likelihood w = p(x), whatever the draw; of an estimator whose draws are averaged, E_k[log w] is the
        bound. The noise is made on generator.device. The options are those that act in a likelihood.
        """

    def numerics(
        self, x: Tensor, estimator: str, y: Tensor | None = None, options: SamplingOptions | None = None
    ) -> Mapping[str, Any]:
        """Return what a record says of a likelihood that is computed numerically, for the first of its images x.

        Errors in nats per image have names that end in _nats; the rest are words and numbers.
        """
        return {}

    @property
    def weight_noise(self) -> Sequence[Noise] | None:
        """Return what one draw of log w is made of; None for a model that has no log_weight of given noise."""
        return None

    def log_weight(self, x: Tensor, noise: Sequence[Tensor], y: Tensor | None = None) -> Tensor:
        """Return log w [N] of one draw made of the noise, [N, *shape] for each of weight_noise: for other programs."""
        raise NotImplementedError


class Inverts(Model):
    """A model that is a bijection: both directions return their log-determinant."""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map x [N, C, H, W] in (0, 256) to z [N, D] and log |det dz/dx| [N]."""

    @abstractmethod
    def inverse(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map z [N, D] to x [N, C, H, W] in (0, 256) and log |det dx/dz| [N]."""


CAPABILITIES = {"sample": Samples, "decode": Decodes, "encode": Encodes, "score": Scores}


def class_of(config: ModelConfig) -> type[Model]:
    """Return the class that a config names."""
    module, _, name = config.model.partition(":")
    kind = getattr(import_module(module), name)
    if not issubclass(kind, Model):
        raise TypeError(f"{config.model} is no Model")
    return kind


def build(config: ModelConfig, shape: Shape) -> Model:
    """Return the model of a config with random weights; raise OutOfResources for one that is too large to train."""
    kind = class_of(config)
    return sizes.possible(lambda: kind(config, shape), config.name)
