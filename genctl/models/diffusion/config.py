"""What may be chosen of a diffusion model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

from ...config import MOST_DEPTH, MOST_WIDTH, Estimator, ModelConfig, Opt, SamplingOptions

DPM_STEPS = 12  # evaluations of the network for an image, if nothing else is said
ODE_STEPS = 32  # of four evaluations each, and their gradients
CLASS_DROPOUT = 0.1
GUIDED = 1.5  # guidance of a model with a guide, if nothing else is said


@dataclass(frozen=True, kw_only=True)
class DiffusionSampling(SamplingOptions):
    """What may be chosen when a diffusion model's images are drawn."""

    sampler: Annotated[
        Literal["euler", "heun", "dpm"],
        Opt("solver from noise to image; a step of heun looks twice at the network", acts="decoder"),
    ] = "dpm"
    sampler_steps: Annotated[int, Opt("steps of the solver", min=1, max=10_000, acts="decoder")] = DPM_STEPS
    guidance: Annotated[
        float | None,
        Opt(
            "above 1, clearer and less varied: away from the model's guide, or from images without the class; by"
            f" default {GUIDED:g} with a guide, else 1",
            min=0,
            max=1000,
            acts="decoder",
        ),
    ] = None
    ode_steps: Annotated[
        int, Opt("steps of the ODE behind a likelihood; too few flatter", min=1, max=10_000, acts="likelihood")
    ] = ODE_STEPS

    def for_given_images(self) -> Self:
        """Return these options without a guide that was not asked for: led away, an image is not found again."""
        return self if self.guidance is not None else replace(self, guidance=1.0)


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig(ModelConfig):
    """Diffusion or flow matching: an ODE from noise to images (Lipman 2023, Karras 2022)."""

    name: ClassVar = "diffusion"
    model: ClassVar = "genctl.models.diffusion.model:Diffusion"
    can: ClassVar = frozenset({"sample", "decode", "encode", "score"})
    sampling: ClassVar = DiffusionSampling
    estimators: ClassVar = (
        Estimator("ode", draws="mean", images=1_000, together=20),
        Estimator("elbo", draws="mean"),
    )
    quick: ClassVar = {"sampler_steps": 2, "ode_steps": 2}
    small: ClassVar = (
        {"arch": "unet", "channels": 4, "blocks": 1},
        {"arch": "mlp", "hidden": 16, "depth": 1, "process": "edm", "guide": 4},
        {"arch": "mlp", "hidden": 16, "depth": 1, "conditional": True, "process": "cosine", "weighting": "likelihood"},
    )
    defaults: ClassVar = {
        "epochs": 20,
        "batch_size": 64,
        "lr": 2e-3,
        "schedule": "one-cycle",
        "clip": 1.0,
        "ema": 0.999,
    }

    arch: Annotated[Literal["unet", "mlp"], Opt("network: a U-Net with attention where it is coarsest, or an MLP")] = (
        "unet"
    )
    process: Annotated[
        Literal["linear", "edm", "cosine"],
        Opt("what is learned: flow matching, Karras et al. 2022, or v on a cosine"),
    ] = "linear"
    weighting: Annotated[
        Literal["pictures", "likelihood"], Opt("noise levels that training looks at most: for the eye, or for bits/dim")
    ] = "pictures"
    conditional: Annotated[bool, Opt("given the class, which is left out now and then for --guidance")] = False
    channels: Annotated[
        int,
        Opt("channels at the finest resolution, half the image's", min=1, max=MOST_WIDTH, requires={"arch": "unet"}),
    ] = 48
    blocks: Annotated[
        int,
        Opt("residual blocks at each resolution, down and up", min=1, max=MOST_DEPTH, requires={"arch": "unet"}),
    ] = 1
    hidden: Annotated[int, Opt("hidden units", min=1, max=MOST_WIDTH, requires={"arch": "mlp"})] = 512
    depth: Annotated[int, Opt("residual blocks", min=1, max=MOST_DEPTH, requires={"arch": "mlp"})] = 3
    class_dropout: Annotated[
        float,
        Opt("share of images whose class is left out in training", min=0, max=1, requires={"conditional": "True"}),
    ] = CLASS_DROPOUT
    guide: Annotated[
        int,
        Opt(
            "channels (--arch mlp: hidden units) of a smaller network that --guidance leads away from; 0: none;"
            " see: genctl explain diffusion",
            min=0,
            max=MOST_WIDTH,
        ),
    ] = 0

    @property
    def smaller(self) -> Self:
        """Return the form of the guide."""
        form: dict[str, Any] = {"channels": self.guide, "blocks": 1}
        if self.arch == "mlp":
            form = {"hidden": self.guide, "depth": 1}
        return replace(
            self, **form, conditional=False, classes=0, class_counts=(), class_dropout=CLASS_DROPOUT, guide=0
        )
