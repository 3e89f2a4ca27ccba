"""A run's folder: what lies in it, and its name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..checkpoint import atomic, schema
from ..checkpoint.schema import DATASET, MODEL, NUMBER, SCALAR, SPLIT, TEXT, VERSIONS, Kind, list_of, record, whole
from ..errors import CheckpointError, DataError, Diverged, UsageError
from ..terminal.console import typed

ROOT = Path("checkpoints")
PLACE = "GENCTL_RUNS"  # the environment's word for another folder of runs
WEIGHTS = "model.safetensors"
PREVIEW_SEED = 0  # of a run's sample grids
MOST_WHY = 300  # characters of what ended a run
KEPT_STATES = 2  # while a run goes on: the older one is there in case the newer is damaged


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run's config.json: all that it takes to go on with it, and where it came from."""

    model: str
    config: dict[str, Any]  # every option of the model
    train: dict[str, Any]  # every option of the training
    schedule_epochs: int  # the epoch at which the learning rate's schedule ended when the run started
    started: str  # ISO 8601, UTC
    dataset: dict[str, Any]  # name and digest
    device: str
    threads: int
    processes: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    extensions: list[dict[str, Any]] = field(default_factory=list)  # more epochs, the oldest first: step, epochs, how
    id: str = ""  # random, 32 hexadecimal digits; a state carries it too
    ended: str = ""  # "diverged" or "failed", until it goes on
    why: str = ""  # the sentence with which it ended so

    def after(self, error: Exception) -> RunConfig:
        """Return it with what has ended the run, and why."""
        why = " ".join(str(error).split())[:MOST_WHY] or type(error).__name__
        return replace(self, ended="diverged" if isinstance(error, Diverged) else "failed", why=why)

    def write(self, folder: Path) -> None:
        """Write config.json."""
        atomic.write(folder / "config.json", (json.dumps(asdict(self), indent=2) + "\n").encode())


PATIENCE = whole(1).or_null().optional()
CONFIG = record(  # of a config.json
    {
        "model": TEXT,
        "config": MODEL,
        "train": record({"epochs": whole(1), "patience": PATIENCE, "dataset": TEXT.optional(), **SPLIT}, SCALAR),
        "schedule_epochs": whole(1),
        "started": TEXT,
        "dataset": DATASET,
        "device": TEXT,
        "threads": whole(1),
        "processes": whole(1).optional(),
        "versions": VERSIONS.optional(),
        "command": list_of(TEXT).optional(),
        "extensions": list_of(record()).optional(),
        "id": TEXT.optional(),
        "ended": TEXT.optional(),
        "why": TEXT.optional(),
    }
)
LINE = record(  # of a metrics.jsonl
    {"epoch": whole(1), "step": whole(1), "seconds": NUMBER.optional(), "images_per_second": NUMBER.optional()},
    NUMBER.or_null(),
)
MOST_CONFIG_BYTES, MOST_METRICS_BYTES = 1 << 20, 1 << 26


def read_config(folder: Path) -> RunConfig:
    """Return a run's config.json; raise CheckpointError if the folder is no run."""
    try:
        found = schema.parse(schema.read_text(folder / "config.json", MOST_CONFIG_BYTES))
        CONFIG.check(found)
    except (OSError, ValueError) as error:
        if is_model(folder):
            raise CheckpointError(
                f"{folder} holds an exported model, and no run; --init {folder} starts one."
            ) from error
        why = "it has no readable config.json" if isinstance(error, OSError) else f"config.json: {error}"
        raise CheckpointError(f"{folder} is not the folder of a run: {why}; `genctl runs` lists the runs.") from error
    return RunConfig(**{f.name: found[f.name] for f in fields(RunConfig) if f.name in found})


EXPORTED = record({"kind": Kind("model", lambda value: value == "model"), "model": TEXT, "config": MODEL})


def is_model(folder: Path) -> bool:
    """Tell whether a folder holds an exported model: its config.json says so, and a run's never does."""
    with suppress(OSError, ValueError):
        EXPORTED.check(schema.parse(schema.read_text(folder / "config.json", MOST_CONFIG_BYTES)))
        return True
    return False


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl; a torn last line is left out, a damaged one is a CheckpointError."""
    lines = text_of_metrics(folder).split("\n")[:-1]
    return [parsed_line(folder, lines, i) for i in range(len(lines))]


def text_of_metrics(folder: Path) -> str:
    """Return the whole lines of metrics.jsonl as text, "" where there is no such file."""
    path = folder / "metrics.jsonl"
    try:
        return schema.read_text(path, MOST_METRICS_BYTES, torn=True)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise _damaged(path, 1, error) from error


def parsed_line(folder: Path, lines: list[str], i: int) -> dict[str, Any]:
    """Return one of the lines of metrics.jsonl; raise CheckpointError for a damaged one."""
    try:
        found: dict[str, Any] = schema.parse(lines[i])
        LINE.check(found)
        return found
    except ValueError as error:
        raise _damaged(folder / "metrics.jsonl", i + 1, error) from error


def _damaged(path: Path, line: int, error: ValueError) -> CheckpointError:
    return CheckpointError(f"{path} is damaged (line {line}: {error}); remove the broken line.")


def unimproved(bounds: Mapping[int, float]) -> int:
    """Return the epochs since the validation bound was lowest, of the bound of each epoch; 0 where there is none."""
    return max(bounds) - min(bounds, key=lambda epoch: (bounds[epoch], epoch)) if bounds else 0


def root() -> Path:
    """Return the folder that holds the runs: $GENCTL_RUNS, by default checkpoints."""
    return Path(os.environ.get(PLACE) or ROOT)


def all_runs(place: Path | None = None) -> list[Path]:
    """Return the run folders under a place, the oldest first by the start time in their config.json."""
    found = []
    for folder in described(place or root()):
        with suppress(CheckpointError):
            found.append((read_config(folder).started, folder))
    return [folder for _, folder in sorted(found)]


def described(root: Path) -> list[Path]:
    """Return the folders under root that have a config.json, whatever is in it."""
    return sorted(path.parent for path in root.glob("*/config.json"))


def states(folder: Path) -> list[Path]:
    """Return the run's saved training states, the newest first; a copy under another name is none of them."""
    found = [(re.fullmatch(r"state-(\d{8,})\.safetensors", path.name), path) for path in folder.glob("state-*")]
    return [path for _, path in sorted(((int(m[1]), path) for m, path in found if m), reverse=True)]


def prune_states(
    folder: Path, kept: int = KEPT_STATES, newest: Path | None = None, descriptor: int | None = None
) -> None:
    """Remove all states but the newest ones; to be called once the newest is durable.

    Later ones than the newest were passed over by a resume: they stay, and do not count. With the folder's descriptor
    they are removed from that folder, whatever has its name by now.
    """
    found = states(folder)
    if newest is not None:
        found = found[found.index(newest) :] if newest in found else []
    for old in found[kept:]:
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
