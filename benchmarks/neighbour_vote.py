"""Classes of 1,000 generated images by their neighbours among the training images, beside real test images.

    python benchmarks/neighbour_vote.py checkpoints/gan.safetensors [--json]

Prints each class's share, and the share of images with at least 9 of their 10 nearest training images in one class.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl import data
from genctl.checkpoint.manifest import Manifest
from genctl.data import nearest
from genctl.generation import sampling
from genctl.models.base import Samples
from genctl.runs import load

IMAGES = 1_000
CLEAR = 9  # of the nearest training images in one class


def vote(x: Tensor, train: data.Images) -> dict[str, Any]:
    """Return the class shares and the share of clear images."""
    assert train.labels is not None
    label, agreeing = nearest.vote(x, train.pixels, train.labels)
    shares = (torch.bincount(label, minlength=10) / len(x)).tolist()
    clear = (agreeing >= CLEAR).float().mean().item()
    return {"clear": clear, "smallest_class": min(shares), "class_shares": shares}


def report(name: str, found: dict[str, Any]) -> str:
    """Return a vote as a line of text."""
    shares = " ".join(f"{share:.3f}" for share in found["class_shares"])
    return f"{name:10s} clear {found['clear']:.1%}  smallest class {found['smallest_class']:.1%}  {shares}"


def given(text: str | None) -> tuple[argparse.Namespace, Samples, Manifest, data.Dataset]:
    """Return the options, the model of the checkpoint given on the command line, what it says, and its data."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model, about = load.load_model(options.checkpoint)
    assert isinstance(model, Samples)
    return options, model, about, data.load(about.dataset["name"])


def main() -> None:
    """Vote for the checkpoint given on the command line, then for real images."""
    options, model, about, dataset = given(__doc__)
    drawn = vote(sampling.sample(model, IMAGES), dataset.train)
    real = vote(dataset.test.choose(IMAGES).pixels / 255, dataset.train)
    if options.json:
        what = {"verb": "neighbour-vote", "model": about.model, "checkpoint": str(options.checkpoint), "seed": 0}
        print(json.dumps({**what, "images": IMAGES, "dataset": dataset.name, "agreeing": CLEAR, **drawn, "test": real}))
    else:
        print(report(about.model, drawn), report("test", real), sep="\n")


if __name__ == "__main__":
    main()
