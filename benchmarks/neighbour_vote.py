"""Classes of 1,000 generated images by their neighbours among the training images, beside real test images.

    python benchmarks/neighbour_vote.py checkpoints/gan.safetensors

Prints each class's share, and the share of images with at least 9 of their 10 nearest training images in one class.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from genctl import data
from genctl.data import nearest
from genctl.generation import sampling
from genctl.models.base import Decodes
from genctl.runs import load

IMAGES = 1_000


def report(name: str, x: Tensor, train: data.Images) -> None:
    """Print the class shares and the share of clear images."""
    assert train.labels is not None
    label, agreeing = nearest.vote(x, train.pixels, train.labels)
    shares = torch.bincount(label, minlength=10) / len(x)
    clear = (agreeing >= 9).float().mean().item()
    print(f"{name:10s} clear {clear:.1%}  smallest class {shares.min():.1%}  " + " ".join(f"{s:.3f}" for s in shares))


def main() -> None:
    """Vote for the checkpoint given on the command line, then for real images."""
    model, about = load.load_model(Path(sys.argv[1]))
    assert isinstance(model, Decodes)
    dataset = data.load(about.dataset["name"])
    report(about.model, sampling.sample(model, IMAGES), dataset.train)
    report("test", dataset.test.choose(IMAGES).pixels / 255, dataset.train)


if __name__ == "__main__":
    main()
