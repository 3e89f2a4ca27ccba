"""What was found out about a model or its images, as typed records; their JSON is kept with the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from ..checkpoint import atomic, schema
from ..config import GIVEN
from ..errors import CheckpointError
from .folder import is_model

FIGURES = (  # of sample quality, in the order of every table
    *("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"),
    *("modes", "mode_kl", "mode_kl_data", "memorized"),
    *("class_accuracy", "frechet_in_class"),  # of a conditional model alone
)
CLASSIFIER = "classifier"  # the kind of features whose figures have no word behind their names


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """A likelihood of one split, with everything that it takes to compare it."""

    model: str
    value: float  # in the unit that is usual for the data
    unit: str  # "bits/dim" or "nats"
    standard_error: float  # of the mean over images, in that unit
    bits_per_dim: float
    bits_per_dim_error: float
    nats: float  # per image
    nats_error: float
    bound: str  # what the estimator is to -log p
    estimator: str
    K: int  # draws an image
    data: str  # what it is a likelihood of
    pixels: str
    dataset: str
    digest: str  # of the data set
    split: str
    images: int
    train_images: int
    alpha: float | None
    seed: int
    device: str
    weights: str  # digest of the file
    checkpoint: str
    gaps: Mapping[str, float] = field(default_factory=dict)  # nats to another estimator of the same draws
    round_trip: Mapping[str, float] | None = None  # of a bijection: its largest errors
    numerics: Mapping[str, Any] = field(default_factory=dict)  # of one that is computed numerically
    conditional: bool = False  # of log p(x|y)
    augmentation: str = ""  # of the training images, as it was typed
    marginal: bool = False  # of log p(x) of a conditional model: its classes are summed over
    classes: Sequence[str] = ()  # whose images were looked at; none for all

    def __post_init__(self) -> None:
        """Raise CheckpointError for a value that is not finite: it is no likelihood."""
        if not isfinite(self.nats):
            raise CheckpointError(
                f"the likelihood of {self.checkpoint} is {self.nats}; take weights of before it diverged."
            )

    @property
    def column(self) -> str:
        """Return the column of a comparison: values of the same pixels share one, and of two must not be compared."""
        return f"{self.unit} ({self.data}{GIVEN if self.conditional else ''})"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        apart = ("gaps", "round_trip", "numerics", "augmentation", "classes")
        values = {name: value for name, value in vars(self).items() if name not in apart}
        values |= {"augmentation": self.augmentation} if self.augmentation else {}
        values |= {"classes": list(self.classes)} if self.classes else {}
        values |= {f"gap_to_{name}": gap for name, gap in self.gaps.items()}
        values |= {"numerics": self.numerics} if self.numerics else {}
        return {"verb": "eval-bpd", **values, **({"round_trip": self.round_trip} if self.round_trip else {})}


@dataclass(frozen=True, kw_only=True)
class SampleQuality:
    """How good images are, beside the same figures of real ones."""

    about: Mapping[str, Any]  # of a model: model, checkpoint, means, samples_per_second; else the file
    figures: Mapping[str, Any]  # by the names in FIGURES, and class_shares
    interval: Mapping[str, Sequence[float]]  # 95 %
    floor: Mapping[str, Any]
    samples: int
    classes: int
    dataset: str
    dataset_digest: str
    split: str
    reference_images: int
    train_images: int  # among which memorized images are looked for: those of the model's own split
    validation_images: int  # of which the floor is: no model saw them
    k: Mapping[str, int]
    seed: int
    features: Mapping[str, Any]

    def column(self, figure: str) -> str:
        """Return the head of a figure: those of two kinds of features share none, and of pixels there is one kind."""
        kind = self.features.get("kind", CLASSIFIER)  # older records are of a classifier
        return figure if kind == CLASSIFIER or figure == "memorized" else f"{figure} ({kind})"

    @property
    def name(self) -> str:
        """Return what the images are of."""
        means = " (means)" if self.about.get("means") else ""
        return self.about.get("file") or f"{self.about['model']}{means}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        rest = {name: value for name, value in vars(self).items() if name not in ("about", "figures")}
        return {"verb": "evaluate", **self.about, **self.figures, **rest}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model in a comparison."""

    quality: SampleQuality
    parameters: int
    epochs: int
    training_seconds: float | None
    likelihood: Likelihood | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        names = ("value", "unit", "standard_error", "data", "estimator", "K")
        likelihood = self.likelihood and {name: getattr(self.likelihood, name) for name in names}
        own = {"parameters": self.parameters, "epochs": self.epochs, "training_seconds": self.training_seconds}
        return {**self.quality.to_dict(), **own, "likelihood": likelihood}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Models of the same data set, judged by the same images and the same features."""

    dataset: str
    floor: Mapping[str, Any]
    rows: Sequence[Row]
    one_split: bool = True  # else memorized is of what any model was trained on, and the floor of what none was

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        rows = [row.to_dict() for row in self.rows]
        return {
            "verb": "compare",
            "dataset": self.dataset,
            "floor": self.floor,
            "one_split": self.one_split,
            "rows": rows,
        }


Record = Likelihood | SampleQuality | Comparison


def to_json(document: Any) -> str:
    """Return the document; JSON has no infinity, so what is not finite is null."""
    return json.dumps(_finite(document))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def keep(weights: Path, record: Record) -> None:
    """Add the record to the run's evaluations.jsonl, where the weights lie in a run."""
    folder = weights.parent
    if (folder / "config.json").is_file() and not is_model(folder):
        atomic.append_line(folder / "evaluations.jsonl", to_json(record.to_dict()))


MOST_EVALUATIONS_BYTES = 1 << 22


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """Return the records of evaluations.jsonl, the oldest first; what is no record is left out."""
    found = []
    with suppress(OSError, ValueError):
        for line in schema.read_text(folder / "evaluations.jsonl", MOST_EVALUATIONS_BYTES, torn=True).splitlines():
            with suppress(ValueError):
                record = schema.parse(line)
                if isinstance(record, dict):
                    found.append(record)
    return found
