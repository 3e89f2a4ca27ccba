"""What is in a data set that was loaded, in the words and numbers that a folder of pictures has too."""

from __future__ import annotations

from typing import Any

import numpy
import torch

from ..pictures import says, splits
from .images import Dataset


def report(found: Dataset) -> dict[str, Any]:
    """Return pictures, sizes, classes, duplicates and splits of a data set whose files have an order of their own."""
    parts = {"train": found.train, "validation": found.validation, "test": found.test}
    C, H, W = found.train.shape
    n = sum(map(len, parts.values()))
    rows = (row for part in parts.values() for row in part.pixels.permute(0, 2, 3, 1).numpy())
    digests = numpy.frombuffer(b"".join(map(splits.digest, rows)), dtype=numpy.uint8).reshape(n, -1)
    labelled = [part.labels for part in parts.values() if part.labels is not None]
    labels = torch.cat(labelled) if len(labelled) == len(parts) else None
    names = [f"{name}/{place}" for name, part in parts.items() for place in part.places.tolist()]
    counts = [] if labels is None else torch.bincount(labels).tolist()
    return {
        "files": n,
        "pictures": n,
        "sizes": {f"{H} x {W}": n},
        "modes": {{1: "L", 3: "RGB"}.get(C, f"{C} channels"): n},
        "shape": [C, H, W],
        "classes": dict(zip(found.class_names, counts, strict=False)),
        "passed_over": [],
        "broken": [],
        "notes": [],
        "duplicates": splits.duplicates(
            digests, None if labels is None else labels.numpy(), [name.split("/")[0] for name in names], names
        ),
        "black": max(int(part.pixels.max()) for part in parts.values()) == 1,
        "split": found.about.get("split", says.IN_ORDER),
        "splits": {name: len(part) for name, part in parts.items()},
    }
