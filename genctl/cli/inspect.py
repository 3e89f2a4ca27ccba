"""The verbs that list: models, runs, and what checkpoints say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..errors import CheckpointError
from ..runs import find
from ..runs.folder import ROOT
from ..terminal.console import result
from .arguments import Checkpoint, Json, Name


def models(json: Json = False) -> None:
    """List the models and what each can do."""
    from . import tables

    result(tables.models(json))


def list_runs(
    out: Annotated[Path, typer.Option("--out", help="folder of the runs")] = ROOT, json: Json = False
) -> None:
    """List the runs, the oldest first."""
    from . import tables

    result(tables.runs_table(out, json))


def show(model: Name, checkpoint: Checkpoint = None, json: Json = False) -> None:
    """Print what a checkpoint says of itself."""
    from . import tables

    result(tables.show(find.resolve(model, checkpoint).path, json))


def verify(
    checkpoints: Annotated[list[str], typer.Argument(help="checkpoint files or runs")],
    values: Annotated[bool, typer.Option("--values", help="also count NaN and infinite values")] = False,
    json: Json = False,
) -> None:
    """Check that files are whole: their content has the digest that they claim."""
    from . import tables

    count: Callable[[Path], dict[str, int]] | None = None
    if values:
        from ..checkpoint import tensors

        count = tensors.not_finite
    text, whole = tables.verify([find.find(name) for name in checkpoints], json, count)
    result(text or "no checkpoint files there")
    if not whole:
        raise typer.Exit(CheckpointError.exit_code)
