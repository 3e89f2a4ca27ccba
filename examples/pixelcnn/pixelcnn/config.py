"""What may be chosen of an autoregressive model of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from genctl.config import MOST_DEPTH, MOST_WIDTH, Estimator, ModelConfig, Opt, SamplingOptions
from genctl.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class PixelCNNSampling(SamplingOptions):
    """What may be chosen when pixels are drawn."""

    sharpness: Annotated[float, Opt("factor on the logits of each pixel", min=0, max=1e6, acts="draw")] = 1.0


@dataclass(frozen=True, kw_only=True)
class PixelCNNConfig(ModelConfig):
    """Autoregressive model of pixels: exact likelihood, no latent (van den Oord et al. 2016)."""

    name: ClassVar = "pixelcnn"
    model: ClassVar = "pixelcnn.model:PixelCNN"
    can: ClassVar = frozenset({"sample", "score"})
    sampling: ClassVar = PixelCNNSampling
    estimators: ClassVar = (Estimator("exact", bound="exact -log p", draws="none"),)
    small: ClassVar = (
        {"width": 8, "heads": 2, "layers": 1, "reach": 2},
        {"width": 8, "heads": 2, "layers": 1, "reach": 2, "conditional": True},
    )
    defaults: ClassVar = {
        "epochs": 10,
        "batch_size": 32,
        "lr": 2e-3,
        "schedule": "one-cycle",
        "clip": 1.0,
        "ema": 0.999,
    }

    width: Annotated[int, Opt("features of a pixel", min=1, max=MOST_WIDTH)] = 64
    layers: Annotated[int, Opt("attention layers", min=1, max=MOST_DEPTH)] = 3
    heads: Annotated[int, Opt("attention heads; they divide the width", min=1, max=1000)] = 2
    reach: Annotated[int, Opt("pixels above and beside, whose grey values enter directly", min=1, max=100)] = 5
    conditional: Annotated[bool, Opt("given the class: p(x|y)")] = False

    def __post_init__(self) -> None:
        """Raise UsageError also for heads that do not divide the width."""
        super().__post_init__()
        if self.width % self.heads:
            raise UsageError(f"--heads must divide --width; {self.heads} does not divide {self.width}.")
