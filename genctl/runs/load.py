"""What a verb works with: the model of a checkpoint, and the data set that it was trained on."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import torch

from .. import data
from ..checkpoint import tensors
from ..checkpoint.manifest import Manifest
from ..device import device_of, place
from ..errors import CheckpointError, DataError, UsageError
from ..models import registry
from ..models.base import Model, build
from ..terminal.reporter import SILENT, Reporter


def load_model(path: Path, device: str = "cpu") -> tuple[Model, Manifest]:
    """Return the model of a weights file on the device, in evaluation mode."""
    about, stored = tensors.load(path)
    if about.role != "weights":
        raise CheckpointError(f"{path} is a training state; the weights are in model.safetensors beside it.")
    model = built(about, path)
    tensors.fill(model, stored, path)
    return place(model, device_of(device)).eval().requires_grad_(False), about


def built(about: Manifest, path: Path) -> Model:
    """Return the model that a manifest describes, with random weights."""
    try:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
            return build(registry.load(about.model).from_dict(about.config), about.shape)
    except (UsageError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be rebuilt: {error}") from error


def dataset(
    path: Path, about: Manifest, given: str | None = None, default_split: bool = False, reporter: Reporter = SILENT
) -> data.Dataset:
    """Return the data that the weights were trained on: where the user says, where the run found them, or by name.

    default_split divides them as by default, whatever the run did.
    """
    name = given or about.dataset["name"]
    if given is None:
        with suppress(OSError, ValueError, KeyError, TypeError):  # weights may lie without their run
            name = json.loads((path.parent / "config.json").read_text())["train"]["dataset"]
    split = {} if default_split else {key: about.train.get(key) for key in ("train_size", "validation")}
    found = data.load(name, **split, reporter=reporter, reading=data.Reading.of(about.train))
    if found.digest != about.dataset["digest"]:
        raise DataError(
            f"{name} is not the data set {about.dataset['name']} that {path} was trained on;"
            " say where that is with --dataset."
        )
    return found
