"""How many of 10,000 generated images have a speck, beside real test images.

    python -m benchmarks.specks checkpoints/gan.safetensors [--json]

A speck is a pixel above 0.2 whose eight neighbours are all below 0.1: a lone dot, which no pen leaves.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from genctl.evaluation import sample_quality

from .neighbour_vote import given

IMAGES = 10_000
BRIGHT, DARK = 0.2, 0.1


def specks(x: Tensor) -> Tensor:
    """Return where images [N, 1, H, W] in [0, 1] have a speck, bool [N, H, W]."""
    N, _, H, W = x.shape
    around = F.unfold(F.pad(x, (1, 1, 1, 1)), 3).view(N, 9, H, W)  # the pixel itself is the fifth
    neighbours = torch.cat([around[:, :4], around[:, 5:]], 1).amax(1)
    return (around[:, 4] > BRIGHT) & (neighbours < DARK)


def speckled(pixels: Tensor) -> float:
    """Return the share of uint8 images [N, 1, H, W] that have a speck."""
    return specks(pixels / 255).flatten(1).any(1).float().mean().item()


def main() -> None:
    """Count for the checkpoint given on the command line, then for real images."""
    options, model, about, dataset = given(__doc__)
    found: dict[str, Any] = {"speckled": speckled(sample_quality.generate(model, IMAGES, 0))}
    found["test"] = speckled(dataset.test.pixels)
    if options.json:
        what = {"verb": "specks", "model": about.model, "checkpoint": str(options.checkpoint), "seed": 0}
        what |= {"images": IMAGES, "dataset": dataset.name, "bright": BRIGHT, "dark": DARK}
        print(json.dumps({**what, **found}))
    else:
        print(f"{about.model}: {found['speckled']:.2%} have a speck; of the test images {found['test']:.2%}")


if __name__ == "__main__":
    main()
