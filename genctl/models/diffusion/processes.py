"""How noise enters: z = a y + b e for an image y and e ~ N(0, I), by the log of signal over noise, lam = log(a/b).

    linear   a = t, b = 1 - t              flow matching (Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023,
                                           arXiv:2209.03003); lam = log(t/(1 - t))
    cosine   a = sin(pi t/2), b = cos      (Nichol & Dhariwal 2021, arXiv:2102.09672; t = 1 is the image)
    edm      a = 1, b = sigma              (Karras et al. 2022, arXiv:2206.00364)

z/a = y + exp(-lam) e in all of them, so they differ in the times that training looks at (times.py), in what the network
is asked for (preconditioning.py) and in the steps of a sampler, and in nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import atan, exp, log, pi, tan

import torch
from torch import Tensor

from .times import Logistic, Mostly, Times, UniformAngle


class Process(ABC):
    """A way from noise to image: a and b by lam, the times of training, and the steps of a sampler."""

    times: Times  # of --weighting pictures

    @abstractmethod
    def scales(self, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, of the shape of lam."""

    @abstractmethod
    def grid(self, steps: int) -> list[float]:
        """Return the lam at which a sampler of so many steps looks at the network, from noise to image."""


class Linear(Process):
    """The straight line from noise to image."""

    times = Logistic(1.0, 1.0)
    ends = (-5.0, 5.0)

    def scales(self, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Return t and 1 - t."""
        return torch.sigmoid(lam), torch.sigmoid(-lam)

    def grid(self, steps: int) -> list[float]:
        """Return lam in equal steps."""
        return [self.ends[0] + (self.ends[1] - self.ends[0]) * i / max(steps - 1, 1) for i in range(steps)]


class Cosine(Process):
    """A quarter of a circle: a^2 + b^2 = 1."""

    times = UniformAngle()

    def scales(self, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Return sin and cos."""
        return torch.sigmoid(2 * lam).sqrt(), torch.sigmoid(-2 * lam).sqrt()

    def grid(self, steps: int) -> list[float]:
        """Return equal steps of the angle."""
        first, last = 2 / pi * atan(exp(-5.0)), 2 / pi * atan(exp(5.0))
        return [log(tan(pi / 2 * (first + (last - first) * i / max(steps - 1, 1)))) for i in range(steps)]


class EDM(Process):
    """The noise is added and nothing is shrunk; the steps are equal in sigma^(1/7)."""

    times = Mostly(1.2, 1.2)
    sigmas, rho = (80.0, 0.002), 7

    def scales(self, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 and sigma."""
        return torch.ones_like(lam), torch.exp(-lam)

    def grid(self, steps: int) -> list[float]:
        """Return -log sigma."""
        first, last = (sigma ** (1 / self.rho) for sigma in self.sigmas)
        return [-self.rho * log(first + (last - first) * i / max(steps - 1, 1)) for i in range(steps)]


PROCESSES: dict[str, Process] = {"linear": Linear(), "cosine": Cosine(), "edm": EDM()}
