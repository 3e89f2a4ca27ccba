"""The Python face: `import genctl`. Everything returns values or raises; nothing is printed, no setting of torch stays.

Images go in as uint8: numpy [N, H, W, C], or [N, H, W] for one channel, or torch [N, C, H, W]. What `sample` returns
is numpy in that form; what has a gradient's precision (`decode`, `encode`) is a torch float tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from .. import data as datasets
from ..checkpoint import manifest
from ..config import flag
from ..device import device_of, exact
from ..errors import UsageError
from ..evaluation import own_features, sample_quality
from ..evaluation.compare import Entry
from ..evaluation.compare import compare as compared
from ..models import registry
from ..models.base import Samples
from ..pictures.reading import OPTIONS
from ..runs import find
from ..runs.load import load_model
from ..runs.records import Comparison, SampleQuality
from ..terminal.reporter import SILENT, Reporter
from .judged import images_of, judge_of
from .trained import TrainedModel, TrainedRun

__all__ = ["TrainedModel", "TrainedRun", "compare", "datasets", "evaluate", "load", "save_features", "train"]


def load(
    model: str | Path | find.Source,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    reporter: Reporter = SILENT,
) -> TrainedModel:
    """Return a trained model: by its file, its run's folder, or its name (its newest run, else what ships).

    Raises CheckpointError for a file that is missing, damaged or foreign.
    """
    if not isinstance(model, find.Source):
        model = find.resolve(str(model), None if checkpoint is None else str(checkpoint))
    return TrainedModel(*load_model(model.path, device), model.path, reporter)


def train(model: str, *, reporter: Reporter = SILENT, command: Sequence[str] = (), **options: Any) -> TrainedRun:
    """Train a model in a new run's folder, or resume one, and return the run.

    The options are those of `genctl train MODEL`, with underscores: train("vae", epochs=5, latent_dim=2). Raises
    UsageError for a wrong one, Diverged, OutOfResources, and Stopped where a signal ended it after saving.
    """
    from ..training import start  # here, so that drawing alone does not load it

    said = command or ["genctl.train", model, *(f"{name}={value!r}" for name, value in options.items())]
    return TrainedRun(start.train(model, options, said, reporter))


def evaluate(
    what: str | Path | TrainedModel,
    *,
    samples: int | None = None,
    seed: int = 0,
    modes: bool = False,
    dataset: str | Path | None = None,
    features: str | Path | None = None,
    data_of: str | Path | find.Source | None = None,
    device: str = "cpu",
    reporter: Reporter = SILENT,
    **options: Any,
) -> SampleQuality:
    """Return how good a model's images are, or those of an .npz file or a folder, beside the floor of real ones.

    options: of a model its sampling options; of images how they and the data set are read (image_size, fit, ...).
    data_of: of images, a checkpoint whose data set, split and options of reading hold. features: a file, or "random";
    by default the classifier of the data set, or for data without labels a network of random weights.
    """
    path = None if isinstance(what, TrainedModel) else find.images_path(str(what))
    if path is not None:
        with exact(device_of(device)):
            read = images_of(path, data_of, dataset, samples, reporter, options)
            judge = sample_quality.Judge.of(read.found, read.own, reporter, device_of(device), features)
            return sample_quality.images_quality(judge, read.pixels, path, seed, modes, read.about)
    model_ = what if isinstance(what, TrainedModel) else load(what, device=device)
    if data_of is not None or options.keys() & set(OPTIONS):
        left = "data_of" if data_of is not None else ", ".join(map(flag, options.keys() & set(OPTIONS)))
        raise UsageError(f"{model_.path} says what its data are and how they are read; leave out {left}.")
    model, chosen = model_.able(Samples), model_.options(options)
    with exact(model.device):
        judge = judge_of([(model_.path, model_.manifest)], dataset, model.device, reporter, features)
        return sample_quality.model_quality(judge, model, model_.path, samples, seed, chosen, modes)


def compare(
    models: Sequence[str | Path | find.Source],
    *,
    samples: int | None = None,
    seed: int = 0,
    dataset: str | Path | None = None,
    features: str | Path | None = None,
    device: str = "cpu",
    reporter: Reporter = SILENT,
    **options: Any,
) -> Comparison:
    """Return models of the same data beside each other; each takes the sampling options that it has.

    features: as for evaluate.
    """
    sources = [name if isinstance(name, find.Source) else find.resolve(str(name)) for name in models]
    find.one_data_set(sources)
    first = TrainedModel(*load_model(sources[0].path, device), sources[0].path, reporter)
    trained = [(source.path, manifest.read(source.path)) for source in sources]
    judge = judge_of(trained, dataset, first.module.device, reporter, features)

    kinds = [registry.load(source.model).sampling for source in sources]
    has = [{f.name for f in fields(kind)} for kind in kinds]
    unknown = sorted(set(options) - set().union(*has))
    if unknown:
        raise UsageError(f"none of these models has a sampling option {', '.join(unknown)}.")

    def entries() -> Iterator[Entry]:
        for source, own in zip(sources, has, strict=True):
            one = first if source is sources[0] else TrainedModel(*load_model(source.path, device), source.path)
            chosen = one.options({name: value for name, value in options.items() if name in own})
            yield one.able(Samples), one.manifest, one.path, chosen

    with exact(first.module.device):
        return compared(judge, entries(), samples, seed)


def save_features(path: str | Path, net: nn.Sequential, shape: Sequence[int], name: str) -> None:
    """Write a network as a file for `features`: torch's plain layers in a sequence, for images [C, H, W] in [0, 1].

    name is what records say of it. Raises UsageError for a layer that such a file cannot hold.
    """
    C, H, W = shape
    own_features.save(Path(path), net, (C, H, W), name)
