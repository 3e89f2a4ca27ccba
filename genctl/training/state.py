"""The whole training state as named tensors, for an exact resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ..checkpoint import tensors as checkpoint
from ..errors import CheckpointError
from .loop import Training
from .optimizers import Adam


def tensors_of(training: Training) -> dict[str, Tensor]:
    """Return every tensor that the next step depends on, by name."""
    tensors = _under("model/", training.model.state_dict())
    if training.ema is not None:
        tensors |= _under("ema/", training.ema.state_dict())
    for player, optimizer in training.optimizers.items():
        for name, parameter in _named(training, optimizer).items():
            tensors |= _under(f"optimizer/{player}/{name}/", optimizer.state.get(parameter, {}))
    return tensors | _under("totals/", training.totals)


def restore(training: Training, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put a state's tensors back; raise CheckpointError if they are not those of this training."""
    checkpoint.fill(training.model, _part("model/", tensors), path)
    if training.ema is not None:
        checkpoint.fill(training.ema, _part("ema/", tensors), path)
    for player, optimizer in training.optimizers.items():
        saved = _part(f"optimizer/{player}/", tensors)
        for name, parameter in _named(training, optimizer).items():
            for key, entry in optimizer.fresh(parameter).items():
                found = saved.get(f"{name}/{key}")
                if found is None or found.shape != entry.shape:
                    raise CheckpointError(f"{path} lacks '{name}/{key}' of the optimizer, or has it in another shape.")
                entry.copy_(found)
    training.totals = {name: t.to(training.device) for name, t in _part("totals/", tensors).items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _named(training: Training, optimizer: Adam) -> dict[str, nn.Parameter]:
    """Return an optimizer's parameters by their names, in its order."""
    by_identity = {id(p): name for name, p in training.model.named_parameters()}
    return {by_identity[id(p)]: p for p in optimizer.parameters}
