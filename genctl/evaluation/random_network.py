"""Features for data without labels: a convolutional network whose weights are drawn once for all.

Naeem et al. 2020 (arXiv:2002.09797) compare images of data that no trained network knows in a network of random
weights. Here the weights are a function of a fixed seed and the image shape: uniform draws, which are the same bits on
every machine. It sees colours, edges and their arrangement; it knows nothing of classes.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from ..data.images import digest_of
from ..seeds import generator
from ..types import Shape
from .features import WIDTH, Features

KIND = "random"
SEED = 0
FIRST, MOST = 32, 256  # channels of the first resolution, and of the last ones
LEAST = 4  # pixels on the shorter side, below which there is no further resolution
PARTS = 2  # the last resolution is averaged over 2 x 2 parts


class RandomNetwork(nn.Module):
    """At each resolution a 3 x 3 convolution, each image's activations normalized, a ReLU, and the half size."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        C, H, W = shape
        layers: list[nn.Module] = []
        inputs, outputs, side = C, FIRST, min(H, W)
        while not layers or side > LEAST:
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            layers += [convolution, nn.GroupNorm(1, outputs, affine=False), nn.ReLU()]
            layers += [nn.MaxPool2d(2, ceil_mode=True)]
            inputs, outputs, side = outputs, min(2 * outputs, MOST), (side + 1) // 2
        pooled = inputs * PARTS * PARTS
        self.body = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(PARTS), nn.Flatten(), nn.Linear(pooled, WIDTH, bias=False)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Map x [N, C, H, W] in [0, 1] to features [N, 128]; it has no classes."""
        return self.body(2 * x - 1), None


def features_of(shape: Shape) -> Features:
    """Return the network of an image shape: weights U(-a, a) with a = sqrt(6 / inputs of a unit) (He et al. 2015)."""
    with torch.device("meta"):  # nothing is drawn before the weights
        net = RandomNetwork(shape)
    net.to_empty(device="cpu")
    noise = generator("random features", SEED, *shape)
    weights = [weight.data for weight in net.parameters()]
    for weight in weights:
        weight.copy_((2 * torch.rand(weight.shape, generator=noise) - 1) * sqrt(6 / weight[0].numel()))
    name = f"convolutional network of random weights, seed {SEED}"
    return Features(net.eval().requires_grad_(False), name, digest_of(*weights), kind=KIND, classes=False)
