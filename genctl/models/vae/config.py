"""What may be chosen of a VAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from ...config import LEVELS, MOST_DEPTH, MOST_WIDTH, Estimator, ModelConfig, Opt, Pixels, Tempered
from ...errors import UsageError

FLAT = "mlp conv"  # one latent vector
LEARNS = {"arch": "mlp", "conditional": False, "likelihood": "bernoulli", "objective": "elbo", "free_bits": 0.0}
LEARNED = {"layers": 2, "hidden": 256, "kl_warmup": 0.1}  # of --arch mlp; without warm-up deeper networks collapse
FEWEST = 2  # latent dimensions of a flow: one steers the other
BINARIZED = {  # how training images are binarized -> what an evaluation is of
    "dynamic": "genctl's own fixed draw of the pixels, trained on fresh draws",
    "static": "genctl's own fixed draw of the pixels, not the published static file",
    "threshold": "cut at one half",
}


@dataclass(frozen=True, kw_only=True)
class VAESampling(Tempered):
    """What may be chosen when a VAE's images are drawn."""

    means: Annotated[bool, Opt("show the decoder's means instead of samples of p(x|z)", acts="draw")] = False


@dataclass(frozen=True, kw_only=True)
class VAEConfig(ModelConfig):
    """Variational autoencoder: Bernoulli or 256 levels, flat or a ladder (Kingma & Welling 2014)."""

    name: ClassVar = "vae"
    model: ClassVar = "genctl.models.vae.model:VAE"
    can: ClassVar = frozenset({"sample", "decode", "encode", "score"})
    sampling: ClassVar = VAESampling
    previews: ClassVar = {"-means": {"means": True}, "": {}}
    estimators: ClassVar = (
        Estimator("elbo", draws="mean"),
        Estimator("iwae", gap_to="elbo"),
        Estimator("prior", shared=True),
    )
    small: ClassVar = (
        {"arch": "mlp", "latent_dim": 2, "hidden": 8, "prior": "shared"},
        {"arch": "conv", "latent_dim": 3, "channels": 2},
        {"arch": "ladder", "channels": 4, "blocks": 1, "levels": 2, "latent_channels": 1},
        {"arch": "mlp", "latent_dim": 2, "hidden": 8, "conditional": True, "prior": "class"},
        {"arch": "mlp", "latent_dim": 3, "hidden": 8, "prior": "flow", "prior_couplings": 2, "prior_hidden": 4},
    )
    defaults: ClassVar = {"epochs": 40, "batch_size": 128, "lr": 3e-3, "schedule": "cosine", "ema": 0.999}

    arch: Annotated[
        Literal["mlp", "conv", "ladder"], Opt("networks: fully connected, convolutional, or a ladder of latents")
    ] = "mlp"
    conditional: Annotated[bool, Opt("given the class: p(x|z,y) and q(z|x,y), for labelled data")] = False
    prior: Annotated[
        Literal["shared", "class", "flow"],
        Opt(
            "prior: N(0, I), a Gaussian p(z|y) per class of a conditional model, or a flow that is learned; shared if"
            " --conditional, or another --arch, --likelihood or --objective, or --free-bits is given",
            requires={"arch": FLAT},  # a ladder's levels have learned priors, which see the class
        ),
    ] = "shared"
    prior_couplings: Annotated[
        int, Opt("couplings of --prior flow", min=1, max=MOST_DEPTH, requires={"prior": "flow"})
    ] = 4
    prior_hidden: Annotated[
        int, Opt("hidden units of each coupling of --prior flow", min=1, max=MOST_WIDTH, requires={"prior": "flow"})
    ] = 64
    latent_dim: Annotated[int, Opt("dimension of the latent z", min=1, max=MOST_WIDTH, requires={"arch": FLAT})] = 20
    hidden: Annotated[
        int,
        Opt(
            "hidden units of encoder and decoder; 500 without --prior flow",
            min=1,
            max=MOST_WIDTH,
            requires={"arch": "mlp"},
        ),
    ] = 500
    layers: Annotated[
        int,
        Opt(
            "hidden layers of encoder and decoder; 1 without --prior flow",
            min=1,
            max=MOST_DEPTH,
            requires={"arch": "mlp"},
        ),
    ] = 1
    activation: Annotated[Literal["relu", "tanh"], Opt("activation of the hidden layers", requires={"arch": "mlp"})] = (
        "relu"
    )
    channels: Annotated[
        int, Opt("channels at the finest resolution", min=1, max=MOST_WIDTH, requires={"arch": "conv ladder"})
    ] = 32
    blocks: Annotated[
        int | None,
        Opt(
            "residual blocks per resolution or level; by default 0, for a ladder 2",
            min=0,
            max=MOST_DEPTH,
            requires={"arch": "conv ladder"},
        ),
    ] = None
    levels: Annotated[int, Opt("levels of latents", min=2, max=MOST_DEPTH, requires={"arch": "ladder"})] = 3
    latent_channels: Annotated[
        int, Opt("latent channels per level", min=1, max=MOST_WIDTH, requires={"arch": "ladder"})
    ] = 8
    likelihood: Annotated[
        Literal["bernoulli", "discretized-logistic", "mixture"],
        Opt("p(x|z)"),
    ] = "bernoulli"
    components: Annotated[
        int, Opt("logistic components, for --likelihood mixture", min=1, max=1000, requires={"likelihood": "mixture"})
    ] = 5
    binarize: Annotated[
        Literal["dynamic", "static", "threshold"],
        Opt(
            "binarization of the training images",
            requires={"likelihood": "bernoulli"},
        ),
    ] = "dynamic"
    objective: Annotated[Literal["elbo", "iwae"], Opt("ELBO, or importance-weighted bound")] = "elbo"
    particles: Annotated[int, Opt("K: samples of z per image in training", min=1, max=10_000)] = 1
    gradient: Annotated[
        Literal["plain", "doubly"],
        Opt(
            "encoder gradient for --objective iwae; doubly: of lower variance",
            requires={"objective": "iwae", "arch": FLAT},
        ),
    ] = "plain"
    resample: Annotated[
        int | None,
        Opt(
            "for --objective iwae: gradient of N of the K samples, drawn by weight",
            min=1,
            requires={"objective": "iwae"},
        ),
    ] = None
    free_bits: Annotated[
        float,
        Opt(
            "free bits: nats of KL per dimension (ladder: level) without a penalty",
            min=0,
            max=1e6,
            requires={"objective": "elbo", "prior": "shared class"},
        ),
    ] = 0.0
    kl_warmup: Annotated[
        float,
        Opt("KL warm-up: fraction of the run in which the KL weight rises; 0 without --prior flow", min=0, max=1),
    ] = 0.0
    start_at_mean: Annotated[bool, Opt("initialise the output bias at the data mean", panel="Initialization")] = True

    def __post_init__(self) -> None:
        """Raise UsageError also for more draws to descend on than there are, and for a prior of other data."""
        super().__post_init__()
        if self.prior == "class" and not self.conditional:
            raise UsageError("--prior class belongs to --conditional; give that too.")
        if self.prior == "flow" and self.latent_dim < FEWEST:
            raise UsageError("--prior flow needs a --latent-dim of at least 2; use --prior shared.")
        if (self.resample or 0) > self.particles:
            raise UsageError(f"--resample must be at most --particles; not {self.resample} of {self.particles}.")

    @classmethod
    def of(cls, **chosen: Any) -> Self:
        """Build from what a user chose: a new training of the plain form learns its prior, in deeper networks.

        The fields' own defaults are what older files without these options are.
        """
        form = {**LEARNS, "latent_dim": FEWEST, **chosen}
        plain = all(form[name] == value for name, value in LEARNS.items()) and form["latent_dim"] != 1
        if plain and "prior" not in chosen:
            chosen = {"prior": "flow", **chosen}
        if chosen.get("prior") == "flow" and form["arch"] == "mlp":
            chosen = {**LEARNED, **chosen}
        return super().of(**chosen)

    @property
    def pixels(self) -> Pixels:
        """Return what the likelihood is of."""
        if self.likelihood != "bernoulli":
            return LEVELS
        return Pixels(f"binarized {self.binarize}", BINARIZED[self.binarize], "nats")

    @property
    def depth(self) -> int:
        """Return the residual blocks at each resolution or level."""
        if self.blocks is None:
            return 2 if self.arch == "ladder" else 0
        return self.blocks
