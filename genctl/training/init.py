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

    Raises CheckpointError for a file that is no sound weights file, UsageError where nothing fits.
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
    if other:
        more = f" and {len(other) - NAMED} more" if len(other) > NAMED else ""
        reporter.say(
            f"warning: {len(other)} of {len(own)} tensors have no equal in {path} and start anew:"
            f" {', '.join(other[:NAMED])}{more}."
        )
    return fitting, read_header(path).digest
