"""The flow's parts: each maps forward and back, both ways returning (y, log |det| [N] in nats).

The class, where it is given, passes through all of them; what learns by class uses it. A batch's size is x.shape[0]
here: len(x) is a number while an exporter traces the flow, and would fix it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import log, pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...types import Shape


def log_standard_normal(z: Tensor) -> Tensor:
    """Return log N(z; 0, I) [N] in nats for z [N, ...]."""
    return -0.5 * (z.square() + log(2 * pi)).flatten(1).sum(1)


class Bijection(nn.Module, ABC):
    """An invertible map of a batch, with its log-determinant."""

    @abstractmethod
    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y = f(x) and log |det dy/dx| [N]."""

    @abstractmethod
    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x = f^-1(y) and log |det dx/dy| [N]."""

    def initialize(self, x: Tensor) -> Tensor:
        """Set what depends on the first images x [N, ...]; return f(x)."""
        return self(x)[0]


class Chain(Bijection):
    """Bijections one after the other; their log-determinants add."""

    def __init__(self, *parts: Bijection) -> None:
        super().__init__()
        self.parts: Sequence[Bijection] = nn.ModuleList(parts)  # type: ignore[assignment]

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the parts in order."""
        total = x.new_zeros(x.shape[0])
        for part in self.parts:
            x, log_det = part(x, given)
            total = total + log_det
        return x, total

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo the parts in reverse order."""
        total = y.new_zeros(y.shape[0])
        for part in reversed(self.parts):
            y, log_det = part.inverse(y, given)
            total = total + log_det
        return y, total

    def initialize(self, x: Tensor) -> Tensor:
        """Initialize each part on what reaches it."""
        for part in self.parts:
            x = part.initialize(x)
        return x


class Logit(Bijection):
    """Pixels in (0, 256) to the real line: logit(p), p = alpha/2 + (1 - alpha) x/256."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logit p; d logit/dp = 1/(p (1 - p)), dp/dx = (1 - alpha)/256."""
        y = x / 256
        log_p = torch.log(self.alpha / 2 + (1 - self.alpha) * y)
        log_q = torch.log(self.alpha / 2 + (1 - self.alpha) * (1 - y))  # 1 - p without its rounding
        log_det = log((1 - self.alpha) / 256) - log_p - log_q
        return log_p - log_q, log_det.flatten(1).sum(1)

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the pixel whose p is sigmoid(y)."""
        x = 256 * (torch.sigmoid(y) - self.alpha / 2) / (1 - self.alpha)
        log_det = F.logsigmoid(y) + F.logsigmoid(-y) - log((1 - self.alpha) / 256)
        return x, log_det.flatten(1).sum(1)


class Standardize(Bijection):
    """A shift and a scale, y = (x - mu) exp(-log_sigma), set from the first images.

    Of shape (C, H, W) it has one of each for every pixel; of shape (C, 1, 1) one for every channel, which is the
    activation normalization of Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.1.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.zeros(shape))
        self.log_sigma = nn.Parameter(torch.zeros(shape))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """Make the mean 0 and the variance 1 over x [N, C, H, W]."""
        shared = [0, *[i for i, size in enumerate(self.mu.shape, start=1) if size == 1]]
        self.mu.copy_(x.mean(shared, keepdim=True)[0])
        self.log_sigma.copy_(x.std(shared, correction=0, keepdim=True)[0].clamp_min(1e-3).log())
        return self(x)[0]

    def _log_det(self, x: Tensor) -> Tensor:
        return self.log_sigma.expand(x.shape[1:]).sum().expand(x.shape[0])

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (x - mu) / sigma."""
        return (x - self.mu) * torch.exp(-self.log_sigma), -self._log_det(x)

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mu + sigma y."""
        return y * torch.exp(self.log_sigma) + self.mu, self._log_det(y)


class Rearrange(Bijection):
    """A fixed reordering of channels or of units (dimension 1)."""

    order: Tensor
    back: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        forth = torch.tensor(order, device="cpu")
        self.register_buffer("order", forth, persistent=False)
        self.register_buffer("back", forth.argsort(), persistent=False)

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y[:, i] = x[:, order[i]]; a permutation has |det| 1."""
        return x.index_select(1, self.order), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Put the channels back."""
        return y.index_select(1, self.back), y.new_zeros(y.shape[0])


class SpaceToDepth(Bijection):
    """[N, C, H, W] to [N, 4C, H/2, W/2]: each 2 x 2 block becomes channels, its four corners in C groups of 4."""

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the squeezed images."""
        return F.pixel_unshuffle(x, 2), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images at full resolution."""
        return F.pixel_shuffle(y, 2), y.new_zeros(y.shape[0])


class Flatten(Bijection):
    """[N, C, H, W] to [N, C*H*W]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the flat images."""
        return x.flatten(1), x.new_zeros(x.shape[0])

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images."""
        return y.unflatten(1, self.shape), y.new_zeros(y.shape[0])


class MultiScale(Bijection):
    """Stages of a flow; after each but the last, half of the channels leave for z (Dinh et al., section 3.6)."""

    def __init__(self, stages: Sequence[Bijection], shapes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.stages: Sequence[Bijection] = nn.ModuleList(stages)  # type: ignore[assignment]
        self.shapes = [tuple(shape) for shape in shapes]  # of each stage's output, without N

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z [N, D], the finest factors first."""
        total, factors = x.new_zeros(x.shape[0]), []
        for i, stage in enumerate(self.stages, start=1):
            x, log_det = stage(x, given)
            total = total + log_det
            if i < len(self.stages):
                x, z = x.chunk(2, dim=1)
                factors.append(z.flatten(1))
        return torch.cat([*factors, x.flatten(1)], dim=1), total

    def inverse(self, y: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the images; the factors rejoin where they left."""
        sizes = [torch.Size(shape).numel() // 2 for shape in self.shapes[:-1]]
        *factors, x = y.split([*sizes, y.shape[1] - sum(sizes)], dim=1)
        total, x = y.new_zeros(y.shape[0]), x.unflatten(1, self.shapes[-1])
        for i in reversed(range(len(self.stages))):
            if i < len(factors):
                C, H, W = self.shapes[i]
                x = torch.cat([x, factors[i].unflatten(1, (C // 2, H, W))], dim=1)
            x, log_det = self.stages[i].inverse(x, given)
            total = total + log_det
        return x, total
