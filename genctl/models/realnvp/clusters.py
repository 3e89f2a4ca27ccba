"""Clusters of like images: what --clusters gives a flow in the place of classes, without labels.

p(x) = sum_c pi_c p(x|c) >= pi_c(x) p(x|c(x))    for c(x) = argmin_c |x - m_c|^2

One flow bends one Gaussian, which is of one piece; where images are of several, it leaves threads between them, whose
samples are nothing in particular. In this mixture each cluster c has a Gaussian of its own, and c steers the couplings
as a class would. The means m_c are found before the first step (k-means: Lloyd 1982) and stay; pi is learned.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROUNDS = 30  # of k-means
MARK = 5.0  # what says in a latent that the image is of this cluster; of N(0, 1) draws 1 in 3 million is larger


def nearest(x: Tensor, means: Tensor) -> Tensor:
    """Return argmin_c |x - m_c|^2, int64 [N], for x [N, D] and means [C, D]."""
    return (means.square().sum(1) - 2 * x @ means.T).argmin(1)


def k_means(x: Tensor, C: int) -> Tensor:
    """Return the means [C, D] of C clusters of x [N, D], from its first C images on; one that gets none stays."""
    means = x[torch.arange(C, device=x.device) % len(x)]
    for _ in range(ROUNDS):
        members = F.one_hot(nearest(x, means), C).to(x.dtype)  # [N, C]
        n = members.sum(0).unsqueeze(1)  # [C, 1]
        means = torch.where(n > 0, members.T @ x / n.clamp_min(1), means)
    return means


class Clusters(nn.Module):
    """C clusters of images, and how often each is drawn."""

    def __init__(self, C: int, D: int) -> None:
        super().__init__()
        self.C = C
        self.means: Tensor
        self.register_buffer("means", torch.zeros(C, D))  # of grey levels in [0, 1]
        self.logits = nn.Parameter(torch.zeros(C))  # pi = softmax

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Find the clusters of uint8 images [N, C, H, W], and start pi at their shares."""
        flat = x.flatten(1).to(self.means.dtype) / 255
        self.means.copy_(k_means(flat, self.C))
        self.logits.copy_((torch.bincount(nearest(flat, self.means), minlength=self.C) + 1).log())

    @torch.no_grad()
    def of(self, x: Tensor) -> Tensor:
        """Return c(x), int64 [N], for images of 256 levels; x + u with u in [0, 1) has that of x."""
        return nearest(x.flatten(1).to(self.means.dtype).floor() / 255, self.means)

    def log_pi(self, c: Tensor) -> Tensor:
        """Return log pi_c [N] in nats."""
        return torch.log_softmax(self.logits, 0)[c]

    def code(self, c: Tensor) -> Tensor:
        """Return the part e [N, C] of a latent that stands for c."""
        return MARK * F.one_hot(c, self.C).to(self.logits.dtype)

    def chosen(self, e: Tensor) -> Tensor:
        """Return c, int64 [N], which is a draw of pi if e [N, C] is one of N(0, I): Gumbel's way with u = Phi(e)."""
        u = (1 + torch.erf(e / sqrt(2))) / 2
        return (torch.log_softmax(self.logits, 0) - torch.log(-torch.log(u))).argmax(1)
