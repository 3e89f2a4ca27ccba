"""The verbs that list: models, runs, and a checkpoint's manifest. No torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from ..checkpoint import manifest
from ..config import options_of
from ..errors import CheckpointError
from ..models import registry
from ..runs.folder import all_runs, in_use, read_config, read_metrics


def models(as_json: bool) -> str:
    """Return each model's help, forms and capabilities."""
    rows = []
    for name in registry.usable():
        kind = registry.load(name)
        known = options_of(kind)
        forms = list(get_args(known["arch"][0])) if "arch" in known else []
        about = (kind.__doc__ or "").strip().splitlines()[0].rstrip(".")
        rows.append({"model": name, "arch": forms, "can": sorted(kind.can), "about": about})
    if as_json:
        return json.dumps(rows)
    return columns(["model", "arch", "can", "about"], [[_plain(v) for v in row.values()] for row in rows])


def runs_table(root: Path, as_json: bool) -> str:
    """Return a line per run: model, data, epochs, best validation, state."""
    rows = [_describe(folder) for folder in all_runs(root)]
    if as_json:
        return json.dumps(rows)
    if not rows:
        return f"no runs under {root} yet; type: genctl train vae"
    return columns(list(rows[0]), [[_plain(v) for v in row.values()] for row in rows])


def _describe(folder: Path) -> dict[str, Any]:
    about, lines = read_config(folder), read_metrics(folder)
    done, epochs = (lines[-1]["epoch"] if lines else 0), about["train"]["epochs"]
    bounds = [line["validation_nats"] for line in lines if "validation_nats" in line]
    state = "finished" if done >= epochs else "running" if in_use(folder) else "stopped"
    return {
        "run": str(folder),
        "model": about["model"],
        "data": about["dataset"]["name"],
        "epochs": f"{done}/{epochs}",
        "best": f"{min(bounds):.2f} nats" if bounds else "-",
        "state": state,
    }


def show(path: Path, as_json: bool) -> str:
    """Return a checkpoint's manifest, its digest and its tensors."""
    header = manifest.read_header(path)
    about = asdict(header.manifest) | {"sha256": header.digest, "checkpoint": str(path)}
    if as_json:
        return json.dumps(about | {"tensors": header.tensors})
    numbers = sum(_numel(entry["shape"]) for entry in header.tensors.values())
    rows = [[key, _plain(value)] for key, value in about.items() if value not in ({}, [])]
    rows.append(["tensors", f"{len(header.tensors)}, {numbers:,} numbers"])
    return "\n".join(f"{key:11s} {value}" for key, value in rows)


def _numel(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(_plain, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text under their heads, aligned."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in [head, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def verify(
    paths: Sequence[Path], as_json: bool, count: Callable[[Path], dict[str, int]] | None = None
) -> tuple[str, bool]:
    """Return a line per checkpoint file with its digest and versions, and whether all are whole.

    count, where it is given, returns how many numbers of a file are NaN and infinite.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.safetensors")) if path.is_dir() else [path])]
    rows, whole = [], bool(files)
    for file in files:
        try:
            data = manifest.read_bytes(file)
            header = manifest.parse(data, len(data), file)
            manifest.verify(data, header, file)
            about = header.manifest
            row = {"model": about.model, "role": about.role, "step": about.step, "versions": about.versions}
            row |= {"values": count(file)} if count else {}
            rows.append({"file": str(file), "whole": True, **row, "sha256": header.digest})
        except CheckpointError as error:
            rows.append({"file": str(file), "whole": False, "problem": str(error)})
            whole = False
    if as_json:
        return json.dumps(rows), whole
    return "\n".join(map(_verdict, rows)), whole


def _verdict(row: dict[str, Any]) -> str:
    if not row["whole"]:
        return f"damaged  {row['problem']}"
    about = f"{row['model']} {row['role']} of step {row['step']}, {_plain(row['versions'])}"
    values = f", {_plain(row['values'])}" if "values" in row else ""
    return f"whole    {row['file']}: {about}{values}, sha256 {row['sha256']}"
