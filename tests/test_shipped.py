"""The weights that ship: whole, small enough to clone, of this version's options, and makers of digits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genctl import data
from genctl.generation import sampling
from genctl.models.base import Decodes
from genctl.runs import load

FOLDER = Path(__file__).parents[1] / "checkpoints"
NAMES = (
    *("vae", "vae-2d", "vae-iwae", "vae-ladder", "gan", "gan-stacked", "realnvp", "realnvp-large"),
    *("diffusion", "diffusion-classes"),
)
MOST_BYTES = 10_000_000


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_draw_images_like_the_real_ones(name: str) -> None:
    path = FOLDER / f"{name}.safetensors"
    assert path.stat().st_size <= MOST_BYTES
    model, about = load.load_model(path)
    assert isinstance(model, Decodes)
    assert name.split("-")[0] == about.model
    assert about.dataset["digest"] == data.load(about.dataset["name"]).digest
    drawn, real = sampling.sample(model, 64), data.load(about.dataset["name"]).validation.choose(256).pixels / 255
    assert drawn.shape[1:] == real.shape[1:] and torch.isfinite(drawn).all()
    assert drawn.mean().item() == pytest.approx(real.mean().item(), rel=0.25)  # ink
    assert drawn.flatten(1).std(0).mean().item() == pytest.approx(real.flatten(1).std(0).mean().item(), rel=0.25)
