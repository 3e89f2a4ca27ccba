"""A learned prior p(z): couplings that turn z into the noise of the contract.

e = f(z) ~ N(0, I)    log p(z) = log N(f(z); 0, I) + log |det df/dz|

The couplings are the flow's (Dinh et al. 2017, arXiv:1605.08803), and a prior made of them Chen et al.'s (2017,
arXiv:1611.02731): it can be what the posterior of all images together is, which N(0, I) is not, so that a draw of it is
a latent that the decoder knows. A network behind N(0, I) could do as much for p(x), but not for the bound: here q(z|x)
is Gaussian on the decoder's side of f.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..blocks import SeesClass, Stack, sees_class
from ..realnvp.bijections import Chain
from ..realnvp.steps import Coupling
from .config import VAEConfig
from .importance import log_normal


class FlowPrior(SeesClass):
    """z = f^-1(e) of e ~ N(0, I), or of a class y too, [N, D] all; it starts as N(0, I)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        D = config.latent_dim
        sizes = (D - D // 2, D // 2)
        turns = [i % 2 == 0 for i in range(config.prior_couplings)]
        self.f = Chain(*(Coupling(network(config, sizes, first), sizes, first, spatial=False) for first in turns))

    def forward(self, e: Tensor, y: Tensor | None = None) -> Tensor:
        """Return z."""
        return self.f.inverse(e, y)[0]

    def noise(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return e."""
        return self.f(z, y)[0]

    def log_prob(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return log p(z), [N] nats."""
        e, log_det = self.f(z, y)
        return log_normal(e) + log_det


def network(config: VAEConfig, sizes: tuple[int, int], first_stays: bool) -> Stack:
    """Return scale and shift of one part of z given the other: zero at the start, where f is the identity."""
    stays, moves = sizes if first_stays else sizes[::-1]
    last = nn.Linear(config.prior_hidden, 2 * moves)
    for p in last.parameters():
        nn.init.zeros_(p)
    seen = sees_class(config.classes, config.prior_hidden, 0)
    return Stack(nn.Linear(stays, config.prior_hidden), *seen, nn.ReLU(inplace=True), last)
