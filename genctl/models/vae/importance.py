"""Importance weights of draws of the posterior, and the gradient of their bound.

    L_K = log 1/K sum_k w_k    w_k = p(x, z_k) / q(z_k|x)    v_k = w_k / sum_j w_j
    dL_K = sum_k v_k d log w_k                                (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519)

Each v_k is a probability, so a few draws that are chosen by it give the same gradient in the mean (their section 3).
"""

from __future__ import annotations

from math import log, pi
from typing import NamedTuple

import torch
from torch import Tensor

from ...seeds import noise


def log_normal(z: Tensor, mu: Tensor | float = 0.0, logvar: Tensor | float = 0.0) -> Tensor:
    """Return log N(z; mu, diag exp logvar), summed over the last dimension, in nats."""
    squares = (z - mu).square() * torch.exp(-torch.as_tensor(logvar))
    return -0.5 * (squares + logvar + log(2 * pi)).sum(-1)


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp logvar) || N(0, 1)) = 1/2 (mu^2 + exp logvar - logvar - 1) of each dimension, in nats."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1)


def kl_to_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp logvar) || N(0, I)), [N] nats."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(-1)


def entropy(logvar: Tensor) -> Tensor:
    """Return H(N(mu, exp logvar)), [N] nats."""
    return 0.5 * (logvar + 1 + log(2 * pi)).sum(-1)


class Inference(NamedTuple):
    """What K draws of q(z|x) for N images leave; mu and logvar are [N, latent] where they are the same for all K."""

    z: Tensor  # [K, N, latent]
    mu: Tensor  # [K, N, latent]
    logvar: Tensor  # [K, N, latent]
    theta: Tensor  # [K, N, P * C, H, W]
    log_p: Tensor | None = None  # log p(z), [K, N] nats; None where p(z) is N(0, I)

    def log_ratio(self) -> Tensor:
        """Return log p(z) - log q(z|x), [K, N] nats."""
        log_p = log_normal(self.z) if self.log_p is None else self.log_p
        return log_p - log_normal(self.z, self.mu, self.logvar)

    def kl(self) -> Tensor:
        """Return KL(q(z|x) || p(z)), or its estimate at the draws of a learned prior, -log p(z) - H(q); nats."""
        if self.log_p is None:
            return kl_to_standard_normal(self.mu, self.logvar)
        return -self.log_p - entropy(self.logvar)


def systematic(shares: Tensor, M: int) -> Tensor:
    """Return M indices in [0, K) for each image, [M, N], index k of image n with M shares[k, n] of them in the mean.

    One uniform number an image places M points at equal distances on the cumulated shares (Kitagawa 1996,
    doi:10.2307/1390750): no index comes more than once more, or less, often than its share says.
    """
    K, N = shares.shape
    u = noise("uniform", (N, 1), shares.device)
    cumulated = shares.cumsum(0).T.contiguous()  # [N, K], up to 1 but for rounding
    points = (torch.arange(M, device=shares.device) + u) / M * cumulated[:, -1:]  # [N, M]
    return torch.searchsorted(cumulated, points, right=True).clamp_max(K - 1).T


def doubly(found: Inference, v: Tensor, warmth: Tensor | float = 1.0) -> Inference:
    """Return the draws with the doubly reparameterized gradient of the encoder (Tucker et al. 2019, arXiv:1810.04152).

        dL_K = sum_k v_k^2 (d log w_k / dz_k) (dz_k / dphi), log q(z_k|x) of fixed mu and logvar

    It equals the plain one in the mean, and its noise does not drown it as K grows. -sum_k v_k log w_k is to be
    minimised, so a factor v_k comes here; with w_k = p(x|z_k) (p(z_k) / q(z_k|x))^b it is 1 - b (1 - v_k). All that
    x and the encoder say of theta must have come through z.
    """
    factor = (1 - warmth * (1 - v)).unsqueeze(-1)
    found.z.register_hook(lambda gradient: gradient * factor)
    return found._replace(mu=found.mu.detach(), logvar=found.logvar.detach())
