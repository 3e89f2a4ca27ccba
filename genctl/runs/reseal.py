"""Weights that another tool has edited, sealed anew by the one who meant it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..checkpoint import manifest, tensors
from ..checkpoint.manifest import Header
from ..errors import CheckpointError, Edited, UsageError
from .load import built

COMPILED = "_orig_mod."  # what torch.compile puts into the names of a model that it wraps
ROUNDED = {"BF16", "F16", "F64"}  # other precisions, which become float32 again


def reseal(path: Path, out: Path) -> list[str]:
    """Write a sealed copy of edited weights, if their model takes them, and return what is different in it.

    Raises UsageError for a file that needs none, CheckpointError for one that does not load even so.
    """
    if os.path.lexists(out):
        raise UsageError(f"{out} exists; choose another name for --reseal.")
    header = manifest.read_header(path)
    if header.manifest.role != "weights":
        raise UsageError(f"{path} holds no weights but a {header.manifest.role}; only weights can be sealed anew.")
    wanted, changes = _as_written(header, path)
    if not changes:
        changes = [_digest(path)]
    model, stored = built(wanted, path), tensors.read(path)
    own = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    found = {name.replace(COMPILED, ""): tensor for name, tensor in stored.items()}
    found = {name: tensor.to(own[name]) for name, tensor in found.items()}
    if not all(tensor.isfinite().all() for tensor in found.values()):
        raise CheckpointError(f"{path} holds values that are not finite; it is not sealed.")
    tensors.fill(model, found, path)
    tensors.save(out, found, replace(header.manifest, metrics={}))
    return [*changes, "its metrics are left out, which were of the weights before"]


def _digest(path: Path) -> str:
    """Return what is known of an edit that left all names and types; raise UsageError where there was none."""
    try:
        manifest.check(path)
    except Edited:
        return "values or the header were changed"
    raise UsageError(f"{path} is whole; there is nothing to seal anew.")


def _as_written(header: Header, path: Path) -> tuple[Header, list[str]]:
    """Return the header with the names and types that genctl would have written, and what that changes."""
    entries: dict[str, dict[str, Any]] = {}
    changes: Counter[str] = Counter()
    for name, entry in header.tensors.items():
        plain = name.replace(COMPILED, "")
        if plain in entries:
            raise CheckpointError(f"{path} holds {plain} twice, with {COMPILED} and without.")
        rounded = entry["dtype"] in ROUNDED
        entries[plain] = {**entry, "dtype": "F32"} if rounded else entry
        changes[f"names without {COMPILED}"] += plain != name
        changes[f"tensors of {entry['dtype']} now float32"] += rounded
    return replace(header, tensors=entries), [f"{n} {what}" for what, n in changes.items() if n]
