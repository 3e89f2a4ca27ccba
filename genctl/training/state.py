"""The whole training state as named tensors, for an exact resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..checkpoint import tensors as checkpoint
from ..checkpoint.manifest import Header, Manifest
from ..checkpoint.tensors import compare, specs, specs_of
from ..errors import CheckpointError
from .loop import Training
from .optimizers import STATE, Adam

if TYPE_CHECKING:
    from .experiment import Run

SCALAR = (torch.float32, ())  # of Adam's count of steps


def tensors_of(training: Training) -> dict[str, Tensor]:
    """Return every tensor that the next step depends on, by name."""
    tensors = _under("model/", training.model.state_dict())
    if training.ema is not None:
        tensors |= _under("ema/", training.ema.state_dict())
    for player, optimizer in training.optimizers.items():
        for name, parameter in _named(training, optimizer).items():
            tensors |= _under(f"optimizer/{player}/{name}/", optimizer.state.get(parameter, {}))
    return tensors | _under("totals/", training.totals)


def check(training: Training, header: Header, path: Path) -> None:
    """Raise CheckpointError if a state's tensors are not those of this training; this reads the header alone."""
    compare(specs(training.model.state_dict()), specs_of(header, "model/"), path)
    if training.ema is not None:
        compare(specs(training.ema.state_dict()), specs_of(header, "ema/"), path)
    for player, optimizer in training.optimizers.items():
        saved = specs_of(header, f"optimizer/{player}/")
        for name, parameter in _named(training, optimizer).items():
            for key in STATE:
                own = SCALAR if key == "step" else (parameter.dtype, tuple(parameter.shape))
                entry = f"{name}/{key}"
                if entry not in saved:
                    raise CheckpointError(f"{path} lacks {entry!r} of the optimizer.")
                if saved[entry] != own:
                    raise CheckpointError(f"{path} has another shape or type of {entry!r} than the optimizer.")
    totals = specs_of(header, "totals/")
    if not totals or any(shape for _, shape in totals.values()):
        raise CheckpointError(f"{path} lacks the sums of its epoch; it is no whole state.")


def restore(training: Training, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put a state's tensors back, once they are checked."""
    checkpoint.fill(training.model, _part("model/", tensors), path)
    if training.ema is not None:
        checkpoint.fill(training.ema, _part("ema/", tensors), path)
    for player, optimizer in training.optimizers.items():
        saved = _part(f"optimizer/{player}/", tensors)
        for name, parameter in _named(training, optimizer).items():
            for key, entry in optimizer.fresh(parameter).items():
                entry.copy_(saved[f"{name}/{key}"])
    training.totals = {name: t.to(training.device) for name, t in _part("totals/", tensors).items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _named(training: Training, optimizer: Adam) -> dict[str, nn.Parameter]:
    """Return an optimizer's parameters by their names, in its order."""
    by_identity = {id(p): name for name, p in training.model.named_parameters()}
    return {by_identity[id(p)]: p for p in optimizer.parameters}


def manifest_of(run: Run, role: str) -> Manifest:
    """Return what a file of this step of a run says of itself."""
    named = {"classes": list(run.data.class_names)} if run.config.classes else {}
    about = {"name": run.data.name, "digest": run.data.digest, "train_images": len(run.pixels)}
    return Manifest(
        model=run.config.name,
        config=run.config.to_dict(),
        train=run.train.shaping() | ({"init": run.init} if run.init else {}),
        shape=run.model.shape,
        dataset={**about, **run.data.about, **named},
        role=role,
        step=run.training.step,
        epoch=run.epoch,
        metrics=run.metrics,
        progress={"best": run.validation.best, "seconds": run.seconds} if role == "state" else {},
        versions=checkpoint.versions(),
    )
