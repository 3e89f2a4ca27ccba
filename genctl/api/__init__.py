"""The Python face: `import genctl`. Everything returns values or raises; nothing is printed, no setting of torch stays.

Images go in as uint8: numpy [N, H, W, C], or [N, H, W] for one channel, or torch [N, C, H, W]. What `sample` returns
is numpy in that form; what has a gradient's precision (`decode`, `encode`) is a torch float tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from .. import data as datasets
from ..checkpoint import manifest
from ..checkpoint.manifest import Manifest
from ..device import device_of, exact
from ..errors import UsageError
from ..evaluation import sample_quality
from ..evaluation.compare import Entry
from ..evaluation.compare import compare as compared
from ..models import registry
from ..models.base import Samples
from ..runs import find
from ..runs.load import dataset as dataset_of
from ..runs.load import load_model
from ..runs.records import Comparison, SampleQuality
from ..terminal.reporter import SILENT, Reporter
from ..training import start
from .trained import TrainedModel, TrainedRun

__all__ = ["TrainedModel", "TrainedRun", "compare", "datasets", "evaluate", "load", "train"]


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
    said = command or ["genctl.train", model, *(f"{name}={value!r}" for name, value in options.items())]
    return TrainedRun(start.train(model, options, said, reporter))


def evaluate(
    what: str | Path | TrainedModel,
    *,
    samples: int | None = None,
    seed: int = 0,
    modes: bool = False,
    dataset: str | None = None,
    device: str = "cpu",
    reporter: Reporter = SILENT,
    **options: Any,
) -> SampleQuality:
    """Return how good a model's images are, or those of an .npz file or a folder, beside the floor of real ones."""
    if not isinstance(what, TrainedModel):
        path = find.images_path(str(what))
        if path is not None:
            if options:
                raise UsageError(f"{path} holds images; leave out {', '.join(options)}.")
            with exact(device_of(device)):
                return sample_quality.images_quality(path, samples, seed, modes, dataset, device_of(device), reporter)
        what = load(what, device=device)
    model, chosen = what.able(Samples), what.options(options)
    with exact(model.device):
        judge = judge_of([(what.path, what.manifest)], dataset, model.device, reporter)
        return sample_quality.model_quality(judge, model, what.path, samples, seed, chosen, modes)


def judge_of(
    trained: Sequence[tuple[Path, Manifest]], given: str | None, device: torch.device, reporter: Reporter
) -> sample_quality.Judge:
    """Return what images of models of one data set are compared with: each model's own split decides."""
    found = dataset_of(*trained[0], given, default_split=True, reporter=reporter)
    splits = {tuple(map(about.train.get, ("train_size", "validation"))): (path, about) for path, about in trained}
    own = [
        found if split == (None, None) else dataset_of(*of, given, reporter=reporter) for split, of in splits.items()
    ]
    return sample_quality.Judge.of(found, own, reporter, device)


def compare(
    models: Sequence[str | Path | find.Source],
    *,
    samples: int | None = None,
    seed: int = 0,
    dataset: str | None = None,
    device: str = "cpu",
    reporter: Reporter = SILENT,
    **options: Any,
) -> Comparison:
    """Return models of the same data beside each other; each takes the sampling options that it has."""
    sources = [name if isinstance(name, find.Source) else find.resolve(str(name)) for name in models]
    find.one_data_set(sources)
    first = TrainedModel(*load_model(sources[0].path, device), sources[0].path, reporter)
    trained = [(source.path, manifest.read(source.path)) for source in sources]
    judge = judge_of(trained, dataset, first.module.device, reporter)

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
