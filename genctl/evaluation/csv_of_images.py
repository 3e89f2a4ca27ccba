"""The likelihood of each image as a table: what outliers are found with."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..checkpoint import atomic
from ..data import Images
from .bounds import bits_per_dim

COLUMNS = ("index", "label", "value", "standard_error", "unit")


def write(path: Path, names: Sequence[str], unit: str, part: Images, nats: Tensor, error: Tensor) -> None:
    """Write a row for each image: its place in the data's file, its class, and -log p in the usual unit, whole.

    The standard error is that of the estimate over its K draws. One draw has none, and its cell is empty.
    """
    scale = bits_per_dim(1.0, part.shape) if unit == "bits/dim" else 1.0
    labels = [""] * len(part) if part.labels is None else [names[label] for label in part.labels.tolist()]
    rows = zip(part.places.tolist(), labels, (scale * nats).tolist(), (scale * error).tolist(), strict=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([place, label, value, "" if e != e else e, unit] for place, label, value, e in rows)
    atomic.write(path, text.getvalue().encode())
