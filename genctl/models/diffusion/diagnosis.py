"""Does the network know more than the best linear guess, and do samples look like images? A look after each epoch.

A diffusion model does not collapse as a GAN does; what goes wrong is that it learns nothing at some noise levels, which
a loss summed over all of them hides, or that its samples keep noise or lose ink.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...data import Images
from ...data.nearest import spread
from .preconditioning import Preconditioning
from .processes import Process

SAMPLES = 64  # images that are drawn
IMAGES = 500  # real ones that are denoised
BANDS = {"noisy": (-7.0, -1.0), "middle": (-1.0, 3.0), "fine": (3.0, 9.0)}  # of lam
NOTHING = 0.97  # share of the linear guess's error from which on nothing was learned
LEAST_SPREAD = 0.25  # of the real images' mean distance
INK = (0.6, 1.6)  # of the real images' mean brightness

Guess = Callable[[Tensor, Tensor], Tensor]  # z and lam -> yhat


def errors(process: Process, known: Preconditioning, guess: Guess, image: Tensor, e: Tensor) -> dict[str, float]:
    """Return |y - yhat|^2 in each band of noise, as a share of the best linear guess's."""
    found = {}
    for name, (low, high) in BANDS.items():
        lam = low + (high - low) * (torch.arange(len(image), device=image.device) + 0.5) / len(image)
        a, b = process.scales(lam[:, None, None, None])
        z = a * image + b * e
        ours, linear = (
            (image - yhat).square().flatten(1).sum(1) for yhat in (guess(z, lam), known.linear(z / a, b / a))
        )
        found[f"error_{name}"] = (ours / linear).mean().item()
    return found


def alarms(found: dict[str, float]) -> list[str]:
    """Return a sentence for each band in which nothing was learned."""
    return [
        f"at {name} noise the error is {found[f'error_{name}']:.0%} of the best linear guess's, so nothing is learned"
        " there: the training has just begun, or --lr is too high"
        for name in ("noisy", "middle")
        if not found[f"error_{name}"] < NOTHING
    ]


def look(samples: Tensor, real: Images) -> tuple[dict[str, float], list[str]]:
    """Return what to log of samples [SAMPLES, C, H, W] in [0, 1] beside real images, and a sentence per alarm."""
    x, samples = real.choose(SAMPLES).pixels / 255, samples.cpu()
    found, sentences = {}, []
    if spread(x) > 0:
        found["sample_spread"] = spread(samples) / spread(x)
    if x.mean() > 0:
        found["sample_ink"] = (samples.mean() / x.mean()).item()
    if not found.get("sample_spread", 1.0) >= LEAST_SPREAD:
        sentences.append(
            f"the samples differ by {found['sample_spread']:.0%} of what real images do: they are all alike"
        )
    if not INK[0] <= found.get("sample_ink", 1.0) <= INK[1]:
        sentences.append(
            f"the samples are {found['sample_ink']:.2f} times as bright as real images: too early, or too few"
            " --sampler-steps"
        )
    return found, sentences
