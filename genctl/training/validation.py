"""The bound on the validation images after each epoch: the lowest so far, and how long it has not fallen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from ..config import ModelConfig, TrainConfig
from ..data import Dataset
from ..data.pieces import Pieces, through
from ..errors import Diverged, UsageError
from ..evaluation.bounds import bits_per_dim, bound
from ..models.base import Model, Scores
from ..ranks.group import here
from ..runs.folder import unimproved


def check_patience(config: type[ModelConfig], train: TrainConfig) -> None:
    """Raise UsageError for --patience with a model that has no validation bound to wait for."""
    if train.patience is not None and "score" not in config.can:
        raise UsageError(f"--patience waits for the validation bound, and {config.name} has none; leave it out.")


class Validation:
    """The validation images as the likelihood sees them, and the bounds of the epochs; nothing for other models."""

    def __init__(self, model: Model, data: Dataset, device: torch.device) -> None:
        self.images: Tensor | Pieces | None = None
        if isinstance(model, Scores):
            self.images = through(data.validation, model.observe, device)
        self.labels = None
        if model.config.classes and data.validation.labels is not None:
            self.labels = data.validation.labels.to(device)
        self.best: float | None = None  # the lowest bound so far, that of model.safetensors
        self.bounds: dict[int, float] = {}  # of each epoch, in nats

    def restore(self, best: float | None, lines: Sequence[Mapping[str, Any]]) -> None:
        """Go back to the weights that were kept, and to the metrics lines of the epochs that are done."""
        self.best = best if self.images is not None else None
        known = {line["epoch"]: line.get("validation_nats") for line in lines}
        self.bounds = {epoch: nats for epoch, nats in known.items() if nats is not None}

    def ended(self, patience: int | None) -> bool:
        """Tell whether the bound has not fallen for this many epochs: a function of the epochs' bounds alone."""
        return patience is not None and unimproved(self.bounds) >= patience

    def measure(self, model: Model, means: Mapping[str, float], epoch: int, step: int) -> dict[str, float]:
        """Return the bounds of training and validation in both units; the noise is the same in every epoch."""
        if self.images is None or not isinstance(model, Scores):
            return {}
        K = model.validation_draws
        chosen = type(model.config).estimator(model.validation_estimator, K)
        nats = bound(model, self.images, K, chosen, y=self.labels, ranks=here()).tight.mean().item()
        if not isfinite(nats):
            raise Diverged(f"at step {step} the validation bound is {nats}; train anew with a lower --lr.")
        self.best = nats if self.best is None else min(self.best, nats)
        self.bounds[epoch] = nats
        return {
            "bits_per_dim": bits_per_dim(means[model.negative_bound], model.shape),
            "validation_nats": nats,
            "validation_bits_per_dim": bits_per_dim(nats, model.shape),
        }
