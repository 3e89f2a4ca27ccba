"""The steps of a flow that learn: the affine coupling, and the invertible 1 x 1 convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .bijections import Bijection


class Coupling(Bijection):
    """One part of dimension 1 stays and steers the other: b -> b exp(s(a)) + t(a).

    The log-scale s = bound * tanh(.) has a learned bound for each channel, so exp(s) cannot run away. A context,
    where there is one, steers with a and does not move; a may then have no channels at all. The class steers too.
    """

    def __init__(self, network: nn.Module, sizes: tuple[int, int], first_stays: bool, spatial: bool) -> None:
        super().__init__()
        self.network = network  # (a beside the context, class) -> [raw s, t], zero at the start
        self.sizes = sizes
        self.first_stays = first_stays
        moved = sizes[1] if first_stays else sizes[0]
        self.bound = nn.Parameter(torch.ones(moved, 1, 1) if spatial else torch.ones(moved))

    def _divide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.split(self.sizes, dim=1)
        return (first, second) if self.first_stays else (second, first)

    def _join(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b] if self.first_stays else [b, a], dim=1)

    def _steer(self, a: Tensor, given: Tensor | None, context: Tensor | None) -> Tensor:
        inputs = a if context is None else torch.cat([a, context], dim=1)
        return self.network(inputs) if given is None else self.network(inputs, given)

    def _scale_and_shift(self, steer: Tensor) -> tuple[Tensor, Tensor]:
        raw, t = steer.chunk(2, dim=1)
        return self.bound * torch.tanh(raw), t

    def forward(self, x: Tensor, given: Tensor | None = None, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return b exp(s) + t beside a."""
        a, b = self._divide(x)
        s, t = self._scale_and_shift(self._steer(a, given, context))
        return self._join(a, b * torch.exp(s) + t), s.flatten(1).sum(1)

    def inverse(self, y: Tensor, given: Tensor | None = None, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (b - t) exp(-s) beside a."""
        a, b = self._divide(y)
        s, t = self._scale_and_shift(self._steer(a, given, context))
        return self._join(a, (b - t) * torch.exp(-s)), -s.flatten(1).sum(1)


class Mix(Bijection):
    """An invertible 1 x 1 convolution, y = W x, W = P L (U + diag(s)) (Kingma & Dhariwal 2018, section 3.2).

    It starts as a random rotation of the channels. P and the signs of s stay as they are.
    """

    P: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels, device="cpu")).Q
        P, L, U = torch.linalg.lu(rotation)
        self.register_buffer("P", P)
        self.register_buffer("sign", U.diagonal().sign())
        self.L = nn.Parameter(L.tril(-1))
        self.U = nn.Parameter(U.triu(1))
        self.log_s = nn.Parameter(U.diagonal().abs().log())

    def _triangles(self) -> tuple[Tensor, Tensor]:
        one = torch.eye(len(self.P), dtype=self.P.dtype, device=self.P.device)
        return self.L.tril(-1) + one, self.U.triu(1) + torch.diag(self.sign * torch.exp(self.log_s))

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return W x; each place of x [N, C, H, W] adds log |det W| = sum log |s|."""
        L, U = self._triangles()
        y = F.conv2d(x, (self.P @ L @ U)[:, :, None, None])
        return y, (x[0, 0].numel() * self.log_s.sum()).expand(x.shape[0])

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return W^-1 y by two triangular solves, without forming W^-1."""
        L, U = self._triangles()
        flat = self.P.T @ y.transpose(0, 1).flatten(1)  # [C, N*H*W]
        flat = torch.linalg.solve_triangular(L, flat, upper=False, unitriangular=True)
        flat = torch.linalg.solve_triangular(U, flat, upper=True)
        x = flat.unflatten(1, (y.shape[0], *y.shape[2:])).transpose(0, 1)
        return x, (-y[0, 0].numel() * self.log_s.sum()).expand(y.shape[0])
