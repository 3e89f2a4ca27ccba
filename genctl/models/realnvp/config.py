"""What may be chosen of a RealNVP flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from ...config import ModelConfig, Opt, Shape

if TYPE_CHECKING:
    from .model import RealNVP


@dataclass(frozen=True, kw_only=True)
class RealNVPConfig(ModelConfig):
    """Normalizing flow of affine couplings (Dinh, Sohl-Dickstein & Bengio 2017)."""

    name: ClassVar = "realnvp"
    can: ClassVar = frozenset({"encode", "decode", "score"})
    estimators: ClassVar = ("dequantization",)
    defaults: ClassVar = {
        "epochs": 40,
        "batch_size": 64,
        "lr": 1.6e-2,
        "schedule": "one-cycle",
        "clip": 100.0,
        "ema": 0.999,
    }

    arch: Annotated[Literal["conv", "mlp"], Opt("multi-scale with convolutions, or flat and fully connected")] = "conv"
    couplings: Annotated[int, Opt("couplings of each kind of partition", min=1, arch="conv")] = 2
    channels: Annotated[int, Opt("channels of the convolutions", min=1, arch="conv")] = 16
    blocks: Annotated[int, Opt("residual blocks in a network", min=1, arch="conv")] = 1
    global_couplings: Annotated[int, Opt("couplings that see the whole image", min=0, arch="conv")] = 4
    global_hidden: Annotated[int, Opt("units of their two hidden layers", min=1, arch="conv")] = 512
    depth: Annotated[int, Opt("couplings", min=1, arch="mlp")] = 8
    hidden: Annotated[int, Opt("units of the two hidden layers", min=1, arch="mlp")] = 1024
    alpha: Annotated[float, Opt("distance kept from 0 and 1 before the logit", min=1e-9, max=0.5)] = 1e-5

    def build(self, shape: Shape) -> RealNVP:
        """Return a flow with random weights."""
        from .model import RealNVP

        return RealNVP(self, shape)
