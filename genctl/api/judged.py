"""What images are compared with: the data set of checkpoints, or the one that is named and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import data
from ..checkpoint import manifest
from ..checkpoint.manifest import Manifest
from ..config import flag
from ..data import Dataset, Reading, image_files
from ..errors import UsageError
from ..evaluation.sample_quality import Judge
from ..pictures.reading import OPTIONS
from ..runs import find
from ..runs.load import dataset as dataset_of
from ..terminal.reporter import Reporter

Trained = Sequence[tuple[Path, Manifest]]  # checkpoints of one data set


def judge_of(
    trained: Trained,
    given: str | Path | None,
    device: torch.device,
    reporter: Reporter,
    features: str | Path | None = None,
) -> Judge:
    """Return what images of models of one data set are compared with: each model's own split decides."""
    return Judge.of(*_data_of(trained, given, reporter), reporter, device, features)


def _data_of(trained: Trained, given: str | Path | None, reporter: Reporter) -> tuple[Dataset, list[Dataset]]:
    """Return the data set of checkpoints as it is split by default, and as each of them splits it."""
    found = dataset_of(*trained[0], given, default_split=True, reporter=reporter)
    splits = {tuple(map(about.train.get, ("train_size", "validation"))): (path, about) for path, about in trained}
    own = [
        found if split == (None, None) else dataset_of(*of, given, reporter=reporter) for split, of in splits.items()
    ]
    return found, own


class Images(NamedTuple):
    """Images of a file or folder, read as the data set that they are compared with."""

    pixels: Tensor
    found: Dataset
    own: Sequence[Dataset]
    about: Mapping[str, Any]  # what a record says of their reading


def images_of(
    path: Path,
    data_of: str | Path | find.Source | None,
    dataset: str | Path | None,
    samples: int | None,
    reporter: Reporter,
    options: Mapping[str, Any],
) -> Images:
    """Return the first images at a path and the data set: that of a checkpoint, or the one that is named."""
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown or (data_of is not None and options):
        why = "holds images" if unknown else f"is read as the data of {data_of} are"
        raise UsageError(f"{path} {why}; leave out {', '.join(map(flag, unknown or options))}.")
    own: Sequence[Dataset] = ()
    if data_of is None:
        reading, about = Reading.of(options), dict(options)
        found = data.load(dataset or "mnist", reporter=reporter, reading=reading)
    else:
        source = data_of if isinstance(data_of, find.Source) else find.resolve(str(data_of))
        said = manifest.read(source.path)
        reading, about = Reading.of(said.train), {"data_of": str(source.path)}
        found, own = _data_of([(source.path, said)], dataset, reporter)
    reading = replace(reading, channels=found.train.shape[0])
    return Images(image_files.read(path, found.train.shape, samples, reporter, reading), found, own, about)
