"""What a second classifier says of 2,000 generated images, beside real test images: how many are clear digits.

    python benchmarks/judge.py checkpoints/gan.safetensors [--means] [--json]

Prints the share of images whose likeliest class has a probability of at least 0.9. The classifier is trained here, anew
each time (a minute of a core), on the training images with a fixed seed. It has no part in any training or choice, and
its features are not those of `genctl evaluate`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl import data
from genctl.generation import sampling
from genctl.models.base import Decodes
from genctl.models.vae.config import VAESampling
from genctl.runs import load

IMAGES = 2_000
CLEAR = 0.9  # of the probability of the likeliest class
EPOCHS, BATCH, SEED = 5, 128, 1


def trained(train: data.Images) -> nn.Sequential:
    """Return a small convolutional classifier of the training images, in evaluation mode."""
    assert train.labels is not None
    torch.manual_seed(SEED)
    net = nn.Sequential(
        *(nn.Conv2d(1, 12, 5, padding=2), nn.GELU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(12, 24, 5, padding=2), nn.GELU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(24 * 49, 96), nn.GELU(), nn.Linear(96, 10)),
    )
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(train)).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(net(train.pixels[index] / 255), train.labels[index]).backward()
            optimizer.step()
    return net.eval()


@torch.no_grad()
def opinion(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of the likeliest class of each image, and that class; both [N]."""
    found = [net(block).softmax(1).max(1) for block in x.split(500)]
    return torch.cat([values for values, _ in found]), torch.cat([classes for _, classes in found])


def clear(net: nn.Module, x: Tensor) -> float:
    """Return the share of images [N, C, H, W] in [0, 1] that are clear digits."""
    return (opinion(net, x)[0] >= CLEAR).float().mean().item()


def main() -> None:
    """Judge the checkpoint given on the command line, and real images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--means", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model, about = load.load_model(options.checkpoint)
    assert isinstance(model, Decodes)
    dataset = data.load(about.dataset["name"])
    assert dataset.test.labels is not None
    net, test = trained(dataset.train), dataset.test.pixels / 255
    right = (opinion(net, test)[1] == dataset.test.labels).float().mean().item()
    drawn = sampling.sample(model, IMAGES, options=VAESampling(means=True) if options.means else None)
    found: dict[str, Any] = {"clear": clear(net, drawn), "test": clear(net, test), "test_accuracy": right}
    if options.json:
        what = {"verb": "judge", "model": about.model, "checkpoint": str(options.checkpoint), "means": options.means}
        print(json.dumps({**what, "seed": 0, "images": IMAGES, "dataset": dataset.name, "confidence": CLEAR, **found}))
    else:
        print(f"{about.model}: clear {found['clear']:.1%}; test images {found['test']:.1%}; right of them {right:.1%}")


if __name__ == "__main__":
    main()
