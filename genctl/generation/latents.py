"""The latents of images as arrays, for other programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..checkpoint import atomic
from ..data import Images
from ..errors import UsageError
from ..models.base import Encodes
from ..terminal.reporter import Advance
from .sampling import BLOCK, in_blocks

AT_ONCE = 16 * BLOCK  # images of a piece


@torch.no_grad()
def encoded(model: Encodes, chosen: Images, advance: Advance) -> dict[str, NDArray[Any]]:
    """Return latents [N, *latent_shape], what else the encoder says (mu, logvar), labels [N] and indices [N].

    An index is the image's place in the data set's file; labels are left out where there are none.
    """
    if model.config.classes and chosen.labels is None:
        raise UsageError(f"{model.config.name} is conditional, and these images have no labels.")
    names: list[str] = []

    def read(x: Tensor, y: Tensor | None = None) -> Tensor:
        found = model.posterior(x, y)
        names[:] = found
        return torch.stack(list(found.values()), dim=1)  # [N, number, *latent_shape]

    parts = []
    for index in torch.arange(len(chosen)).split(AT_ONCE):
        part = chosen.take(index)
        y = model.given(part.labels)
        parts.append(in_blocks(read, model.device, model.observe(part), *([] if y is None else [y])))
        advance(len(index))
    each = [z.numpy() for z in torch.cat(parts).unbind(1)]
    labels = {} if chosen.labels is None else {"labels": chosen.labels.numpy()}
    return {"latents": each[0], **dict(zip(names, each, strict=True)), **labels, "indices": chosen.places.numpy()}


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as an .npz file, whole or not at all; they are not copied before."""
    with atomic.writing(path) as descriptor, os.fdopen(os.dup(descriptor), "wb") as file:
        numpy.savez(file, allow_pickle=False, **arrays)
