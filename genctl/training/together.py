"""A run of several processes: rank 0 leads it, the others follow; and the way back after one of them was killed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import CheckpointError, Stopped
from ..ranks import meeting
from ..ranks.group import here
from ..runs.folder import read_config
from ..terminal.signals import StopRequest
from . import state
from .division import Question
from .loop import Training, fit
from .schedule import Extension, Schedule

if TYPE_CHECKING:
    from .experiment import Run


def again(chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what was chosen; where torchrun starts the processes anew, to go on with the run that they had begun."""
    begun = meeting.begun() if meeting.launched() and here().leads else None
    folder = here().tell(begun if begun and (Path(begun) / "config.json").exists() else None)
    if folder is None:
        return chosen
    kept = {name: value for name, value in chosen.items() if name not in ("name", "out")}
    with suppress(CheckpointError):
        if here().leads and kept.get("epochs") == read_config(Path(folder)).train["epochs"]:
            kept.pop("extend", None)  # it was done
    return {**kept, "resume": folder}


def remember(folder: Path) -> None:
    """Keep the run's folder for the next attempt, before there is a config.json in it."""
    if meeting.launched():
        meeting.begin(str(folder))


def begin(run: Run, folder: Path) -> None:
    """Give all processes the state that rank 0 has, before the first step."""
    remember(folder)
    training = run.training
    run.ranks.tell(
        {
            "folder": str(folder),
            "step": training.step,
            "last": run.last,
            "best": run.validation.best,
            "bounds": list(run.validation.bounds.items()),
            "schedule": run.schedule,
            "totals": list(training.totals),
            "initial": list(training.initial),
        }
    )
    run.ranks.copy(tensors_of(training))


def follow(run: Run) -> Path:
    """Take part in a run that rank 0 leads: its steps, its validations and its end; return its folder."""
    said, training = run.ranks.tell(), run.training
    training.step, run.last, run.validation.best = said["step"], said["last"], said["best"]
    run.validation.bounds = {epoch: nats for epoch, nats in said["bounds"]}
    end, per_epoch, extensions = said["schedule"]
    run.schedule = Schedule(end, per_epoch, [Extension(*each) for each in extensions])
    prepare(training, said["totals"])
    run.ranks.copy(tensors_of(training))
    training.initial = {name: t for name, t in copied(training.model.state_dict()).items() if name in said["initial"]}
    question = Question(run.ranks, training.step)
    with StopRequest() as stop:
        for step in () if run.finished else fit(training, run.pixels, run.labels, run.last, run.schedule):
            epoch_ends = step.step % run.per_epoch == 0
            number, late = question(step.step, epoch_ends, stop.number, False)
            if epoch_ends:
                run.validate(run.means())
            if (number or late) and not run.finished:
                run.ranks.most(0)  # until rank 0 has saved the state
                if number:
                    raise Stopped("stopped with the other processes", number)
                break
            if run.finished:  # perhaps before the last step, by --patience
                break
    return Path(said["folder"])


def prepare(training: Training, totals: list[str]) -> None:
    """Make what a state holds beside the weights: the optimizers' and the sums of the epoch."""
    for optimizer in training.optimizers.values():
        for parameter in optimizer.parameters if training.step else ():
            optimizer.fresh(parameter)
    training.totals = {name: torch.zeros((), device=training.device) for name in totals}


def tensors_of(training: Training) -> list[Tensor]:
    """Return the tensors of a state, in the same order in all processes."""
    return [t for _, t in sorted(state.tensors_of(training).items())]


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors."""
    return {name: t.clone() for name, t in tensors.items()}
