"""What may be chosen of a GAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from ...config import ModelConfig, Opt, Shape
from ...errors import UsageError

if TYPE_CHECKING:
    from .model import GAN


@dataclass(frozen=True, kw_only=True)
class GANConfig(ModelConfig):
    """Generative adversarial network (Goodfellow et al. 2014)."""

    name: ClassVar = "gan"
    can: ClassVar = frozenset({"decode"})
    defaults: ClassVar = {"epochs": 200, "batch_size": 64, "lr": 2e-4, "ema": 0.999}

    arch: Annotated[Literal["mlp", "dcgan", "resnet"], Opt("networks: fully connected, convolutional, or residual")] = (
        "mlp"
    )
    latent_dim: Annotated[int, Opt("dimension of the noise z", min=1)] = 100
    channels: Annotated[int, Opt("channels of the finest convolution", min=1, arch="dcgan resnet")] = 64
    dropout: Annotated[float, Opt("dropout in the discriminator", min=0, max=0.99, arch="mlp dcgan")] = 0.3
    loss: Annotated[
        Literal["non-saturating", "saturating", "hinge", "wasserstein", "relativistic"],
        Opt("what the players minimise; wasserstein needs a --gradient-penalty"),
    ] = "non-saturating"
    label_noise: Annotated[
        float, Opt("width of the soft labels' range at 0 and at 1, of the saturating losses", min=0, max=0.5)
    ] = 0.2
    gradient_penalty: Annotated[
        Literal["none", "r1", "r2", "r1+r2", "wasserstein"],
        Opt("what keeps D's slope small: at real images, generated ones, both, or between them"),
    ] = "none"
    gamma: Annotated[float, Opt("weight of --gradient-penalty", min=0)] = 10.0
    pack: Annotated[int, Opt("images that the discriminator judges together, in its channels", min=1)] = 1
    g_lr_share: Annotated[
        float, Opt("the generator's learning rate over the discriminator's, --lr", min=0, max=1e6)
    ] = 1.0

    def __post_init__(self) -> None:
        """Raise UsageError also for options that do not go together."""
        super().__post_init__()
        if self.label_noise != type(self).label_noise and not self.loss.endswith("saturating"):
            raise UsageError(f"--label-noise belongs to --loss non-saturating or saturating, not to {self.loss}.")
        if self.gamma not in (0, type(self).gamma) and self.gradient_penalty == "none":
            raise UsageError("--gamma belongs to a --gradient-penalty; choose one, or leave it out.")

    def build(self, shape: Shape) -> GAN:
        """Return a GAN with random weights."""
        from .model import GAN

        return GAN(self, shape)
