"""An autoregressive model of pixels (van den Oord et al. 2016, arXiv:1601.06759), as a causal transformer.

log p(x) = sum_t log p(x_t | x_1, ..., x_{t-1})    x_t in {0, ..., 255}, t runs over rows, columns, channels

Each p(x_t | ...) is a softmax over 256 levels, so log p(x) is exact. What enters place t are the level before it, its
position, the class if there is one, and the grey values of the pixels above and to the left within reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genctl.config import SamplingOptions
from genctl.models.base import Batch, Group, Loss, Noise, Optimizer, Player, Plot, Samples, Scores
from genctl.types import Shape

from .config import PixelCNNConfig, PixelCNNSampling
from .network import Transformer

START = 256  # the "level" before the first


class PixelCNN(Samples, Scores):
    """One player: it maximises the exact likelihood."""

    config: PixelCNNConfig
    negative_bound = "nll"
    plot = Plot("bits/dim", {"train": "bits_per_dim", "validation": "validation_bits_per_dim"})

    def __init__(self, config: PixelCNNConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        C, R, d = shape[0], config.reach, config.width
        self.level = nn.Embedding(START + 1, d)
        self.place = nn.Parameter(0.02 * torch.randn(prod(shape), d))
        self.near = nn.Conv2d(C, d, (R + 1, 2 * R + 1), bias=False)
        before = torch.ones(R + 1, 2 * R + 1)
        before[R, R:] = 0  # the pixel itself, and what comes after it
        self.register_buffer("before", before, persistent=False)
        self.label = nn.Embedding(config.classes, d) if config.classes else None
        self.body = Transformer(d, config.heads, config.layers)

    def players(self) -> list[Player]:
        """Return the one player."""
        return [Player("pixelcnn", [Group(list(self.parameters()))], Optimizer("adamw", (0.9, 0.95), 0.01))]

    def networks(self) -> Iterable[nn.Module]:
        """Return the transformer: the sum of log-probabilities stays float32."""
        return [self.body]

    def compiled(self) -> Iterable[nn.Module]:
        """Return the layers, all alike."""
        return self.body.layers

    @property
    def noise_shapes(self) -> Sequence[Noise]:
        """Return a uniform number for each pixel."""
        return (Noise("uniform", self.shape),)

    def padded(self, x: Tensor) -> Tensor:
        """Return grey values in [0, 1] with R empty rows above and columns beside."""
        R = self.config.reach
        return F.pad(x.to(self.place.dtype) / 255, (R, R, R, 0))

    def neighbours(self, window: Tensor) -> Tensor:
        """Map padded grey values to [N, d, H, W]: a linear map of the pixels before each one, within reach."""
        return F.conv2d(window, self.near.weight * self.before)

    def inputs(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return what enters each place, [N, T, d], for uint8 x [N, C, H, W]."""
        levels = in_order(x).int()
        previous = F.pad(levels[:, :-1], (1, 0), value=START)
        near = self.neighbours(self.padded(x)).flatten(2).transpose(1, 2)  # [N, H*W, d]
        h = self.level(previous) + self.place + near.repeat_interleave(self.shape[0], dim=1)
        return h if self.label is None or y is None else h + self.label(y)[:, None]

    def log_prob(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return log p(x), or log p(x|y), [N] in nats."""
        logits = self.body(self.inputs(x, y))  # [N, T, 256]
        return (
            -F.cross_entropy(logits.flatten(0, 1), in_order(x).flatten().long(), reduction="none")
            .view(len(x), -1)
            .sum(1)
        )

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """Yield the mean of -log p(x) over a batch."""
        nll = -self.log_prob(batch.x, batch.y).mean()
        yield Loss("pixelcnn", nll, {"nll": nll})

    def log_weights(
        self,
        x: Tensor,
        K: int,
        generator: torch.Generator,
        estimator: str,
        y: Tensor | None = None,
        options: SamplingOptions | None = None,
    ) -> Tensor:
        """Return log p(x), K times [K, N]: it is exact."""
        return self.log_prob(x, y).expand(K, -1)

    def draw(self, noise: Sequence[Tensor], y: Tensor | None = None, options: SamplingOptions | None = None) -> Tensor:
        """Draw one pixel after the other; what the layers have computed of those before is kept."""
        sharpness = options.sharpness if isinstance(options, PixelCNNSampling) else 1.0
        u = in_order(noise[0])
        N, (C, H, W), R = len(u), self.shape, self.config.reach
        x = self.padded(u.new_zeros(N, C, H, W))
        previous = torch.full((N,), START, device=u.device)
        given = 0 if self.label is None or y is None else self.label(y)
        caches = self.body.caches(self.level(previous)[:, None], prod(self.shape))
        for t in range(prod(self.shape)):
            (row, column), channel = divmod(t // C, W), t % C
            near = self.neighbours(x[:, :, row : row + R + 1, column : column + 2 * R + 1]).flatten(1)
            h = self.level(previous) + self.place[t] + near + given
            p = (sharpness * self.body.step(h[:, None], t, caches)).softmax(1)
            previous = torch.searchsorted(p.cumsum(1), u[:, t : t + 1].contiguous()).clamp_max(255)[:, 0]
            x[:, channel, row + R, column + R] = previous / 255
        return x[:, :, R:, R : R + W]


def in_order(x: Tensor) -> Tensor:
    """Return the values of x [N, C, H, W] in the order of t, [N, H*W*C]."""
    return x.permute(0, 2, 3, 1).flatten(1)
