"""From typed options to a training: a new run, or the way back into one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import data
from ..checkpoint import atomic, tensors
from ..config import ModelConfig, TrainConfig, flag, options_of
from ..errors import UsageError
from ..models import registry
from ..runs.folder import ROOT, all_runs, lock, make_folder, read_config
from ..terminal.console import say
from .experiment import Run, TimeUp

OF_THIS_COMMAND = ("max_minutes", "quiet", "json", "resume")  # not taken from the run that is resumed
OF_THE_FOLDER = ("out", "name", "resume")


def train(model: str, typed: Mapping[str, Any], command: Sequence[str]) -> None:
    """Start or resume a run of the model; typed holds only the options that the user gave."""
    if typed.get("resume") is not None:
        resume(model, typed)
    else:
        start(model, typed, command)


def start(model: str, typed: Mapping[str, Any], command: Sequence[str]) -> None:
    """Train in a new folder."""
    kind = registry.load(model)
    mine, shared = divide(kind, typed)
    config, train = kind(**mine), kind.train_config(**shared)
    check_arch(config, mine)
    run = build(config, train, train.epochs)
    if run.device.type != "cuda" and (train.precision == "bf16" or train.tune):
        say(f"warning: --precision bf16 and --tune are for CUDA; on {run.device.type} they change nothing.")
    folder = make_folder(train.out, train.name, model)
    with lock(folder):
        about = {
            "model": model,
            "config": asdict(config),
            "train": asdict(train),
            "schedule_epochs": train.epochs,
            "started": datetime.now(UTC).isoformat(),
            "dataset": {"name": run.data.name, "digest": run.data.digest},
            "device": run.device.type,
            "threads": torch.get_num_threads(),
            "versions": tensors.versions(),
            "command": list(command),
        }
        write_config(folder, about)
        if not train.quiet:
            say(f"training {model} on {len(run.pixels):,} images of {run.data.name} in {folder}")
        finish(run, folder)


def resume(model: str, typed: Mapping[str, Any]) -> None:
    """Go on with a run; what was typed and would make it another run is refused."""
    if typed.get("name"):
        raise UsageError("--name is for a new run; leave it out beside --resume.")
    kind = registry.load(model)
    folder = find_run(model, str(typed["resume"]), Path(typed.get("out", ROOT)))
    with lock(folder):
        about = read_config(folder)
        if about["model"] != model:
            raise UsageError(
                f"{folder} is a run of {about['model']}, not of {model};"
                f" go on with it: genctl train {about['model']} --resume {folder}"
            )
        config, stored = kind.from_dict(about["config"]), TrainConfig.from_dict(about["train"])
        refuse_changes(kind, typed, {**asdict(config), **asdict(stored)}, folder)
        fresh = {name: getattr(TrainConfig(), name) for name in OF_THIS_COMMAND}
        changed = {k: v for k, v in divide(kind, typed)[1].items() if k not in OF_THE_FOLDER}
        train = replace(stored, **{**fresh, **changed})
        run = build(config, train, about["schedule_epochs"])
        if run.data.digest != about["dataset"]["digest"]:
            raise UsageError(
                f"{train.dataset} is not the data set that {folder} was trained on; say where that is with --dataset."
            )
        for what, now in {"threads": torch.get_num_threads(), "device": run.device.type}.items():
            if now != about[what]:
                say(f"warning: {what} before: {about[what]}, now: {now}; the bits may differ.")
        run.restore(folder)
        if run.finished:
            say(f"{folder} has {run.epoch} epochs already; for more, give a larger --epochs than {run.epoch}.")
            say(f"next: genctl sample {model} {folder}")
            return
        kept = {"epochs": train.epochs, "dataset": train.dataset}
        if not kept.items() <= about["train"].items():
            write_config(folder, {**about, "train": {**about["train"], **kept}})
        atomic.remove_leftovers(folder)
        if not train.quiet:
            say(f"resuming {folder} after step {run.training.step} of {run.last}")
        finish(run, folder)


def finish(run: Run, folder: Path) -> None:
    """Train to the end, or to the time limit, and say what to type next."""
    try:
        run.execute(folder)
    except TimeUp as stop:
        say(str(stop))
        return
    if not run.train.quiet:
        say(f"next: genctl sample {run.config.name} {folder}")


def build(config: ModelConfig, train: TrainConfig, horizon: int) -> Run:
    """Return the run, with its data loaded and its model built."""
    if train.threads is not None:
        torch.set_num_threads(train.threads)
    dataset = data.load(train.dataset, train.train_size, train.validation)
    return Run(config, train, dataset, horizon)


def write_config(folder: Path, about: Mapping[str, Any]) -> None:
    """Write config.json."""
    atomic.write(folder / "config.json", (json.dumps(about, indent=2) + "\n").encode())


def divide(kind: type[ModelConfig], typed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the model's options and the shared ones among those typed."""
    shared = {f.name for f in fields(TrainConfig)}
    mine = {name: value for name, value in typed.items() if name not in shared}
    return mine, {name: value for name, value in typed.items() if name in shared}


def check_arch(config: ModelConfig, typed: Mapping[str, Any]) -> None:
    """Raise UsageError for a typed option that only another --arch has."""
    for name in typed:
        owners = options_of(type(config))[name][1].arch.split()
        if owners and getattr(config, "arch", owners[0]) not in owners:
            raise UsageError(f"{flag(name)} belongs to --arch {' or '.join(owners)}, not to --arch {config.arch}.")  # type: ignore[attr-defined]


def refuse_changes(kind: type[ModelConfig], typed: Mapping[str, Any], stored: Mapping[str, Any], folder: Path) -> None:
    """Raise UsageError if a typed option that shapes the run differs from the run's."""
    known = {**options_of(kind), **options_of(TrainConfig)}
    differing = [
        f"{flag(name)} is {stored.get(name)}, not {value}"
        for name, value in typed.items()
        if not known[name][1].free and value != stored.get(name)
    ]
    if differing:
        raise UsageError(f"{folder} cannot go on with other options: {'; '.join(differing)}. Leave these out.")


def find_run(model: str, name: str, root: Path) -> Path:
    """Return the run folder: a path, a name under root, or the newest run of the model for "latest"."""
    if not name:
        raise UsageError("--resume needs a run: a folder, a name, or latest; `genctl runs` lists the runs.")
    if name == "latest":
        with suppress(StopIteration):
            return next(f for f in reversed(all_runs(root)) if read_config(f)["model"] == model)
        raise UsageError(f"there is no run of {model} under {root} to resume; start one: genctl train {model}")
    for folder in (Path(name), root / name):
        if folder.is_dir():
            return folder
    if Path(name).is_file():
        raise UsageError(f"{name} is a file; go on with its run: genctl train {model} --resume {Path(name).parent}")
    raise UsageError(f"there is no run {name}; `genctl runs` lists the runs.")
