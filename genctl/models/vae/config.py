"""What may be chosen of a VAE."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from ...config import ModelConfig, Opt, Shape, flag
from ...errors import UsageError

if TYPE_CHECKING:
    from .model import VAE

NEEDS = {  # option -> what must be chosen with it
    "binarize": ("likelihood", "bernoulli"),
    "components": ("likelihood", "mixture"),
    "free_bits": ("objective", "elbo"),
    "gradient": ("objective", "iwae"),
    "resample": ("objective", "iwae"),
}


@dataclass(frozen=True, kw_only=True)
class VAEConfig(ModelConfig):
    """Variational autoencoder: Bernoulli or 256 levels, flat or a ladder (Kingma & Welling 2014)."""

    name: ClassVar = "vae"
    can: ClassVar = frozenset({"encode", "decode", "score"})
    estimators: ClassVar = ("elbo", "iwae", "prior")
    defaults: ClassVar = {"epochs": 40, "batch_size": 128, "lr": 3e-3, "schedule": "cosine", "ema": 0.999}

    arch: Annotated[
        Literal["mlp", "conv", "ladder"], Opt("networks: fully connected, convolutional, or levels of latents")
    ] = "mlp"
    latent_dim: Annotated[int, Opt("dimension of z", min=1, arch="mlp conv")] = 20
    hidden: Annotated[int, Opt("hidden units of encoder and decoder", min=1, arch="mlp")] = 500
    layers: Annotated[int, Opt("hidden layers of encoder and decoder", min=1, arch="mlp")] = 1
    activation: Annotated[Literal["relu", "tanh"], Opt("between the hidden layers", arch="mlp")] = "relu"
    channels: Annotated[int, Opt("channels of the finest convolution", min=1, arch="conv ladder")] = 32
    blocks: Annotated[
        int | None,
        Opt("residual blocks at each resolution or level; by default none (ladder: 2)", min=0, arch="conv ladder"),
    ] = None
    levels: Annotated[int, Opt("levels of latents", min=2, arch="ladder")] = 3
    latent_channels: Annotated[int, Opt("channels of each level's latents", min=1, arch="ladder")] = 8
    likelihood: Annotated[
        Literal["bernoulli", "discretized-logistic", "mixture"],
        Opt("p(x|z): of binarized pixels, or of their 256 levels"),
    ] = "bernoulli"
    components: Annotated[int, Opt("logistics of a --likelihood mixture", min=1)] = 5
    binarize: Annotated[
        Literal["dynamic", "static", "threshold"],
        Opt("draw pixels anew at each visit, once for all, or cut at one half"),
    ] = "dynamic"
    objective: Annotated[Literal["elbo", "iwae"], Opt("bound to train on")] = "elbo"
    particles: Annotated[int, Opt("K, draws of z per image in training", min=1)] = 1
    gradient: Annotated[
        Literal["plain", "doubly"],
        Opt("the encoder's, of --objective iwae: doubly reparameterized has less noise", arch="mlp conv"),
    ] = "plain"
    resample: Annotated[
        int | None, Opt("of --objective iwae: descend on so many of the K draws, chosen by their weights", min=1)
    ] = None
    free_bits: Annotated[float, Opt("nats of KL that are free in each dimension (ladder: level)", min=0)] = 0.0
    kl_warmup: Annotated[float, Opt("share of the run over which the KL comes in", min=0, max=1)] = 0.0
    start_at_mean: Annotated[bool, Opt("start the output at the data's mean")] = True

    def __post_init__(self) -> None:
        """Raise UsageError also for an option that what else was chosen does not have."""
        super().__post_init__()
        default = {f.name: f.default for f in fields(self)}
        for option, (other, needed) in NEEDS.items():
            if getattr(self, option) != default[option] and getattr(self, other) != needed:
                raise UsageError(f"{flag(option)} belongs to {flag(other)} {needed}; leave it out.")
        if self.gradient == "doubly" and self.arch == "ladder":
            raise UsageError("--gradient doubly belongs to --arch mlp or conv: a ladder draws z level by level.")
        if (self.resample or 0) > self.particles:
            raise UsageError(f"--resample must be at most --particles; not {self.resample} of {self.particles}.")

    @property
    def depth(self) -> int:
        """Return the residual blocks at each resolution or level."""
        if self.blocks is None:
            return 2 if self.arch == "ladder" else 0
        return self.blocks

    def build(self, shape: Shape) -> VAE:
        """Return a VAE with random weights."""
        from .ladder import Ladder
        from .model import VAE

        return (Ladder if self.arch == "ladder" else VAE)(self, shape)
