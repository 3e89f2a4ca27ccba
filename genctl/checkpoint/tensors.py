"""Tensors <-> one sealed safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import CheckpointError
from . import atomic, manifest
from .manifest import Header, Manifest

PIECE = 1 << 22  # numbers that are looked at together
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def versions() -> dict[str, str]:
    """Return what wrote a file."""
    return {"genctl": __version__, "torch": torch.__version__}


def save(path: Path, tensors: Mapping[str, Tensor], about: Manifest) -> None:
    """Write the tensors under their manifest, whole or not at all."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    atomic.write(path, manifest.seal(safetensors.torch.save(plain), about))


def load(path: Path) -> tuple[Manifest, dict[str, Tensor]]:
    """Return manifest and tensors; raise CheckpointError for a damaged or foreign file."""
    return manifest.check(path).manifest, read(path)


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that was checked before."""
    try:
        return safetensors.torch.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error


def not_finite(path: Path) -> dict[str, int]:
    """Return how many numbers of a whole file are NaN, and how many infinite; it is read in pieces."""
    found = {"nan": 0, "infinite": 0}
    with safetensors.safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            tensor = file.get_tensor(name)
            for part in tensor.flatten().split(PIECE) if tensor.is_floating_point() else ():
                found["nan"] += int(part.isnan().sum())
                found["infinite"] += int(part.isinf().sum())
    return found


Spec = tuple[torch.dtype, tuple[int, ...]]  # a tensor's type and shape


def specs(tensors: Mapping[str, Tensor]) -> dict[str, Spec]:
    """Return type and shape of each tensor."""
    return {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()}


def specs_of(header: Header, prefix: str = "") -> dict[str, Spec]:
    """Return what a header says of the tensors whose names begin with a prefix, by the rest of the name."""
    return {
        name.removeprefix(prefix): (DTYPES[entry["dtype"]], tuple(entry["shape"]))
        for name, entry in header.tensors.items()
        if name.startswith(prefix)
    }


def compare(own: Mapping[str, Spec], theirs: Mapping[str, Spec], path: Path) -> None:
    """Raise CheckpointError unless the names, shapes and types of a file are those of the model."""
    wrong = [f"{name} is missing" for name in own if name not in theirs]
    wrong += [f"{name} is unknown" for name in theirs if name not in own]
    for name in own.keys() & theirs.keys():
        if own[name] != theirs[name]:
            wrong.append(f"{name} is {_words(theirs[name])}, not {_words(own[name])}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(f"{path} does not fit the model it names: {'; '.join(sorted(wrong)[:5])}{more}.")


def _words(spec: Spec) -> str:
    return f"{spec[0]} {list(spec[1])}"


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy the tensors into the module; raise CheckpointError unless names, shapes and types agree."""
    compare(specs(module.state_dict()), specs(tensors), path)
    module.load_state_dict(tensors)
