"""What may be chosen of a VAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from ...config import ModelConfig, Opt, Shape

if TYPE_CHECKING:
    from .model import VAE


@dataclass(frozen=True, kw_only=True)
class VAEConfig(ModelConfig):
    """Variational autoencoder with a Bernoulli decoder (Kingma & Welling 2014)."""

    name: ClassVar = "vae"
    can: ClassVar = frozenset({"encode", "decode", "score"})
    estimators: ClassVar = ("elbo", "iwae", "prior")
    defaults: ClassVar = {"epochs": 40, "batch_size": 128, "lr": 2e-3, "schedule": "cosine", "ema": 0.999}

    arch: Annotated[Literal["mlp", "conv"], Opt("networks: fully connected or convolutional")] = "mlp"
    latent_dim: Annotated[int, Opt("dimension of z", min=1)] = 20
    hidden: Annotated[int, Opt("hidden units of encoder and decoder", min=1, arch="mlp")] = 500
    channels: Annotated[int, Opt("channels of the finest convolution", min=1, arch="conv")] = 32
    binarize: Annotated[
        Literal["dynamic", "static", "threshold"],
        Opt("draw pixels anew at each visit, once for all, or cut at one half"),
    ] = "dynamic"

    def build(self, shape: Shape) -> VAE:
        """Return a VAE with random weights."""
        from .model import VAE

        return VAE(self, shape)
