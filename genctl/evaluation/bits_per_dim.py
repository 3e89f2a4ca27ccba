"""eval-bpd: a bound on the likelihood, with everything that it takes to compare it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import manifest
from ..config import Shape
from ..errors import UsageError
from ..models import registry
from ..models.base import Inverts
from ..runs import load
from ..runs.find import Source
from ..seeds import generator
from ..terminal.progress import counting
from .bounds import bits_per_dim, bound, mean_and_error, round_trip

CHECKED = 100  # images of the round trip
LEVELS = "256 levels"
PIXELS = {  # what an evaluation binarizes to, by how the training images were
    "binarized dynamic": "genctl's own fixed draw of the pixels, trained on fresh draws",
    "binarized static": "genctl's own fixed draw of the pixels, not the published static file",
    "binarized threshold": "cut at one half",
}


def estimator_for(model: str, draws: int, estimator: str | None) -> str:
    """Return the estimator's name; raise UsageError for one that the model lacks."""
    offered = registry.load(model).estimators
    if estimator is None:
        return offered[1] if draws > 1 and len(offered) > 1 else offered[0]
    if estimator not in offered:
        raise UsageError(f"{model} has no estimator {estimator}; it has: {', '.join(offered)}.")
    return estimator


def evaluate(
    source: Source,
    split: str,
    n: int | None,
    draws: int,
    estimator: str | None,
    seed: int,
    dataset: str | None,
    device: str,
) -> dict[str, Any]:
    """Return the record of an evaluation: the values, their errors, and what they are values of."""
    name = estimator_for(source.model, draws, estimator)
    model, about = load.scorer(source, device)
    found = load.dataset(source, about, dataset)
    images = found.split(split).choose(n)
    x = model.observe(images).to(model.device)
    with counting(len(x)) as advance:
        bounds = bound(model, x, draws, "prior" if name == "prior" else "posterior", seed, advance)
    nats, error = mean_and_error(bounds.elbo if name == "elbo" else bounds.tight)
    record = {
        "verb": "eval-bpd",
        "model": about.model,
        **values(model.data, nats, error, about.shape),
        "bound": "upper bound on -log p",
        "estimator": name,
        "K": draws,
        "data": model.data,
        "pixels": PIXELS.get(model.data, "as they are"),
        "dataset": found.name,
        "digest": found.digest,
        "split": split,
        "images": len(x),
        "train_images": about.dataset["train_images"],
        "alpha": about.config.get("alpha"),
        "seed": seed,
        "device": x.device.type,
        "weights": manifest.read_header(source.path).digest,
        "checkpoint": str(source.path),
    }
    if name == "iwae":
        record["gap_to_elbo"] = (bounds.elbo - bounds.tight).mean().item()
    if isinstance(model, Inverts):
        record["round_trip"] = invertibility(model, x[:CHECKED].cpu())
    return record


def values(data: str, nats: float, error: float, shape: Shape) -> dict[str, Any]:
    """Return the value in the unit that is usual for the data, with its error, and both in either unit."""
    bits, bits_error = bits_per_dim(nats, shape), bits_per_dim(error, shape)
    value, unit, own = (bits, "bits/dim", bits_error) if data == LEVELS else (nats, "nats", error)
    both = {"bits_per_dim": bits, "bits_per_dim_error": bits_error, "nats": nats, "nats_error": error}
    return {"value": value, "unit": unit, "standard_error": own, **both}


def invertibility(model: Inverts, x: Tensor) -> dict[str, float]:
    """Return the round trip's largest errors in float32 and float64."""
    y = x + torch.rand(x.shape, generator=generator("round trip"), dtype=torch.float64)
    errors = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        flow = copy.deepcopy(model).cpu().to(dtype)
        errors[f"inverse_{name}"], errors[f"log_det_{name}"] = round_trip(flow, y.to(dtype))
    return errors


def table(record: dict[str, Any]) -> str:
    """Return the record as lines of text."""
    lines = [
        f"{record['model']}: {record['bits_per_dim']:.4f} +- {record['bits_per_dim_error']:.4f} bits/dim"
        f" = {record['nats']:.2f} +- {record['nats_error']:.2f} nats per image",
        f"  estimator  {record['estimator']}, K = {record['K']} (an {record['bound']}; lower is better)",
        f"  data       {record['dataset']}, {record['data']} ({record['pixels']})",
        f"  split      {record['split']}, {record['images']:,} images (trained on {record['train_images']:,})",
    ]
    if "gap_to_elbo" in record:
        lines.append(f"  gap        {record['gap_to_elbo']:.2f} nats tighter than the ELBO of the same draws")
    if "round_trip" in record:
        trip = record["round_trip"]
        for what in ("inverse", "log_det"):
            values = f"{trip[f'{what}_float32']:.1e} (float32), {trip[f'{what}_float64']:.1e} (float64)"
            lines.append(f"  {what:10s} largest error {values}")
    return "\n".join(lines)
