"""What a verb works with: the model of a checkpoint, and the data set that it was trained on."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from .. import data
from ..checkpoint import tensors
from ..checkpoint.manifest import Manifest
from ..device import device_of, place
from ..errors import CheckpointError, DataError, UsageError
from ..models import registry
from ..models.base import Decodes, Model, Scores
from ..terminal.console import say
from .find import Source


def load(source: Source, device: str) -> tuple[Model, Manifest]:
    """Return the model and its manifest, and say which file it is."""
    say(f"using {source.path}{' (ships with genctl)' if source.shipped else ''}")
    return load_model(source.path, device)


def decoder(source: Source, device: str) -> tuple[Decodes, Manifest]:
    """Return a model that makes images; raise UsageError if it does not."""
    model, about = load(source, device)
    if not isinstance(model, Decodes):
        raise UsageError(f"{about.model} makes no images.")
    return model, about


def scorer(source: Source, device: str) -> tuple[Scores, Manifest]:
    """Return a model with a likelihood; raise UsageError if it has none."""
    model, about = load(source, device)
    if not isinstance(model, Scores):
        raise UsageError(f"{about.model} has no likelihood.")
    return model, about


def dataset(source: Source, about: Manifest, given: str | None) -> data.Dataset:
    """Return the data that the weights were trained on: where the user says, where the run found them, or by name."""
    name = given or about.dataset["name"]
    if given is None:
        with suppress(OSError, ValueError, KeyError, TypeError):  # weights may lie without their run
            name = json.loads((source.path.parent / "config.json").read_text())["train"]["dataset"]
    found = data.load(name, about.train.get("train_size"), about.train.get("validation"))
    if found.digest != about.dataset["digest"]:
        raise DataError(
            f"{name} is not the data set {about.dataset['name']} that {source.path} was trained on;"
            " say where that is with --dataset."
        )
    return found


def build(about: Manifest, path: Path) -> Model:
    """Return the model that a manifest describes, with random weights."""
    try:
        return registry.load(about.model).from_dict(about.config).build(about.shape)
    except (UsageError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be rebuilt: {error}") from error


def load_model(path: Path, device: str = "cpu") -> tuple[Model, Manifest]:
    """Return the model of a weights file on the device, in evaluation mode."""
    about, stored = tensors.load(path)
    if about.role != "weights":
        raise CheckpointError(f"{path} is a training state; the weights are in model.safetensors beside it.")
    model = build(about, path)
    tensors.fill(model, stored, path)
    return place(model, device_of(device)).eval().requires_grad_(False), about
