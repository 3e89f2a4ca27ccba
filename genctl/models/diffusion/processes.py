"""How noise enters: z = a y + b e for an image y and e ~ N(0, I), by the log of signal over noise, lam = log(a/b).

    linear   a = t, b = 1 - t              flow matching (Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023,
                                           arXiv:2209.03003); lam = log(t/(1 - t))
    cosine   a = sin(pi t/2), b = cos      (Nichol & Dhariwal 2021, arXiv:2102.09672; t = 1 is the image)
    edm      a = 1, b = sigma              (Karras et al. 2022, arXiv:2206.00364)

z/a = y + exp(-lam) e in all of them, so they differ in the times that training looks at, in what the network is asked
for (preconditioning.py) and in the steps of a sampler, and in nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import atan, erf, exp, log, pi, sqrt, tan

import torch
from torch import Tensor
from torch.nn import functional as F

NOISIEST, CLEANEST = -7.0, 9.0  # of lam: 1100 times the image's range, and a hundredth of a level of 256


class Times(ABC):
    """A distribution of lam in training, within [NOISIEST, CLEANEST]."""

    @abstractmethod
    def below(self, lam: float) -> float:
        """Return the share below lam, before the ends are cut off."""

    @abstractmethod
    def quantile(self, q: Tensor) -> Tensor:
        """Return lam below which a share q lies, before the ends are cut off."""

    @abstractmethod
    def log_density(self, lam: Tensor) -> Tensor:
        """Return the log-density at lam, before the ends are cut off."""

    @property
    def ends(self) -> tuple[float, float]:
        """Return the shares below the two ends."""
        return self.below(NOISIEST), self.below(CLEANEST)

    def draw(self, n: int, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return lam [n] and its density: one from each n-th part of the distribution, all moved by one u ~ U[0, 1).

        Each image's is a draw of the distribution, and a batch has all of it (Kingma et al. 2021).
        """
        low, high = self.ends
        q = (torch.arange(n, device=u.device) / n + u) % 1
        lam = self.quantile(low + (high - low) * q).clamp(NOISIEST, CLEANEST)
        return lam, self.log_density(lam).exp() / (high - low)


class Uniform(Times):
    """Uniform in lam."""

    def below(self, lam: float) -> float:
        """Return the share below lam."""
        return (lam - NOISIEST) / (CLEANEST - NOISIEST)

    def quantile(self, q: Tensor) -> Tensor:
        """Return the quantile."""
        return NOISIEST + (CLEANEST - NOISIEST) * q

    def log_density(self, lam: Tensor) -> Tensor:
        """Return the log-density."""
        return torch.full_like(lam, -log(CLEANEST - NOISIEST))


class Logistic(Times):
    """lam = mu + s log(q/(1 - q)): for mu = 0 and s = 1, t is uniform in [0, 1]."""

    def __init__(self, mu: float, s: float) -> None:
        self.mu, self.s = mu, s

    def below(self, lam: float) -> float:
        """Return the share below lam."""
        return 1 / (1 + exp(-(lam - self.mu) / self.s))

    def quantile(self, q: Tensor) -> Tensor:
        """Return the quantile."""
        return self.mu + self.s * torch.logit(q)

    def log_density(self, lam: Tensor) -> Tensor:
        """Return the log-density."""
        x = (lam - self.mu) / self.s
        return F.logsigmoid(x) + F.logsigmoid(-x) - log(self.s)


class Normal(Times):
    """lam ~ N(mu, s^2): the noise is log-normal."""

    def __init__(self, mu: float, s: float) -> None:
        self.mu, self.s = mu, s

    def below(self, lam: float) -> float:
        """Return the share below lam."""
        return 0.5 * (1 + erf((lam - self.mu) / (self.s * sqrt(2))))

    def quantile(self, q: Tensor) -> Tensor:
        """Return the quantile."""
        return self.mu + self.s * torch.special.ndtri(q)

    def log_density(self, lam: Tensor) -> Tensor:
        """Return the log-density."""
        return -0.5 * ((lam - self.mu) / self.s).square() - log(self.s * sqrt(2 * pi))


class UniformAngle(Times):
    """lam = log tan(pi t/2) for t uniform in [0, 1]."""

    def below(self, lam: float) -> float:
        """Return the share below lam."""
        return 2 / pi * atan(exp(lam))

    def quantile(self, q: Tensor) -> Tensor:
        """Return the quantile."""
        return torch.tan(pi / 2 * q).log()

    def log_density(self, lam: Tensor) -> Tensor:
        """Return the log-density."""
        return -torch.cosh(lam).log() - log(pi)


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

    times = Normal(1.2, 1.2)
    sigmas, rho = (80.0, 0.002), 7

    def scales(self, lam: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 and sigma."""
        return torch.ones_like(lam), torch.exp(-lam)

    def grid(self, steps: int) -> list[float]:
        """Return -log sigma."""
        first, last = (sigma ** (1 / self.rho) for sigma in self.sigmas)
        return [-self.rho * log(first + (last - first) * i / max(steps - 1, 1)) for i in range(steps)]


PROCESSES: dict[str, Process] = {"linear": Linear(), "cosine": Cosine(), "edm": EDM()}
