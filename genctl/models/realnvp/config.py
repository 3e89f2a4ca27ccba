"""What may be chosen of a RealNVP flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from ...config import MOST_DEPTH, MOST_WIDTH, Estimator, ModelConfig, Opt, Tempered
from ...errors import UsageError

BY_SIZE: Any = None  # the default of an option that --size sets
CLUSTERS = 100  # of a new training of --size medium
MOST_MIXED = 1_000  # logistics of a mixture
CONVOLUTIONAL = {"arch": "conv multiscale"}
SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "arch": "conv",
        "coupling": "affine",
        "couplings": 8,
        "channels": 32,
        "blocks": 1,
        "network": "residual",
        "global_couplings": 2,
        "global_hidden": 512,
        "dequantization_couplings": 0,
        "dequantization_channels": 32,
    },
    "medium": {
        "arch": "conv",
        "coupling": "mixture",
        "couplings": 8,
        "channels": 48,
        "blocks": 2,
        "network": "gated",
        "global_couplings": 2,
        "global_hidden": 256,
        "dequantization_couplings": 0,
        "dequantization_channels": 32,
    },
    "large": {
        "arch": "multiscale",
        "coupling": "affine",
        "couplings": 4,
        "channels": 64,
        "blocks": 3,
        "network": "gated",
        "global_couplings": 0,
        "global_hidden": 512,
        "dequantization_couplings": 2,
        "dequantization_channels": 64,
    },
}


def sized(what: str, name: str) -> str:
    """Return an option's help with what each --size sets."""
    return f"{what} ({', '.join(f'{size}: {values[name]}' for size, values in SIZES.items())})"


TINY: dict[str, Any] = {"channels": 4, "global_hidden": 8}


@dataclass(frozen=True, kw_only=True)
class RealNVPConfig(ModelConfig):
    """Normalizing flow of couplings (Dinh, Sohl-Dickstein & Bengio 2017)."""

    name: ClassVar = "realnvp"
    model: ClassVar = "genctl.models.realnvp.model:RealNVP"
    can: ClassVar = frozenset({"sample", "decode", "encode", "score"})
    sampling: ClassVar = Tempered
    estimators: ClassVar = (Estimator("dequantization"),)
    small: ClassVar = (
        {
            **{"arch": "conv", "coupling": "affine", "couplings": 4, "network": "gated", "mixing": "conv1x1"},
            **{"global_couplings": 1, **TINY},
            **{"dequantization_couplings": 1, "dequantization_channels": 4},
        },
        {
            **{"arch": "multiscale", "coupling": "affine", "couplings": 2, "global_couplings": 3, **TINY},
            "dequantization": "uniform",
        },
        {"arch": "mlp", "depth": 2, "hidden": 32, "dequantization_couplings": 1},
        {"arch": "mlp", "depth": 2, "hidden": 32, "dequantization": "uniform", "conditional": True},
        {"arch": "conv", "couplings": 2, "network": "gated", "blocks": 1, "global_couplings": 1, "clusters": 3, **TINY},
        {
            **{"arch": "multiscale", "couplings": 2, "coupling": "mixture", "components": 2, **TINY},
            **{"dequantization": "uniform", "conditional": True},
        },
    )
    defaults: ClassVar = {
        "epochs": 24,
        "batch_size": 128,
        "lr": 5e-3,
        "schedule": "one-cycle",
        "clip": 100.0,
        "ema": 0.999,
    }

    arch: Annotated[
        Literal["conv", "mlp", "multiscale"],
        Opt(sized("networks: convolutions over 4x4 blocks, fully connected, or two scales", "arch")),
    ] = BY_SIZE
    size: Annotated[
        Literal["small", "medium", "large"],
        Opt("preset of the options below: small for minutes of a CPU, medium for an hour, large for a GPU"),
    ] = "medium"
    conditional: Annotated[
        bool, Opt("given the class: couplings and a Gaussian base that see it, for labelled data")
    ] = False
    dequantization: Annotated[
        Literal["uniform", "variational"], Opt("dequantization noise: uniform, or a learned flow")
    ] = "variational"
    dequantization_couplings: Annotated[
        int, Opt(sized("couplings of the dequantization flow", "dequantization_couplings"), min=0, max=MOST_DEPTH)
    ] = BY_SIZE
    dequantization_channels: Annotated[
        int, Opt(sized("its channels", "dequantization_channels"), min=1, max=MOST_WIDTH, requires=CONVOLUTIONAL)
    ] = BY_SIZE
    coupling: Annotated[
        Literal["affine", "mixture"],
        Opt(
            sized(
                "a coupling's map: affine, or a mixture of logistics, then affine; affine unless --arch conv, and "
                "global ones always",
                "coupling",
            )
        ),
    ] = BY_SIZE
    components: Annotated[
        int,
        Opt(
            "logistics of each mixture, for --coupling mixture", min=2, max=MOST_MIXED, requires={"coupling": "mixture"}
        ),
    ] = 4
    mixing: Annotated[
        Literal["permute", "conv1x1"],
        Opt("between couplings: a fixed permutation, or a learned 1x1 convolution", requires={"arch": "conv"}),
    ] = "permute"
    couplings: Annotated[
        int,
        Opt(
            sized("convolutional couplings; for multiscale: of each kind", "couplings"),
            min=1,
            max=MOST_DEPTH,
            requires=CONVOLUTIONAL,
        ),
    ] = BY_SIZE
    channels: Annotated[
        int, Opt(sized("channels of the convolutions", "channels"), min=1, max=MOST_WIDTH, requires=CONVOLUTIONAL)
    ] = BY_SIZE
    blocks: Annotated[
        int, Opt(sized("residual blocks per network", "blocks"), min=1, max=MOST_DEPTH, requires=CONVOLUTIONAL)
    ] = BY_SIZE
    network: Annotated[
        Literal["residual", "gated"], Opt(sized("kind of residual block", "network"), requires=CONVOLUTIONAL)
    ] = BY_SIZE
    global_couplings: Annotated[
        int,
        Opt(
            sized("fully connected couplings over the whole image", "global_couplings"),
            min=0,
            max=MOST_DEPTH,
            requires=CONVOLUTIONAL,
        ),
    ] = BY_SIZE
    global_hidden: Annotated[
        int,
        Opt(sized("hidden units of these couplings", "global_hidden"), min=1, max=MOST_WIDTH, requires=CONVOLUTIONAL),
    ] = BY_SIZE
    depth: Annotated[int, Opt("number of couplings", min=1, max=MOST_DEPTH, requires={"arch": "mlp"})] = 8
    hidden: Annotated[int, Opt("hidden units of each coupling", min=1, max=MOST_WIDTH, requires={"arch": "mlp"})] = 1024
    clusters: Annotated[
        int,
        Opt(
            "clusters of like images, which do what classes would and need no labels; 0, the default of another --size"
            " or --arch and with --conditional: none",
            min=0,
            max=10_000,
        ),
    ] = 0
    alpha: Annotated[float, Opt("keeps pixels alpha/2 away from 0 and 1 before the logit", min=1e-9, max=0.5)] = 1e-5

    def __post_init__(self) -> None:
        """Fill what was left open from the size, so that the effective options are what is stored."""
        for name in SIZES["small"]:
            if getattr(self, name) is None:
                object.__setattr__(self, name, self.default_of(name))
        super().__post_init__()
        if self.clusters and self.conditional:
            raise UsageError("--clusters are for a flow that is not given the class; leave --conditional out.")
        if self.size == "large" and self.arch != "multiscale":
            raise UsageError(f"--size large is of --arch multiscale, not of {self.arch}; leave one of them out.")

    def default_of(self, name: str) -> Any:
        """Return the default of an option, which --size may set; couplings are affine where mixtures were not tried.

        24 mixtures in a row, those of --arch multiscale, leave all bounds within ten steps of Adam.
        """
        if name == "coupling" and self.arch != "conv":
            return "affine"
        sized = SIZES.get(self.size, SIZES["small"])  # an unknown size is refused afterwards
        return sized.get(name, super().default_of(name))

    @classmethod
    def of(cls, **chosen: Any) -> Self:
        """Build from what a user chose: a new training of the usual form has clusters, which older files have not."""
        form = {"size": "medium", "arch": "conv", "conditional": False, **chosen}
        usual = form["size"] == "medium" and form["arch"] == "conv" and not form["conditional"]
        return super().of(**({"clusters": CLUSTERS} if usual else {}) | chosen)

    @property
    def kinds(self) -> int:
        """Return how many classes or clusters steer the couplings."""
        return self.classes or self.clusters

    @property
    def logistics(self) -> int:
        """Return how many logistics a coupling's mixture has; 0 for affine couplings."""
        return self.components if self.coupling == "mixture" else 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from a checkpoint's JSON; one from before there were sizes is of the form that was then."""
        if "size" not in values:
            arch = {"conv": "multiscale"}.get(values.get("arch", "conv"), values.get("arch"))
            values = {**values, "arch": arch, "dequantization": "uniform", "size": "small"}
        return super().from_dict(values)
