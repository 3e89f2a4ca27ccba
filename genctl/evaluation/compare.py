"""compare: one table of models of the same data set, each figure in a column of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..cli.tables import columns
from ..errors import CheckpointError
from ..models.base import Scores
from ..runs import load, records
from ..runs.find import Source
from ..runs.folder import read_metrics
from . import bits_per_dim, sample_quality


def compare(
    sources: Sequence[Source], n: int | None, seed: int, means: bool, dataset: str | None, device: str
) -> dict[str, Any]:
    """Return a row per model and the floor; all are judged by the same images and the same features."""
    judge, rows = None, []
    for source in sources:
        model, about = load.decoder(source, device)
        if judge is None:
            judge = sample_quality.Judge.of(load.dataset(source, replace(about, train={}), dataset))
        row = sample_quality.judge_model(judge, model, source, n, seed, means)
        row |= {"parameters": sum(p.numel() for p in model.parameters()), "epochs": about.epoch}
        row["training_seconds"] = training_seconds(source)
        row["likelihood"] = likelihood(source, seed, dataset, device) if isinstance(model, Scores) else None
        rows.append(row)
    return {"verb": "compare", "dataset": rows[0]["dataset"], "floor": rows[0]["floor"], "rows": rows}


def likelihood(source: Source, seed: int, dataset: str | None, device: str) -> dict[str, Any]:
    """Return the bound on the test images with one draw per image, K = 1."""
    found = bits_per_dim.evaluate(
        source, split="test", n=None, draws=1, estimator=None, seed=seed, dataset=dataset, device=device
    )
    return {name: found[name] for name in ("value", "unit", "standard_error", "data", "estimator", "K")}


def training_seconds(source: Source) -> float | None:
    """Return the time of training that the run's metrics record; None for weights without their run."""
    try:
        lines = read_metrics(source.path.parent)
    except CheckpointError:
        return None
    return round(sum(line.get("seconds", 0) for line in lines), 1) if lines else None


def kind_of(entry: dict[str, Any]) -> str:
    """Return the column of a likelihood: bounds of the same pixels share one, and of two columns cannot be compared."""
    return f"{entry['unit']} ({entry['data']})"


def table(found: dict[str, Any]) -> str:
    """Return the comparison as lines of text, a row a model and one for the floor."""
    own = sorted({kind_of(row["likelihood"]) for row in found["rows"] if row["likelihood"]})
    names = ["frechet", "kernel", *records.FIGURES[2:]]
    head = ["model", *names, *own, "parameters", "epochs", "training", "samples/s", "checkpoint"]
    rows = [_row(row, own) for row in found["rows"]]
    floor = [records.number(found["floor"][name]) for name in records.FIGURES]
    rows.append(["floor", *floor, *["-"] * (len(own) + 5)])
    about = {name: value for name, value in found["rows"][0].items() if name != "class_shares"}
    bounds = "  bounds    of -log p, one draw an image (K = 1); for tighter ones: genctl eval-bpd MODEL FILE -k 5000"
    return "\n".join([columns(head, rows), *([bounds] if own else []), *records.notes(about)])


def _row(row: dict[str, Any], kinds: Sequence[str]) -> list[str]:
    entry = row["likelihood"]
    own = [records.number(entry["value"]) if entry and kind_of(entry) == kind else "-" for kind in kinds]
    spent = row["training_seconds"]
    time = "-" if spent is None else f"{spent / 60:.1f} min"
    figures = [records.number(row[name]) for name in records.FIGURES]
    return [
        records.name_of(row),
        *figures,
        *own,
        f"{row['parameters']:,}",
        str(row["epochs"]),
        time,
        f"{row['samples_per_second']:,.0f}",
        row["checkpoint"],
    ]
