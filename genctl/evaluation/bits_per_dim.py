"""eval-bpd: a likelihood of one split of the data, with everything that it takes to compare it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.manifest import Manifest, read_header
from ..config import Estimator, ModelConfig, Pixels, SamplingOptions, augmentation_in
from ..data import Dataset, Images
from ..data.pieces import Pieces, through
from ..errors import UsageError
from ..models.base import Inverts, Scores
from ..ranks.group import ALONE, Ranks, here
from ..runs.records import Likelihood
from ..seeds import generator
from ..terminal.reporter import SILENT, Reporter
from ..types import Shape
from .bounds import Bound, bits_per_dim, bound, marginal_bound, mean_and_error, round_trip

CHECKED = 100  # images of which a model checks its numbers
Each = Callable[[Images, Tensor, Tensor], None]  # images, their values [N] in nats, and their standard errors


def estimator_for(config: type[ModelConfig], name: str | None, K: int) -> Estimator:
    """Return the estimator; raise UsageError for one that the model lacks, or that more draws do not change."""
    if K < 1:
        raise UsageError(f"the number of draws must be at least 1; not {K}.")
    found = config.estimator(name, K)
    if found.draws == "none" and K > 1:
        raise UsageError(f"{found.name} of {config.name} is {found.bound}: K does not apply; leave out --draws.")
    return found


def likelihood(
    model: Scores,
    about: Manifest,
    path: Path,
    found: Dataset,
    split: str = "test",
    images: int | None = None,
    draws: int = 1,
    estimator: str | None = None,
    seed: int = 0,
    marginal: bool = False,
    classes: Sequence[int] = (),
    each: Each = lambda part, nats, error: None,
    reporter: Reporter = SILENT,
    options: SamplingOptions | None = None,
) -> Likelihood:
    """Return the record of a likelihood: the value, its error, and what it is a value of.

    That of a conditional model is log p(x|y), or log p(x) if the classes are summed over (marginal). classes are those
    whose images are looked at; each is told of the images one by one.
    """
    config = model.config
    chosen = estimator_for(type(config), estimator, draws)
    part = found.split(split).of_classes(classes, f"the {split} images of {found.name}").choose(images or chosen.images)
    x = through(part, model.observe, model.device)
    y = None if marginal else labels_of(model, part, f"the {split} images of {found.name}")
    bounds = bounds_of(model, x, draws, chosen, seed, y, marginal, reporter, options, here())
    each(part, *of_images(bounds, chosen))
    nats, error = mean_and_error(of_images(bounds, chosen)[0])
    gap = (bounds.mean - bounds.tight).mean().item()
    return Likelihood(
        **values(config.pixels, nats, error, about.shape),
        **facts(about, found, split, classes),
        bound=chosen.bound,
        estimator=chosen.name,
        K=draws,
        conditional=y is not None,
        marginal=marginal,
        data=config.pixels.name,
        pixels=config.pixels.about,
        images=len(x),
        seed=seed,
        device=x.device.type,
        weights=read_header(path).digest,
        checkpoint=str(path),
        gaps={chosen.gap_to: gap} if chosen.gap_to else {},
        numerics=numerics(model, x, chosen, y, options),
        round_trip=invertibility(model, x[:CHECKED].cpu(), part) if isinstance(model, Inverts) else None,
    )


def facts(about: Manifest, found: Dataset, split: str, classes: Sequence[int]) -> dict[str, Any]:
    """Return what a record says of the model's training and of the data that are looked at."""
    return {
        "model": about.model,
        "augmentation": augmentation_in(about.train),
        "train_images": about.dataset.get("train_images", len(found.train)),
        "alpha": about.config.get("alpha"),
        "dataset": found.name,
        "digest": found.digest,
        "split": split,
        "classes": tuple(found.class_names[label] for label in classes),
    }


def of_images(bounds: Bound, estimator: Estimator) -> tuple[Tensor, Tensor]:
    """Return the values that an estimator reports, [N] nats, and their standard errors over its draws."""
    if estimator.draws == "none":
        return bounds.tight, torch.zeros_like(bounds.tight)
    return (bounds.mean, bounds.mean_error) if estimator.draws == "mean" else (bounds.tight, bounds.tight_error)


def labels_of(model: Scores, part: Images, what: str) -> Tensor | None:
    """Return the classes of images for a conditional model; raise UsageError if it cannot be given them."""
    if model.config.classes and part.labels is None:
        raise UsageError(f"{what} have no labels; log p(x|y) needs them, --marginal does not.")
    return model.given(part.labels)


def bounds_of(
    model: Scores,
    x: Tensor | Pieces,
    K: int,
    estimator: Estimator,
    seed: int,
    y: Tensor | None,
    marginal: bool,
    reporter: Reporter = SILENT,
    options: SamplingOptions | None = None,
    ranks: Ranks = ALONE,
) -> Bound:
    """Return the bounds on -log p(x), or -log p(x|y) for classes y [N]; raise UsageError for a sum over no classes."""
    if marginal and not model.config.classes:
        raise UsageError(f"{model.config.name} is not conditional: its likelihood is log p(x); leave out --marginal.")
    work = len(x) * (model.config.classes if marginal else 1)
    with reporter.counting(work, f"likelihoods of {model.config.name}") as advance:
        if marginal:
            return marginal_bound(model, x, K, estimator, seed, advance, options, ranks)
        return bound(model, x, K, estimator, seed, y, advance, options, ranks)


def numerics(
    model: Scores, x: Tensor | Pieces, estimator: Estimator, y: Tensor | None, options: SamplingOptions | None
) -> dict[str, Any]:
    """Return what the model says of a likelihood that is computed numerically, its errors in bits/dim."""
    labels = None if y is None else y[:CHECKED]
    found = dict(model.numerics(x[:CHECKED], estimator.name, labels, options))
    for name in [name for name in found if name.endswith("_nats")]:
        found[name.replace("_nats", "_bits_per_dim")] = bits_per_dim(found.pop(name), model.shape)
    return found


def values(pixels: Pixels, nats: float, error: float, shape: Shape) -> dict[str, Any]:
    """Return the value in the unit that is usual for the data, with its error, and both in either unit."""
    bits, bits_error = bits_per_dim(nats, shape), bits_per_dim(error, shape)
    value, own = (bits, bits_error) if pixels.unit == "bits/dim" else (nats, error)
    both = {"bits_per_dim": bits, "bits_per_dim_error": bits_error, "nats": nats, "nats_error": error}
    return {"value": value, "unit": pixels.unit, "standard_error": own, **both}


def invertibility(model: Inverts, x: Tensor, part: Images) -> dict[str, float]:
    """Return the round trip's largest errors in float32 and float64, for the first images x of a part."""
    labels = model.given(part.labels)
    given = None if labels is None else labels[: len(x)]
    y = x + torch.rand(x.shape, generator=generator("round trip"), dtype=torch.float64)
    errors = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        flow = copy.deepcopy(model).cpu().to(dtype)
        errors[f"inverse_{name}"], errors[f"log_det_{name}"] = round_trip(flow, y.to(dtype), given)
    return errors
