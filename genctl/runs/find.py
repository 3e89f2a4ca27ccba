"""Where runs and weights are: found by name, by folder or by age, without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint import manifest
from ..errors import CheckpointError, UsageError
from ..models import registry
from ..terminal.console import typed
from .folder import WEIGHTS, all_runs, read_config, root


@dataclass(frozen=True)
class Source:
    """The weights that a verb was asked to use."""

    model: str
    path: Path
    folder: Path  # where its pictures go by default
    shipped: bool = False


def shipped(model: str) -> Path | None:
    """Return the weights that come with genctl: beside a checkout's package, or inside an installed one."""
    package = Path(__file__).parents[1]
    for folder in (package / "weights", package.parent / "checkpoints"):
        if (folder / f"{model}.safetensors").is_file():
            return folder / f"{model}.safetensors"
    return None


def find(name: str, runs: Path | None = None) -> Path:
    """Return the file or folder that a name means: a path, or a run in the folder of runs."""
    for path in (Path(name), (runs or root()) / name):
        if os.path.exists(path):  # unlike Path.exists, it takes any name
            return path
    raise CheckpointError(f"there is no checkpoint or run {name}; `genctl runs` lists the runs.")


def resolve(model: str, checkpoint: str | None = None, runs: Path | None = None) -> Source:
    """Return the weights of `MODEL [CHECKPOINT]` or of a path alone: given, of the newest run, or shipped.

    runs is the folder that holds the runs.
    """
    runs = runs or root()
    if checkpoint is None and not registry.known(model):
        if _looks_like_path(model, runs):
            return _source(find(model, runs))
        registry.load(model)  # says that there is no such model
    registry.load(model)
    if checkpoint is None:
        return _newest(model, runs)
    source = _source(find(checkpoint, runs))
    if source.model != model:
        raise CheckpointError(f"{source.path} holds a {source.model}, not a {model}; say {source.model}.")
    return source


def _looks_like_path(word: str, runs: Path) -> bool:
    return "/" in word or "." in word or os.path.exists(word) or os.path.exists(runs / word)


def _source(path: Path) -> Source:
    if path.is_dir():
        if not (path / WEIGHTS).is_file():
            raise CheckpointError(f"{path} holds no {WEIGHTS}; is it a run, and has it saved?")
        path = path / WEIGHTS
    return Source(manifest.read(path).model, path, path.parent)


def _newest(model: str, runs: Path) -> Source:
    for folder in reversed(all_runs(runs)):
        if read_config(folder).model == model and (folder / WEIGHTS).is_file():
            return Source(model, folder / WEIGHTS, folder)
    path = shipped(model)
    if path is None:
        raise CheckpointError(f"there is no trained {model} yet; type: genctl train {model}")
    return Source(model, path, Path(), shipped=True)


def to_begin_from(model: str, name: str) -> Path:
    """Return the weights of --init: a path, a run by its name, or for the model's own name its newest run's."""
    if name == model and not any(os.path.exists(path) for path in (Path(name), root() / name)):
        return _newest(model, root()).path
    return find(name)


def images_path(what: str) -> Path | None:
    """Return the path of images that a word names: an .npz file, or a folder that is no run; else None."""
    path = Path(what)
    if registry.known(what):
        return None
    if path.suffix == ".npz":
        return path
    is_run = (path / "config.json").is_file() or (path / WEIGHTS).is_file()
    return path if path.is_dir() and not is_run else None


def run_folder(name: str, runs: Path | None = None) -> Path:
    """Return the folder of a run: a path, a name in the folder of runs, or the newest run of a model."""
    runs = runs or root()
    if registry.known(name) and not os.path.exists(name) and not os.path.exists(runs / name):
        for folder in reversed(all_runs(runs)):
            if read_config(folder).model == name:
                return folder
        raise CheckpointError(f"there is no run of {name} under {runs}; start one: genctl train {name}")
    return find(name, runs)


def one_data_set(sources: Sequence[Source]) -> None:
    """Raise UsageError if the weights are of different data; this reads headers alone."""
    seen: dict[str, str] = {}
    for source in sources:
        about = manifest.read(source.path).dataset
        seen[about["digest"]] = about["name"]
    if len(seen) > 1:
        names = " and ".join(seen.values())
        raise UsageError(f"these are models of different data ({names}); compare those of one data set.")


def to_resume(model: str, name: str, place: Path) -> Path:
    """Return the run folder: a path, a name under a place, or the newest run of the model for "latest"."""
    if not name:
        raise UsageError("--resume needs a run: a folder, a name, or latest; `genctl runs` lists the runs.")
    if name == "latest":
        with suppress(StopIteration):
            return next(f for f in reversed(all_runs(place)) if read_config(f).model == model)
        raise UsageError(f"there is no run of {model} under {place} to resume; start one: genctl train {model}")
    for folder in (Path(name), place / name):
        if folder.is_dir():
            return folder
    if Path(name).is_file():
        raise UsageError(
            f"{name} is a file; go on with its run: {typed('train', model, '--resume', Path(name).parent)}"
        )
    raise UsageError(f"there is no run {name}; `genctl runs` lists the runs.")
