"""What may be chosen of a GAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from ...config import MOST_WIDTH, ModelConfig, Opt, Tempered
from ...errors import UsageError

CANDIDATES = 32  # of a new training of the plain form
G_DECAY = 3e-4  # of a new training of the plain form
CHOICE = 2.0  # weight of D's word where it is log-odds, if nothing else is said
PLAIN = {"arch": "mlp", "conditional": False, "loss": "non-saturating", "gradient_penalty": "none", "pack": 1}


@dataclass(frozen=True, kw_only=True)
class GANSampling(Tempered):
    """What may be chosen when a GAN's images are drawn."""

    choice: Annotated[
        float | None,
        Opt(
            "weight of D's word in which of the --candidates of its training a sample is; 0: the first. By default"
            f" {CHOICE:g} where D learns odds (not of --loss hinge or wasserstein), else 0",
            min=0,
            max=1000,
            acts="draw",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class GANConfig(ModelConfig):
    """Generative adversarial network (Goodfellow et al. 2014)."""

    name: ClassVar = "gan"
    model: ClassVar = "genctl.models.gan.model:GAN"
    can: ClassVar = frozenset({"sample", "decode"})
    sampling: ClassVar = GANSampling
    small: ClassVar = (
        {"arch": "mlp", "latent_dim": 4, "candidates": 3},
        {"arch": "dcgan", "latent_dim": 4, "channels": 2},
        {"arch": "resnet", "latent_dim": 4, "channels": 2},
        {"arch": "dcgan", "latent_dim": 4, "channels": 2, "conditional": True, "pack": 2},
    )
    defaults: ClassVar = {"epochs": 140, "batch_size": 64, "lr": 2e-4, "ema": 0.999}

    arch: Annotated[Literal["mlp", "dcgan", "resnet"], Opt("networks: fully connected, convolutional, or residual")] = (
        "mlp"
    )
    conditional: Annotated[bool, Opt("given the class: G(z, y) and a projection D(x, y), for labelled data")] = False
    latent_dim: Annotated[int, Opt("dimension of the noise z", min=1, max=MOST_WIDTH)] = 100
    channels: Annotated[
        int, Opt("channels at the finest resolution", min=1, max=MOST_WIDTH, requires={"arch": "dcgan resnet"})
    ] = 64
    dropout: Annotated[
        float, Opt("dropout in the discriminator; 0 with --candidates", min=0, max=0.99, requires={"arch": "mlp dcgan"})
    ] = 0.3
    loss: Annotated[
        Literal["non-saturating", "saturating", "hinge", "wasserstein", "relativistic"],
        Opt("loss; wasserstein needs --gradient-penalty wasserstein (or another, or none, which is to be said)"),
    ] = "non-saturating"
    label_noise: Annotated[
        float,
        Opt(
            "label smoothing: width of the random labels at 0 and 1",
            min=0,
            max=0.5,
            requires={"loss": "non-saturating saturating"},
        ),
    ] = 0.2
    gradient_penalty: Annotated[
        Literal["none", "r1", "r2", "r1+r2", "wasserstein"],
        Opt("gradient penalty on D"),
    ] = "none"
    gamma: Annotated[
        float,
        Opt("weight of --gradient-penalty", min=0, max=1e6, requires={"gradient_penalty": "r1 r2 r1+r2 wasserstein"}),
    ] = 10.0
    pack: Annotated[int, Opt("images that the discriminator judges together (PacGAN)", min=1, max=1000)] = 1
    candidates: Annotated[
        int,
        Opt(
            f"draws of G of which D chooses a sample: {CANDIDATES}, and no dropout, if no other --arch, --loss,"
            " --gradient-penalty or --pack, no --conditional and no --dropout is given",
            min=1,
            max=256,
        ),
    ] = 1
    g_lr_share: Annotated[float, Opt("generator learning rate, as a multiple of --lr", min=0, max=1e6)] = 1.0
    d_decay: Annotated[
        float,
        Opt("weight decay of the discriminator (AdamW), against learning by heart", min=0, max=1e3),
    ] = 0.0
    g_decay: Annotated[
        float,
        Opt(
            f"weight decay of the generator's last layer (L2), against lone dots; {G_DECAY:g} where"
            f" --candidates {CANDIDATES} is the default",
            min=0,
            max=1e6,
            requires={"arch": "mlp"},
        ),
    ] = 0.0

    @classmethod
    def of(cls, **chosen: Any) -> Self:
        """Build from what a user chose: in a new training of the plain form D chooses among draws.

        Where it does, it has no dropout. The fields' own defaults are what older files without --candidates are.
        --loss wasserstein bounds D's slope in no other way than by a penalty, and one must be chosen, if only none: a
        default that depends on the loss would change what older runs are.
        """
        form = {**PLAIN, **chosen}
        plain = all(form[name] == value for name, value in PLAIN.items()) and "dropout" not in chosen
        if plain and chosen.get("candidates", CANDIDATES) > 1:
            chosen = {"candidates": CANDIDATES, "g_decay": G_DECAY, **chosen}
        chooses = chosen.get("candidates", 1) > 1
        if chooses and form["arch"] != "resnet":  # which has none
            chosen = {"dropout": 0.0, **chosen}
        config = super().of(**chosen)
        if chooses and config.pack > 1:
            raise UsageError("--pack shows D several images at once, so it cannot choose one; leave --candidates out.")
        if chosen.get("loss") == "wasserstein" and "gradient_penalty" not in chosen:
            raise UsageError(
                "--loss wasserstein needs a penalty: add --gradient-penalty wasserstein, or none to train without one."
            )
        return config
