"""Tensors <-> one sealed safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import CheckpointError, UsageError
from ..models import registry
from ..training import precision
from . import atomic, manifest
from .manifest import Manifest

if TYPE_CHECKING:
    from ..models.base import Model


def versions() -> dict[str, str]:
    """Return what wrote a file."""
    return {"genctl": __version__, "torch": torch.__version__}


def save(path: Path, tensors: Mapping[str, Tensor], about: Manifest) -> None:
    """Write the tensors under their manifest, whole or not at all."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    atomic.write(path, manifest.seal(safetensors.torch.save(plain), about))


def load(path: Path) -> tuple[Manifest, dict[str, Tensor]]:
    """Return manifest and tensors; raise CheckpointError for a damaged or foreign file."""
    data = manifest.read_bytes(path)
    header = manifest.parse(data, len(data), path)
    manifest.verify(data, header, path)
    return header.manifest, safetensors.torch.load(data)


def not_finite(path: Path) -> dict[str, int]:
    """Return how many numbers of a whole file are NaN, and how many infinite."""
    tensors = load(path)[1].values()
    kinds = {"nan": torch.isnan, "infinite": torch.isinf}
    return {name: sum(int(test(t).sum()) for t in tensors) for name, test in kinds.items()}


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy the tensors into the module; raise CheckpointError unless names, shapes and types agree."""
    own = module.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in own]
    for name in own.keys() & tensors.keys():
        ours, theirs = own[name], tensors[name]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            wrong.append(f"{name} is {theirs.dtype} {list(theirs.shape)}, not {ours.dtype} {list(ours.shape)}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(f"{path} does not fit the model it names: {'; '.join(sorted(wrong)[:5])}{more}.")
    module.load_state_dict(tensors)


def build(about: Manifest, path: Path) -> Model:
    """Return the model that a manifest describes, with random weights."""
    try:
        return registry.load(about.model).from_dict(about.config).build(about.shape)
    except (UsageError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be rebuilt: {error}") from error


def device_of(name: str) -> torch.device:
    """Return the device; auto takes a GPU where there is one."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there[name]:
        raise UsageError(f"--device {name} is not available here; use --device auto.")
    if name == "cuda":
        precision.exact()
    return torch.device(name)


def place(model: Model, device: torch.device) -> Model:
    """Move the model to the device, its convolutions laid out with channels last: a tenth faster, the same names."""
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_model(path: Path, device: str = "cpu") -> tuple[Model, Manifest]:
    """Return the model of a weights file on the device, in evaluation mode."""
    about, tensors = load(path)
    if about.role != "weights":
        raise CheckpointError(f"{path} is a training state; the weights are in model.safetensors beside it.")
    model = build(about, path)
    fill(model, tensors, path)
    return place(model, device_of(device)).eval().requires_grad_(False), about
