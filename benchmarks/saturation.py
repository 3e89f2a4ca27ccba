"""Why G minimises -log D rather than log(1 - D): `python -m benchmarks.saturation docs/images/saturating.png`.

A fresh G of the default form stays as it is while D learns to tell its images from MNIST's; after each few steps, the
norm of the gradient that either loss would give G.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from genctl import data
from genctl.generation import curves as drawing
from genctl.models.base import Batch, build
from genctl.models.gan.config import GANConfig
from genctl.models.gan.losses import LOSSES
from genctl.seeds import generator, seed_step

STEPS, EVERY, BATCH = 200, 10, 64


def norms(model: torch.nn.Module, z: Tensor) -> dict[str, float]:
    """Return the norm of G's gradient of each loss, D as it is."""
    found = {}
    for name in ("non-saturating", "saturating"):
        loss = LOSSES[name].g(None, model.discriminator(model.generator(z)))
        slopes = torch.autograd.grad(loss, list(model.generator.parameters()))
        found[name] = torch.stack([slope.square().sum() for slope in slopes]).sum().sqrt().log10().item()
    return found


def main(path: Path) -> None:
    """Train D alone and draw the two norms."""
    pixels, cpu = data.load("mnist").train.pixels, torch.device("cpu")
    seed_step(cpu, "saturation")
    model = build(GANConfig(label_noise=0.0), (1, 28, 28))
    D = model.discriminator
    optimizer = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    order = torch.randperm(len(pixels), generator=generator("saturation"))
    z = torch.randn(BATCH, *model.latent_shape, generator=generator("saturation", "z"))
    steps: list[int] = []
    curves: dict[str, list[float | None]] = {"-log D(G(z))": [], "log(1 - D(G(z)))": []}
    for step in range(STEPS + 1):
        if step % EVERY == 0:
            steps.append(step)
            for curve, value in zip(curves.values(), norms(model, z).values(), strict=True):
                curve.append(value)
        batch = Batch(pixels[order[step * BATCH : (step + 1) * BATCH]], None, torch.tensor(step), torch.zeros(()))
        optimizer.zero_grad()
        next(iter(model.losses(batch))).minimise.backward(inputs=list(D.parameters()))
        optimizer.step()
    drawing.curves(path, steps, curves, "log10 of the norm of G's gradient", across="steps of D alone")
    for name, curve in curves.items():
        print(f"{name:18s} {10 ** curve[0]:.3g} at step 0, {10 ** curve[-1]:.3g} at step {STEPS}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
