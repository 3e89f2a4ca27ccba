"""What may be chosen of a GAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from ...config import ModelConfig, Opt, Shape

if TYPE_CHECKING:
    from .model import GAN


@dataclass(frozen=True, kw_only=True)
class GANConfig(ModelConfig):
    """Generative adversarial network (Goodfellow et al. 2014)."""

    name: ClassVar = "gan"
    can: ClassVar = frozenset({"decode"})
    defaults: ClassVar = {"epochs": 200, "batch_size": 64, "lr": 2e-4, "ema": 0.999}

    arch: Annotated[Literal["mlp", "dcgan"], Opt("networks: fully connected or convolutional")] = "mlp"
    latent_dim: Annotated[int, Opt("dimension of the noise z", min=1)] = 100
    channels: Annotated[int, Opt("channels of the finest convolution", min=1, arch="dcgan")] = 64
    dropout: Annotated[float, Opt("dropout in the discriminator", min=0, max=0.99)] = 0.3
    label_noise: Annotated[float, Opt("width of the soft labels' range at 0 and at 1", min=0, max=0.5)] = 0.2

    def build(self, shape: Shape) -> GAN:
        """Return a GAN with random weights."""
        from .model import GAN

        return GAN(self, shape)
