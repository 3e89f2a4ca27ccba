"""At which noise levels training looks: distributions of lam = log(a/b), and stratified draws of them.

Bits are earned up to lam = 9, where only a pixel's level of 256 is in doubt; what the eye sees is between -3 and 4.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import atan, erf, exp, log, pi, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from ..blocks import places

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

    def at(self, q: Tensor) -> Tensor:
        """Return lam below which a share q of the distribution lies."""
        low, high = self.below(NOISIEST), self.below(CLEANEST)
        return self.quantile(low + (high - low) * q).clamp(NOISIEST, CLEANEST)

    def density(self, lam: Tensor) -> Tensor:
        """Return the density at lam."""
        return self.log_density(lam).exp() / (self.below(CLEANEST) - self.below(NOISIEST))

    def draw(self, n: int, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return lam [n] and its density: one from each n-th part of the distribution, all moved by one u ~ U[0, 1).

        Each image's is a draw of the distribution, and a batch has all of it (Kingma et al. 2021); a share
        of the batch gets its part of that.
        """
        lam = self.at((places(n, u.device) + u) % 1)
        return lam, self.density(lam)


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


class Mostly(Normal):
    """Nine of ten as N(mu, s^2), the tenth uniform: its tails are so thin that the ends would never be seen."""

    rest = 0.1

    def at(self, q: Tensor) -> Tensor:
        """Return lam for a q that chooses between the two, and within that."""
        q = q.clamp(max=1 - torch.finfo(q.dtype).eps)
        own = super().at(((q - self.rest) / (1 - self.rest)).clamp(min=0))
        return torch.where(q < self.rest, Uniform().at(q / self.rest), own)

    def density(self, lam: Tensor) -> Tensor:
        """Return the density of the mixture."""
        return (1 - self.rest) * super().density(lam) + self.rest * Uniform().density(lam)


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
