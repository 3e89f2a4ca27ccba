"""Where a pixel of 256 levels lies within its level: u in [0, 1)^D, of known density q(u|x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...types import Shape
from ..blocks import halvings
from .bijections import Bijection, Chain, Flatten, Rearrange, log_standard_normal
from .config import RealNVPConfig
from .networks import checkerboard, fully_connected, partitions, residual_network, squeeze
from .steps import Coupling


class Uniform(nn.Module):
    """u ~ U[0, 1)^D, whose density is 1."""

    kind: Literal["uniform", "normal"] = "uniform"  # of the noise that u is made of

    def __init__(self, config: RealNVPConfig, shape: Shape) -> None:
        super().__init__()

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise itself and log q = 0 [N]."""
        return noise, noise.new_zeros(x.shape[0])

    def middle(self, x: Tensor) -> Tensor | float:
        """Return the middle of each level."""
        return 0.5


class Variational(nn.Module):
    """u = sigmoid(g(e; x)), e ~ N(0, I): a flow g that sees the image (Ho et al. 2019, arXiv:1902.00275, section 3.1).

    log q(u|x) = log N(e; 0, I) - log |det du/de|. Uniform noise gives a dark pixel's logit the tail of an exponential,
    which affine couplings cannot straighten; here the noise is learned to be what the flow expects. It does not see the
    class: the image says it.
    """

    kind: Literal["uniform", "normal"] = "normal"

    def __init__(self, config: RealNVPConfig, shape: Shape) -> None:
        super().__init__()
        self.fold, couplings = FORMS["mlp" if config.arch == "mlp" else "conv"](config, shape)
        self.couplings = nn.ModuleList(couplings)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log q(u|x) [N] for uint8 x and the noise e, both [N, C, H, W]."""
        context, _ = self.fold(x.to(noise.dtype) / 127.5 - 1)
        v, _ = self.fold(noise)
        log_q = log_standard_normal(noise)
        for coupling in self.couplings:
            v, log_det = coupling(v, context=context)
            log_q = log_q - log_det
        log_slope = v - 2 * F.softplus(v, threshold=40)  # log sigmoid'(v); F.logsigmoid is slow on a CPU
        log_q = log_q - log_slope.flatten(1).sum(1)
        return self.fold.inverse(torch.sigmoid(v))[0], log_q

    def middle(self, x: Tensor) -> Tensor:
        """Return u for e = 0."""
        zero = torch.zeros(x.shape, dtype=next(self.parameters()).dtype, device=x.device)
        return self.forward(x, zero)[0]


def alternating(
    network: Callable[[int, int], nn.Module], sizes: tuple[int, int], n: int, spatial: bool
) -> list[Coupling]:
    """Return a coupling that x alone steers, and n more in which each half of the noise has a say in the other."""
    D = sum(sizes)
    couplings = [Coupling(network(D, 2 * D), (0, D), first_stays=True, spatial=spatial)]
    for i in range(n):
        kept, moved = sizes if i % 2 == 0 else sizes[::-1]
        couplings.append(Coupling(network(D + kept, 2 * moved), sizes, first_stays=i % 2 == 0, spatial=spatial))
    return couplings


def over_blocks(config: RealNVPConfig, shape: Shape) -> tuple[Bijection, list[Coupling]]:
    """Return couplings over blocks of 2^n x 2^n pixels, their squares of one colour against the other."""
    C, n = shape[0], halvings(config.arch, shape)

    def network(inputs: int, outputs: int) -> nn.Module:
        return residual_network(inputs, outputs, config.dequantization_channels, 1)

    fold = Chain(squeeze(n), Rearrange(partitions(C, n)[0]))
    return fold, alternating(network, (C << 2 * n - 1, C << 2 * n - 1), config.dequantization_couplings, spatial=True)


def flat(config: RealNVPConfig, shape: Shape) -> tuple[Bijection, list[Coupling]]:
    """Return couplings of the flat image, its squares of one colour against the other."""
    order, sizes = checkerboard(shape)

    def network(inputs: int, outputs: int) -> nn.Module:
        return fully_connected(inputs, outputs, max(1, config.hidden // 4))

    fold = Chain(Flatten(shape), Rearrange(order))
    return fold, alternating(network, sizes, config.dequantization_couplings, spatial=False)


FORMS = {"conv": over_blocks, "mlp": flat}
DEQUANTIZATIONS: dict[str, type[Uniform | Variational]] = {"uniform": Uniform, "variational": Variational}
