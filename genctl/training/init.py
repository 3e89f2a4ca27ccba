"""Another run's weights as the start of a training."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..checkpoint import tensors as checkpoint
from ..checkpoint.manifest import read_header
from ..errors import CheckpointError, UsageError
from ..models.base import Model
from ..runs import find
from ..runs.folder import WEIGHTS
from ..terminal.reporter import Reporter

NAMED = 5  # tensors in a sentence


def weights(name: str, model: Model, reporter: Reporter) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a weights file that fit the model, and the file's digest; say which do not.

    Raises CheckpointError for a file that is no sound weights file, UsageError where nothing fits, or not all of a
    frozen player.
    """
    path = find.find(name)
    path = path / WEIGHTS if path.is_dir() else Path(path)
    about, stored = checkpoint.load(path)
    if about.role != "weights" or about.model != model.config.name:
        raise CheckpointError(f"{path} holds {about.role} of {about.model}; --init takes weights of the same model.")
    own = model.state_dict()
    fitting = {n: t for n, t in stored.items() if n in own and (own[n].shape, own[n].dtype) == (t.shape, t.dtype)}
    if not fitting:
        raise UsageError(f"no weights of {path} have the shapes of this model; choose the same --arch and sizes.")
    other = [n for n in own if n not in fitting]
    still = [n for n, p in model.named_parameters() if not p.requires_grad and n in other]
    if still:
        raise UsageError(
            f"--freeze keeps what {path} has, and {len(still)} tensors have no equal there ({named(still)});"
            " choose the same --arch and sizes."
        )
    if other:
        reporter.say(
            f"warning: {len(other)} of {len(own)} tensors have no equal in {path} and start anew: {named(other)}."
        )
    return fitting, read_header(path).digest


def named(tensors: list[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" and {len(tensors) - NAMED} more" if len(tensors) > NAMED else ""
    return ", ".join(tensors[:NAMED]) + more
