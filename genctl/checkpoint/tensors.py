"""Tensors <-> one sealed safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import CheckpointError
from . import atomic, manifest
from .manifest import Manifest


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
