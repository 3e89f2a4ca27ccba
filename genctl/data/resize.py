"""Images of data sets with a shape of their own, in another one."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from ..errors import DataError
from ..pictures import fitting
from ..pictures.reading import Reading

Part = tuple[Tensor, Tensor | None]  # images uint8 [N, C, H, W], labels [N]


def fitted(part: Part, reading: Reading, name: str) -> Part:
    """Return the images in the size and channels that were asked for, else as they are."""
    pixels, labels = part
    C, H, W = pixels.shape[1:]
    size, channels = reading.size or (H, W), reading.channels or C
    if (channels, *size) == (C, H, W):
        return part
    if C not in (1, 3):
        raise DataError(f"{name} has {C} channels; only images of 1 or 3 are made another size or colour.")
    rows = pixels.permute(0, 2, 3, 1).numpy()
    made = numpy.empty((len(rows), channels, *size), dtype=numpy.uint8)
    for i, row in enumerate(rows):
        made[i] = fitting.fit(numpy.ascontiguousarray(row), size, channels, reading)
    return torch.from_numpy(made), labels
