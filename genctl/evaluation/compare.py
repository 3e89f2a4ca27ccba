"""compare: models of the same data set, judged by the same images, each figure of one kind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..checkpoint.manifest import Manifest
from ..config import SamplingOptions
from ..errors import CheckpointError
from ..models.base import Samples, Scores
from ..runs.folder import read_metrics
from ..runs.records import Comparison, Row
from .bits_per_dim import likelihood
from .sample_quality import Judge, model_quality

Entry = tuple[Samples, Manifest, Path, SamplingOptions]  # a loaded model


def compare(judge: Judge, entries: Iterable[Entry], samples: int | None = None, seed: int = 0) -> Comparison:
    """Return a row a model and the floor; the likelihoods are of the test images with one draw an image, K = 1."""
    rows = []
    for model, about, path, options in entries:
        quality = model_quality(judge, model, path, samples, seed, options)
        row = Row(
            quality=quality,
            parameters=sum(p.numel() for p in model.parameters()),
            epochs=about.epoch,
            training_seconds=training_seconds(path),
            likelihood=likelihood(
                model, about, path, judge.found, seed=seed, reporter=judge.reporter, options=options.for_likelihood()
            )
            if isinstance(model, Scores)
            else None,
        )
        rows.append(row)
    floor = max((row.quality.floor for row in rows), key=len)  # that of a conditional model has more figures
    return Comparison(dataset=rows[0].quality.dataset, floor=floor, rows=rows, one_split=judge.one_split)


def training_seconds(path: Path) -> float | None:
    """Return the time of training that the run's metrics record; None for weights without their run."""
    try:
        lines = read_metrics(path.parent)
    except CheckpointError:
        return None
    return round(sum(line.get("seconds", 0) for line in lines), 1) if lines else None
