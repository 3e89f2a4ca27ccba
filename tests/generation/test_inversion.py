"""Latents found by descent: they give the images back that the model can make, each by itself."""

from __future__ import annotations

import torch

from genctl.generation import image_grid, inversion, sampling
from genctl.models.base import build
from genctl.models.gan.config import GANConfig
from genctl.testing.cases import perturb


def test_the_models_own_images_are_found_and_the_error_is_theirs() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(GANConfig(arch="mlp", latent_dim=4), (1, 8, 8)).eval().requires_grad_(False)
    perturb(model, 0.08)  # images that differ
    z = sampling.latents(model, 7, 3)
    x = image_grid.to_bytes(sampling.decode(model, z))
    found = inversion.invert(model, x)
    back = sampling.decode(model, found.z)
    error = (back - x / 255).square().flatten(1).mean(1).sqrt()
    assert torch.allclose(found.error, error, atol=1e-5)
    start = inversion.invert(model, x, steps=0)
    assert (found.error < 0.5 * start.error).all() and found.error.max() < 0.02
    alone = inversion.invert(model, x[1:2])
    assert torch.allclose(alone.z, found.z[1:2], atol=1e-3)
