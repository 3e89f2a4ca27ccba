"""The verbs that list: models, runs, show and verify. No torch."""

from __future__ import annotations

import json as json_
from collections.abc import Callable
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from ..checkpoint import manifest
from ..config import augmentation_in, options_of
from ..errors import CheckpointError, Edited, UsageError
from ..models import registry
from ..runs import find, listing
from ..runs.folder import root
from ..terminal.console import duration, result, say, size
from . import completion
from .arguments import Checkpoint, Json, Name, Place, Runs
from .tables import columns, plain


def models(json: Json = False) -> None:
    """List the models and what each can do."""
    rows = []
    for name in registry.usable():
        kind = registry.load(name)
        known = options_of(kind)
        forms = list(get_args(known["arch"][0])) if "arch" in known else []
        about = (kind.__doc__ or "").strip().splitlines()[0].rstrip(".")
        rows.append({"model": name, "arch": forms, "can": sorted(kind.can), "about": about})
    for problem in registry.problems():
        say(f"warning: {problem}")
    if json:
        result(json_.dumps(rows))
    else:
        result(*columns(["model", "arch", "can", "about"], [[plain(v) for v in row.values()] for row in rows]))


def explain(model: Annotated[str, typer.Argument(metavar="MODEL", help="a model's name")]) -> None:
    """Say what a model is: its mathematics, what its curves mean, what to expect, what goes wrong."""
    result(*registry.explanation(model).splitlines())


def list_runs(
    out: Place = None,
    sort: Annotated[
        Literal["started", "name", "model", "best", "epochs", "time", "disk", "state"],
        typer.Option("--sort", metavar="KEY", help=f"order: {', '.join(listing.SORTS)}"),
    ] = "started",
    json: Json = False,
) -> None:
    """List the runs, the newest first, and after them the folders that cannot be read."""
    out = out or root()
    rows = listing.listed(out, sort)
    if json:
        result(json_.dumps([row.to_dict() for row in rows]))
    elif rows:
        head = ["run", "model", "data", "epochs", "best", "started", "time", "disk", "state"]
        result(*columns(head, [_row(row.to_dict()) for row in rows]))
    else:
        result(f"no runs under {out} yet; type: genctl train vae")


def _row(run: dict[str, Any]) -> list[str]:
    """Return a run as a row of text."""
    state = f"running (pid {run['pid']})" if run["pid"] else run["state"]
    started = run["started"][5:16].replace("T", " ") or "-"
    took = duration(run["seconds"]) if run["seconds"] else "-"
    own = [run[name] for name in ("run", "model", "data", "epochs", "best")]
    return [*own, started, took, size(run["bytes"]), f"{state}: {run['why']}" if run["why"] else state]


def show(model: Name, checkpoint: Checkpoint = None, json: Json = False, runs: Runs = None) -> None:
    """Print what a checkpoint says of itself."""
    path = find.resolve(model, checkpoint, runs).path
    header = manifest.read_header(path)
    about = asdict(header.manifest) | {"sha256": header.digest, "checkpoint": str(path)}
    if json:
        result(json_.dumps(about | {"tensors": header.tensors}))
        return
    numbers = sum(prod(entry["shape"]) for entry in header.tensors.values())
    rows = [[key, plain(value)] for key, value in about.items() if value not in ({}, [])]
    augmented = augmentation_in(header.manifest.train)
    rows += [["augmented", f"{augmented} (in training)"]] if augmented else []
    rows.append(["tensors", f"{len(header.tensors)}, {numbers:,} numbers"])
    result(*(f"{key:11s} {value}" for key, value in rows))


def verify(
    checkpoints: Annotated[list[str], typer.Argument(help="checkpoint files or runs", autocompletion=completion.runs)],
    values: Annotated[bool, typer.Option("--values", metavar="", help="also count NaN and infinite values")] = False,
    reseal: Annotated[
        Path | None, typer.Option("--reseal", metavar="OUT", help="seal a copy of weights that you edited")
    ] = None,
    json: Json = False,
) -> None:
    """Check that files are whole: their content has the digest that they claim. Of a folder, all in it and below."""
    count: Callable[[Path], dict[str, int]] | None = None
    if values:
        from ..checkpoint import tensors

        count = tensors.not_finite
    paths = [find.find(name) for name in checkpoints]
    if reseal is not None:
        if len(paths) > 1 or paths[0].is_dir():
            raise UsageError("--reseal seals one file; name that file.")
        from ..runs.reseal import reseal as write

        result(f"{reseal}: {'; '.join(write(paths[0], reseal))}")
        return
    files = [file for path in paths for file in (sorted(path.rglob("*.safetensors")) if path.is_dir() else [path])]
    rows = [_verdict(file, count) for file in files]
    result(*([json_.dumps(rows)] if json else map(_sentence, rows) if rows else ["no checkpoint files there"]))
    if not rows or not all(row["whole"] for row in rows):
        raise typer.Exit(CheckpointError.exit_code)


def _verdict(file: Path, count: Callable[[Path], dict[str, int]] | None) -> dict[str, Any]:
    """Return what a file says of itself and whether it is whole."""
    try:
        header = manifest.check(file)
        about = header.manifest
        row = {"model": about.model, "role": about.role, "step": about.step, "versions": about.versions}
        row |= {"values": count(file)} if count else {}
        return {"file": str(file), "whole": True, **row, "sha256": header.digest}
    except CheckpointError as error:
        return {"file": str(file), "whole": False, "edited": isinstance(error, Edited), "problem": str(error)}


def _sentence(row: dict[str, Any]) -> str:
    if not row["whole"]:
        return f"{'edited' if row['edited'] else 'damaged':8s} {row['problem']}"
    about = f"{row['model']} {row['role']} of step {row['step']}, {plain(row['versions'])}"
    values = f", {plain(row['values'])}" if "values" in row else ""
    return f"whole    {row['file']}: {about}{values}, sha256 {row['sha256']}"
