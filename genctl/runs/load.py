"""What a verb works with: the model of a checkpoint, and the data set that it was trained on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from .. import data
from ..checkpoint import manifest, schema, sizes, tensors
from ..checkpoint.manifest import Header, Manifest
from ..checkpoint.schema import TEXT, record
from ..device import device_of, place
from ..errors import CheckpointError, DataError
from ..models import registry
from ..models.base import Model, class_of
from ..ranks.group import here
from ..terminal.reporter import SILENT, Reporter
from .folder import MOST_CONFIG_BYTES


def load_model(path: Path, device: str = "cpu") -> tuple[Model, Manifest]:
    """Return the model of a weights file on the device, in evaluation mode."""
    header = manifest.check(path)
    if header.manifest.role != "weights":
        raise CheckpointError(f"{path} is a training state; the weights are in model.safetensors beside it.")
    model, stored = built(header, path), tensors.read(path)
    tensors.fill(model, stored, path)
    if not all(t.isfinite().all() for t in stored.values()):
        raise CheckpointError(
            f"{path} holds weights that are not finite (genctl verify --values counts them); take weights of before"
            " the training diverged."
        )
    return place(model, device_of(device)).eval().requires_grad_(False), header.manifest


def built(header: Header, path: Path) -> Model:
    """Return the model that a file describes, with random weights; raise CheckpointError if its tensors do not fit."""
    about = header.manifest

    def make() -> Model:
        config = registry.load(about.model).from_dict(about.config)
        return class_of(config)(config, about.shape)

    return sizes.fitting(make, header, path)


def dataset(
    path: Path,
    about: Manifest,
    given: str | Path | None = None,
    default_split: bool = False,
    reporter: Reporter = SILENT,
) -> data.Dataset:
    """Return the data that the weights were trained on: where the user says, where the run found them, or by name.

    default_split divides them as by default, whatever the run did.
    """
    name = given or about.dataset["name"]
    if given is None:
        with suppress(OSError, ValueError):  # weights may lie without their run
            run = schema.parse(schema.read_text(path.parent / "config.json", MOST_CONFIG_BYTES))
            record({"train": record({"dataset": TEXT})}).check(run)
            name = run["train"]["dataset"]
    split = {} if default_split else {key: about.train.get(key) for key in ("train_size", "validation")}
    with here().one_after_another("data"):
        found = data.load(name, **split, reporter=reporter, reading=data.Reading.of(about.train))
    if found.digest != about.dataset["digest"]:
        raise DataError(
            f"{name} is not the data set {about.dataset['name']} that {path} was trained on;"
            " say where that is with --dataset."
        )
    return found
