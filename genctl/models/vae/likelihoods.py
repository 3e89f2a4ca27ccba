"""What p(x|z) may be: a Bernoulli of binarized pixels, or logistics over their 256 levels.

A decoder's output theta [..., P * C, H, W] holds P numbers for each pixel; x is in [0, 1].
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...seeds import random_16_bits
from ...types import Shape
from .config import VAEConfig

if TYPE_CHECKING:
    from ...data import Images


SLICE = 2_000_000  # logits worked on together: what fits a CPU's cache is several times faster


def _log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """Return sum(x l - softplus(l)) over the last dimension, softplus(l) = max(l, 0) - log sigmoid(|l|).

    Each sigmoid is at least 1/2, so sixteen are multiplied before a log: a third of the time of a log each.
    """
    likelier = logits.abs().sigmoid_()  # the probability of the likelier of a pixel's two values
    halvings = 4
    while halvings and likelier.shape[-1] % 2 == 0:
        left, right = likelier.chunk(2, dim=-1)
        likelier, halvings = left * right, halvings - 1
    return (x * logits).sub_(logits.clamp_min(0)).sum(-1).add_(likelier.log_().sum(-1))


class _LogBernoulli(torch.autograd.Function):
    """The same with a backward pass that makes one array of the size of the logits, not four."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor) -> Tensor:
        ctx.save_for_backward(x, logits)
        parts = logits.split(max(1, SLICE // logits[0].numel())) if logits.dim() > x.dim() else [logits]
        return torch.cat([_log_bernoulli(x, part) for part in parts])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        x, logits = ctx.saved_tensors
        return None, torch.sigmoid(logits).neg_().add_(x).mul_(gradients[0].unsqueeze(-1))


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """Return log p(x | logits) = sum(x * logits - softplus(logits)) over C, H, W, in nats.

    x [N, C, H, W] and logits [K, N, C, H, W] or [N, C, H, W]; the result is [K, N] or [N].
    """
    return _LogBernoulli.apply(x.flatten(1), logits.flatten(-3))


class Bernoulli:
    """p(x|z) = prod of m^x (1 - m)^(1 - x) with means m = sigmoid(theta), for pixels of 0 and 1."""

    P = 1

    def __init__(self, config: VAEConfig) -> None:
        self.binarize = config.binarize

    def training_images(self, images: Images) -> Tensor:
        """Return grey images to binarize anew at each visit, or images that are binary already."""
        return images.pixels if self.binarize == "dynamic" else self.observe(images)

    def observe(self, images: Images) -> Tensor:
        """Return images of 0 and 255: the fixed Bernoulli draw of the data set, or cut at one half."""
        return images.thresholded() if self.binarize == "threshold" else images.binarized()

    def visit(self, pixels: Tensor) -> Tensor:
        """Return a Bernoulli draw of grey values v, of probability round(2^16 v / 255) / 2^16: 0 and 255 stay."""
        below = pixels.int().mul_(257).add_(pixels > 127).sub_(2**15)
        return (random_16_bits(pixels.shape, pixels.device) < below).float()

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return log p(x|z) [K, N] or [N] in nats."""
        return log_bernoulli(x, theta)

    def cost(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the mean of -log p(x|z) over images and draws."""
        return -log_bernoulli(x, theta).mean()

    def pairwise(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return log p(x_n | z_k) [K, N] of every image and every draw, as a matrix product."""
        logits = theta.flatten(1)  # [K, D]
        return logits @ x.flatten(1).T + _log_bernoulli(torch.zeros_like(logits), logits)[:, None]

    def mean(self, theta: Tensor) -> Tensor:
        """Return the means of the pixels."""
        return torch.sigmoid(theta)

    def draw(self, theta: Tensor, u: Tensor) -> Tensor:
        """Return pixels of 0 and 1 for uniform noise u."""
        return (u < self.mean(theta)).to(u.dtype)

    def fit(self, pixels: Tensor) -> Tensor:
        """Return the theta [C, H, W] of each pixel's mean over some images, with half an image of each kind added."""
        m = ((pixels / 255).sum(0) + 0.5) / (len(pixels) + 1)
        return torch.logit(m)


NARROWEST = 0.3  # deviation to start with, over [-1, 1]: with less, a fresh decoder's means are many scales off
LEAST, MOST = -7.0, 7.0  # log-scales, for pixels over [-1, 1]: outside, a pixel is certain or knows nothing


class Logistics:
    """A mixture of M logistic distributions over the 256 levels (Salimans et al. 2017, arXiv:1701.05517).

    P(x) = sum_m pi_m [sigmoid((x + 1/2 - mu_m) / s_m) - sigmoid((x - 1/2 - mu_m) / s_m)], where the bin of
    0 reaches down to -infinity and that of 255 up to infinity. The channels of an image are independent.
    """

    def __init__(self, config: VAEConfig) -> None:
        self.M = config.components if config.likelihood == "mixture" else 1
        self.P = 3 * self.M

    def training_images(self, images: Images) -> Tensor:
        """Return the images as they are."""
        return images.pixels

    def observe(self, images: Images) -> Tensor:
        """Return the images as they are."""
        return images.pixels

    def visit(self, pixels: Tensor) -> Tensor:
        """Return the levels over [0, 1]."""
        return pixels / 255

    def _parts(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log pi, mu in levels and 1/s, each [..., M, C, H, W]."""
        weight, mean, log_scale = theta.unflatten(-3, (3, self.M, -1)).unbind(-5)
        inverse = torch.exp(-log_scale.clamp(LEAST, MOST)) / 127.5
        return torch.log_softmax(weight, -4), 127.5 + 127.5 * mean, inverse

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return log P(x|z) [K, N] or [N] in nats.

        sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), whose log is exact in the tails too.
        """
        log_pi, mu, inverse = self._parts(theta)
        x = (255 * x).unsqueeze(-4)  # [N, 1, C, H, W]
        below = F.logsigmoid((x + 0.5 - mu) * inverse)  # log P(<= x)
        above = F.logsigmoid((mu - x + 0.5) * inverse)  # log P(>= x)
        inside = below + above + torch.log(-torch.expm1(-inverse))
        log_p = torch.where(x < 0.5, below, torch.where(x > 254.5, above, inside))
        return (log_pi + log_p).logsumexp(-4).flatten(-3).sum(-1)

    def cost(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the mean of -log P(x|z) over images and draws."""
        return -self.log_prob(x, theta).mean()

    def pairwise(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return log P(x_n | z_k) [K, N] of every image and every draw, a draw at a time."""
        return torch.stack([self.log_prob(x, one) for one in theta.unsqueeze(1)])

    def _cdf(self, theta: Tensor, level: Tensor) -> Tensor:
        """Return P(x <= level) for levels [..., C, H, W] below 255."""
        log_pi, mu, inverse = self._parts(theta)
        return (log_pi.exp() * torch.sigmoid((level.unsqueeze(-4) + 0.5 - mu) * inverse)).sum(-4)

    def mean(self, theta: Tensor) -> Tensor:
        """Return E[x] / 255 = sum over levels of P(x > level) / 255."""
        level = theta.new_zeros(())
        total = theta.new_zeros(())
        for k in range(255):
            total = total + 1 - self._cdf(theta, (level + k).expand(1, 1, 1))
        return (total / 255).clamp(0, 1)

    def draw(self, theta: Tensor, u: Tensor) -> Tensor:
        """Return the first level whose P(x <= level) exceeds u, over [0, 1], found by bisection."""
        level = torch.zeros_like(u)
        for step in (128, 64, 32, 16, 8, 4, 2, 1):
            level += step * (self._cdf(theta, level + (step - 1)) <= u)
        return level / 255

    def fit(self, pixels: Tensor) -> Tensor:
        """Return the theta [3 M C, H, W] of logistics at each pixel's mean, as wide as its deviation over some images.

        None is narrower than NARROWEST. The components lie side by side, a deviation apart from the first to the last.
        """
        x = pixels / 127.5 - 1
        deviation = x.std(0, correction=0).clamp_min(NARROWEST)  # [C, H, W]
        log_scale = (deviation * 3**0.5 / pi).log()
        places = torch.linspace(-0.5, 0.5, self.M, device=x.device) if self.M > 1 else x.new_zeros(1)
        mean = x.mean(0) + places[:, None, None, None] * deviation  # [M, C, H, W]
        parts = torch.stack([torch.zeros_like(mean), mean, log_scale.expand_as(mean)])
        return parts.flatten(0, 2)


Likelihood = Bernoulli | Logistics


def likelihood_of(config: VAEConfig) -> Likelihood:
    """Return the likelihood that was chosen."""
    return Bernoulli(config) if config.likelihood == "bernoulli" else Logistics(config)


def outputs(config: VAEConfig, shape: Shape) -> Shape:
    """Return the shape P * C, H, W of a decoder's output."""
    C, H, W = shape
    return likelihood_of(config).P * C, H, W
