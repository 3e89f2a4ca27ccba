"""A run's folder: what lies in it, and its name."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..checkpoint import atomic
from ..errors import CheckpointError, DataError, UsageError
from ..terminal.console import typed

ROOT = Path("checkpoints")
PLACE = "GENCTL_RUNS"  # the environment's word for another folder of runs
WEIGHTS = "model.safetensors"
KEPT_STATES = 2


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run's config.json: all that it takes to go on with it, and where it came from."""

    model: str
    config: dict[str, Any]  # every option of the model
    train: dict[str, Any]  # every option of the training
    schedule_epochs: int  # the epoch at which the learning rate's schedule ends
    started: str  # ISO 8601, UTC
    dataset: dict[str, Any]  # name and digest
    device: str
    threads: int
    versions: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    id: str = ""  # random, 32 hexadecimal digits; a state carries it too
    ended: str = ""  # "diverged", until it goes on

    def write(self, folder: Path) -> None:
        """Write config.json."""
        atomic.write(folder / "config.json", (json.dumps(asdict(self), indent=2) + "\n").encode())


TYPES: dict[str, type] = {"model": str, "started": str, "device": str, "config": dict, "train": dict, "dataset": dict}
TYPES |= {"threads": int, "schedule_epochs": int}


def read_config(folder: Path) -> RunConfig:
    """Return a run's config.json; raise CheckpointError if the folder is no run."""
    try:
        found = json.loads(atomic.read(folder / "config.json").decode())
        if not TYPES.keys() <= found.keys():
            raise ValueError("its config.json lacks entries")
        wrong = [name for name, kind in TYPES.items() if not isinstance(found[name], kind)]
        if wrong or "epochs" not in found["train"] or "name" not in found["dataset"]:
            raise ValueError("its config.json has entries of a wrong type")
    except (OSError, ValueError, AttributeError) as error:
        why = "it has no readable config.json" if isinstance(error, OSError) else str(error)
        raise CheckpointError(f"{folder} is not the folder of a run: {why}; `genctl runs` lists the runs.") from error
    return RunConfig(**{f.name: found[f.name] for f in fields(RunConfig) if f.name in found})


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl; a torn last line is left out, a damaged one is a CheckpointError."""
    try:
        text = atomic.read(folder / "metrics.jsonl").decode()
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise CheckpointError(f"{folder / 'metrics.jsonl'} is damaged ({error}); remove the broken line.") from error
    if not all(isinstance(line, dict) and "epoch" in line for line in lines):
        raise CheckpointError(f"{folder / 'metrics.jsonl'} is damaged; remove the lines that are no epochs.")
    return lines


def root() -> Path:
    """Return the folder that holds the runs: $GENCTL_RUNS, by default checkpoints."""
    return Path(os.environ.get(PLACE) or ROOT)


def all_runs(place: Path | None = None) -> list[Path]:
    """Return the run folders under a place, the oldest first by the start time in their config.json."""
    found = []
    for path in (place or root()).glob("*/config.json"):
        with suppress(CheckpointError):
            found.append((read_config(path.parent).started, path.parent))
    return [folder for _, folder in sorted(found)]


def states(folder: Path) -> list[Path]:
    """Return the run's saved training states, the newest first; a copy under another name is none of them."""
    found = [(re.fullmatch(r"state-(\d{8,})\.safetensors", path.name), path) for path in folder.glob("state-*")]
    return [path for _, path in sorted(((int(m[1]), path) for m, path in found if m), reverse=True)]


def prune_states(folder: Path, newest: Path | None = None, descriptor: int | None = None) -> None:
    """Remove all states but the newest two; to be called once the newest is durable.

    Later ones than the newest were passed over by a resume: they stay, and do not count. With the folder's descriptor
    they are removed from that folder, whatever has its name by now.
    """
    found = states(folder)
    if newest is not None:
        found = found[found.index(newest) :] if newest in found else []
    for old in found[KEPT_STATES:]:
        os.unlink(old if descriptor is None else old.name, dir_fd=descriptor)


def next_name(model: str, place: Path) -> str:
    """Return MODEL-001 or the number after the highest there is."""
    numbers = [re.fullmatch(rf"{re.escape(model)}-(\d+)", p.name) for p in place.glob(f"{model}-*")]
    return f"{model}-{1 + max((int(m[1]) for m in numbers if m), default=0):03d}"


def half_made(folder: Path) -> bool:
    """Tell whether a start was cut short here: the folder is empty, or has what comes before a config.json alone."""
    try:
        names = {path.name for path in folder.iterdir() if not re.fullmatch(r"\..+\.\d+\.tmp", path.name)}
        return names <= {"lock", "samples"} and ("samples" not in names or not os.listdir(folder / "samples"))
    except OSError:
        return False


def make_folder(out: str, name: str | None, model: str) -> Path:
    """Return a new, writable run folder, or one of this name whose start was cut short.

    Raises UsageError if it exists, DataError if it cannot be written.
    """
    if name is not None and (name in ("", "..") or Path(name).name != name):
        raise UsageError(f"--name {name!r} must be a plain folder name; use --out for its place.")
    if name == "latest":
        raise UsageError("--name latest would be another run than --resume latest; choose another --name.")
    place = Path(out)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise DataError(f"{place} is not a folder; --out must be one.") from error
    except OSError as error:
        raise DataError(f"{place} cannot be made: {error.strerror}; choose another --out.") from error
    while True:
        folder = place / (name or next_name(model, place))
        try:
            folder.mkdir()
        except FileExistsError as error:
            if name is None:
                continue
            if not half_made(folder):
                raise UsageError(exists(folder, model)) from error
        except OSError as error:
            raise DataError(f"{folder} cannot be made: {error.strerror}; choose another --out.") from error
        try:
            (folder / "samples").mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(f"{folder} cannot be made: {error.strerror}; choose another --out.") from error
        return folder


def exists(folder: Path, model: str) -> str:
    """Return the sentence for a new run's folder that is one already."""
    return f"{folder} exists; choose another --name, or go on with it: {typed('train', model, '--resume', folder)}"
