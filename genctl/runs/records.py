"""Records of how good images are, as tables, as JSON, and as lines in a run's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from ..checkpoint import atomic
from ..cli.tables import columns
from ..terminal.console import say
from .find import Source

FIGURES = (
    *("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"),
    *("modes", "mode_kl", "mode_kl_data", "memorized"),
)


def keep(source: Source, record: dict[str, Any]) -> None:
    """Add the record to the run's evaluations.jsonl, where the weights lie in a run."""
    folder = source.path.parent
    if not (folder / "config.json").is_file():
        return
    try:
        atomic.append_line(folder / "evaluations.jsonl", to_json(record))
    except OSError as error:
        say(f"warning: {folder / 'evaluations.jsonl'} was not written ({error.strerror}).")


def to_json(document: Any) -> str:
    """Return the document; JSON has no infinity, so what is not finite is null."""
    return json.dumps(_finite(document))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def name_of(record: dict[str, Any]) -> str:
    """Return what the images are of."""
    return record.get("file") or f"{record['model']}{' (means)' if record['means'] else ''}"


def number(value: float | None) -> str:
    """Return four significant digits."""
    return "-" if value is None else f"{value:.4g}"


def table(record: dict[str, Any]) -> str:
    """Return a record as lines of text: each figure, its interval, and the floor."""
    rows = []
    for name in [name for name in FIGURES if name in record]:
        interval = record["interval"].get(name)
        between = " to ".join(map(number, interval)) if interval else ""
        rows.append([f"  {name}", number(record[name]), between, number(record["floor"][name])])
    head = f"{name_of(record)}: {record['samples']:,} images"
    return "\n".join([head, columns(["", "samples", "95 % interval", "floor"], rows), *notes(record)])


def notes(record: dict[str, Any]) -> list[str]:
    """Return lines that say what the figures are of."""
    k, features = record["k"], record["features"]
    lines = [f"  against   {record['reference_images']:,} {record['split']} images of {record['dataset']}"]
    if "frechet_distance" in record:
        lines.append(f"  k         {k['precision']} for precision and recall, {k['density']} for density and coverage")
        lines.append("  floor     the same figures of validation images, which the features never saw")
    else:
        lines = [f"  floor     as many labels drawn from those of the {record['reference_images']:,} training images"]
    if "class_shares" in record:
        lines.append(f"  classes   {_percents(record['class_shares'])}")
        lines.append(f"  of floor  {_percents(record['floor']['class_shares'])}")
    accuracy = features["test_accuracy"]
    known = "" if accuracy is None else f" ({100 * accuracy:.2f} % right on its test images)"
    return [*lines, f"  features  {features['name']}{known}, sha256 {features['sha256'][:16]}"]


def _percents(shares: Sequence[float]) -> str:
    return " ".join(f"{100 * share:.1f}" for share in shares) + " %"
