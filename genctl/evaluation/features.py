"""Where generated images are compared: a network, what it makes of an image, and what a record says of it.

The trained classifier of the data set's own classes is the default where there are labels (`train_classifier`), a
network of fixed random weights where there are none (`random_network`), and a user's own file is the third choice
(`own_features`). Figures of two kinds have different heads and share no column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import data
from ..checkpoint import manifest, sizes
from ..checkpoint import tensors as checkpoint
from ..errors import CheckpointError
from ..runs.records import CLASSIFIER
from ..types import Shape

WIDTH = 128  # features of an image
BLOCK = 100  # images classified together
ROLE = "features"  # of the file, beside "weights" and "state"
LEFT_OUT = "modes, class shares and class accuracy, for which it takes a classifier of these classes"
SHIPPED = data.EMBEDDED / "classifier.safetensors"


class Classifier(nn.Module):
    """Three convolutions and a hidden layer whose units have mean 0 and variance 1 over the training images."""

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        C, _, _ = shape
        self.body = nn.Sequential(
            *_convolution(C, 32, 5),
            nn.MaxPool2d(2, ceil_mode=True),  # [N, 32, 14, 14] of 28 x 28
            *_convolution(32, 64, 3),
            nn.MaxPool2d(2, ceil_mode=True),
            *_convolution(64, 128, 3),  # [N, 128, 7, 7]
            nn.AdaptiveMaxPool2d(3),
            nn.Flatten(),
            nn.Linear(9 * 128, WIDTH, bias=False),
            nn.BatchNorm1d(WIDTH, affine=False),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(WIDTH, classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x [N, C, H, W] in [0, 1] to its features [N, 128] and logits [N, classes]."""
        features = self.body(x)
        return features, self.head(features)


def _convolution(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


@dataclass(frozen=True)
class Features:
    """A network of features, and what a record says of it."""

    net: nn.Module  # x [N, C, H, W] in [0, 1] -> features [N, D], and logits [N, classes] where it names classes
    name: str
    digest: str
    test_accuracy: float | None = None  # None where the test images have no labels, or the network no classes
    by_channel: bool = False  # stacked digits: each channel is one image of the classifier
    kind: str = CLASSIFIER
    classes: bool = True  # does it name the classes of the data set that is judged?

    def about(self) -> dict[str, Any]:
        """Return what a record says of the features; figures of two kinds, or of two digests, are not compared."""
        said = {"name": self.name, "kind": self.kind, "sha256": self.digest, "test_accuracy": self.test_accuracy}
        return said if self.classes else {**said, "left_out": LEFT_OUT}

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        tensors = chain(self.net.parameters(), self.net.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    @torch.no_grad()
    def __call__(self, pixels: Tensor, advance: Callable[[int], None] = lambda images: None) -> tuple[Tensor, Tensor]:
        """Return the features [N, D], on the device of the weights, and the likeliest classes [N] of uint8 images.

        Without classes the second has no entry.
        """
        found, labels = [], []
        device = self.device
        for block in pixels.split(BLOCK):
            padded = torch.cat([block, block[:1].expand(BLOCK - len(block), *block.shape[1:])]).to(device)
            features, label = self._stacked(padded) if self.by_channel else self._plain(padded)
            found.append(features[: len(block)])
            labels.append(label[: len(block)].cpu())
            advance(len(block))
        return torch.cat(found), torch.cat(labels)

    def _plain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.net(x / 255)
        return features, logits.argmax(1) if self.classes else torch.empty(0, dtype=torch.int64)

    def _stacked(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channels' features side by side and the class 100 a + 10 b + c."""
        parts = [self._plain(channel) for channel in x.split(1, dim=1)]
        label = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        for _, digit in parts:
            label = 10 * label + digit
        return torch.cat([features for features, _ in parts], dim=1), label


def load(path: Path, by_channel: bool = False) -> Features:
    """Return the classifier of a file; raise CheckpointError if the file is damaged or something else."""
    header = manifest.check(path)
    about = header.manifest
    if (about.role, about.model) != (ROLE, CLASSIFIER):
        raise CheckpointError(f"{path} holds {about.role} of {about.model}, not a classifier.")
    net = sizes.fitting(lambda: Classifier(about.shape, about.config["classes"]), header, path)
    checkpoint.fill(net, checkpoint.read(path), path)
    name = f"classifier of {about.dataset['name']}"
    accuracy = about.metrics.get("test_accuracy")
    return Features(net.eval().requires_grad_(False), name, header.digest, accuracy, by_channel)
