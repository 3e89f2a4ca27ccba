"""Checkpoints of small models with random weights: what a verb needs, without a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from conftest import tiny_config

from genctl import data
from genctl.checkpoint import tensors
from genctl.checkpoint.manifest import Manifest
from genctl.config import ModelConfig
from genctl.models import registry
from genctl.models.base import build
from genctl.testing.cases import perturb

FORMS = {
    **{"vae": tiny_config("vae", "mlp"), "ladder": tiny_config("vae", "ladder"), "gan": tiny_config("gan", "mlp")},
    **{"flow": tiny_config("realnvp", "mlp"), "conv": tiny_config("realnvp", "conv")},
    "classes": registry.load("realnvp")(arch="mlp", depth=2, hidden=8, conditional=True),
}


def write(path: Path, config: ModelConfig, folder: Path) -> Path:
    """Write a checkpoint of a model of these data, its weights drawn and moved from their start; return its path."""
    found = data.load(str(folder))
    if config.conditional:
        config = replace(config, classes=4, class_counts=(1, 2, 3, 4))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(config, found.train.shape)
        perturb(model)
    about = Manifest(
        model=config.name,
        config=config.to_dict(),
        train={"train_size": None, "validation": None},
        shape=found.train.shape,
        dataset={"name": found.name, "digest": found.digest, "train_images": len(found.train)},
        role="weights",
        step=7,
        epoch=1,
        metrics={"validation_nats": 12.5},
        versions=tensors.versions(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors.save(path, model.state_dict(), about)
    return path
