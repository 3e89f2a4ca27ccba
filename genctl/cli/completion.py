"""What a shell may put behind a word that is half typed: models, runs, data sets, choices. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

from ..config import DATA_SETS
from ..config.values import plain
from ..errors import GenctlError
from ..models import registry
from ..pictures import cache
from ..runs.folder import WEIGHTS, all_runs, described, read_config, root

Completion = Callable[[typer.Context, str], list[str]]


def place_of(ctx: typer.Context) -> Path:
    """Return the folder of runs that the command line names so far."""
    given = ctx.params.get("runs") or ctx.params.get("out")
    return Path(given) if isinstance(given, (str, Path)) and str(given) else root()


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the runs."""
    return [folder.name for folder in described(place_of(ctx))]


def models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the models, and of the runs that have weights."""
    usable = [folder.name for folder in described(place_of(ctx)) if (folder / WEIGHTS).is_file()]
    return [*registry.names(), *usable]


def models_and_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the models that have a run, and of all runs."""
    folders = described(place_of(ctx))
    with_runs = [name for name in registry.names() if any(model_of(folder) == name for folder in folders)]
    return [*with_runs, *(folder.name for folder in folders)]


def runs_of_model(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the runs of the model that was typed before, the newest first."""
    model = ctx.params.get("model")
    folders = reversed(all_runs(place_of(ctx)))
    return [folder.name for folder in folders if model_of(folder) == model] if registry_knows(model) else []


def resumable(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return latest, and the runs of the model that is trained, the newest first."""
    folders = reversed(all_runs(place_of(ctx)))
    return ["latest", *(folder.name for folder in folders if model_of(folder) == ctx.info_name)]


def data_sets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the data sets that have a name, and the folders and files that may be one."""
    with suppress(OSError):
        start = Path(incomplete)
        folder = start if incomplete.endswith("/") else start.parent
        there = [path for path in folder.iterdir() if path.is_dir() or path.suffix in (".zip", ".npz", ".npy")]
        visible = [f"{path}/" if path.is_dir() else str(path) for path in sorted(there) if path.name[0] != "."]
        return [*DATA_SETS, *visible]
    return list(DATA_SETS)


def cached(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return what the cache folder holds."""
    return [entry.name for entry in cache.held()]


def registry_knows(model: Any) -> bool:
    """Tell whether the word typed as a model is one, not a path."""
    return isinstance(model, str) and registry.known(model)


def model_of(folder: Path) -> str | None:
    """Return the model of a run, None where its config.json cannot be read."""
    with suppress(GenctlError):
        return read_config(folder).model
    return None


def choices(of: Sequence[Any]) -> Completion:
    """Return what completes one of some choices."""
    words = [str(choice) for choice in of]

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return words

    return complete


def of_option(name: str, kind: Any) -> Completion | None:
    """Return what completes the value of an option of a config; None leaves it to the shell: names of files."""
    own: dict[str, Completion] = {"dataset": data_sets, "resume": resumable, "init": runs}
    return own.get(name) or (choices(get_args(plain(kind))) if get_origin(plain(kind)) is not None else None)
