"""The verb that frees the disk: what of old runs can go. No torch."""

from __future__ import annotations

import json as json_
import sys
from typing import Annotated, Any

import typer

from ..errors import CheckpointError, DataError, RunInUse, UsageError
from ..runs import find, listing
from ..runs import prune as prune_
from ..runs.folder import described, root
from ..runs.prune import Spare
from ..terminal.console import result, say, size
from . import completion
from .arguments import Json, Place
from .tables import columns


def prune(
    runs: Annotated[
        list[str] | None, typer.Argument(help="runs, by name or folder (default: all)", autocompletion=completion.runs)
    ] = None,
    out: Place = None,
    unfinished: Annotated[
        bool,
        typer.Option("--unfinished", metavar="", help="states of unfinished runs too: those cannot go on then"),
    ] = False,
    weights: Annotated[
        bool, typer.Option("--weights", metavar="", help="the weights too, of the runs that you name")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="delete without a question")] = False,
    json: Json = False,
) -> None:
    """Delete what finished runs need no more: their training states. It lists them and what that frees, then asks."""
    if weights and not runs:
        raise UsageError("--weights is for runs that you name: genctl prune RUN --weights")
    place = out or root()
    folders = [find.find(name, place) for name in runs] if runs else described(place)
    listed = [listing.listing_of(folder) for folder in folders]
    for run in listed if runs else []:
        if run.state == "unreadable":
            raise CheckpointError(run.why)
        if run.state == "running":
            raise RunInUse(f"{run.folder} is in use: another process trains there; nothing was deleted.")
    found = prune_.spare(listed, unfinished, weights)
    total = size(sum(file.bytes for file in found))
    if not json:
        _tell(found, total)
    gone, problems = ([], []) if not found or not _agreed(yes, json, f"{len(found)} files, {total}") else delete(found)
    if json:
        files = [_entry(file) for file in found]
        result(json_.dumps({"files": files, "bytes": sum(file.bytes for file in found), "deleted": len(gone)}))
    elif gone:
        result(f"deleted {len(gone)} files; {size(sum(file.bytes for file in gone))} are free")
    if problems:
        raise DataError(problems[0])


def delete(files: list[Spare]) -> tuple[list[Spare], list[str]]:
    """Delete the files; all problems but the first are said here."""
    gone, problems = prune_.remove(files)
    for problem in problems[1:]:
        say(problem)
    return gone, problems


def _tell(found: list[Spare], total: str) -> None:
    """Print what can go, a row a file."""
    rows = [[str(file.path), file.what, file.run.state, size(file.bytes)] for file in found]
    if rows:
        result(*columns(["file", "what", "run is", "size"], [*rows, ["together", "", "", total]]))
    else:
        result("nothing to delete: no finished run has a training state")


def _entry(file: Spare) -> dict[str, Any]:
    own = {"run": str(file.run.folder), "state": file.run.state}
    return {"file": str(file.path), "what": file.what, **own, "bytes": file.bytes}


def _agreed(yes: bool, json: bool, what: str) -> bool:
    """Tell whether to delete; raise UsageError where nobody can be asked."""
    if yes or json:
        return yes
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("nothing was deleted, for nobody can be asked here; give --yes.")
    return typer.confirm(f"delete {what}?", err=True)
