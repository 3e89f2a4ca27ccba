"""A contact sheet: the first pictures of each class, a class in a row."""

from __future__ import annotations

import io
from pathlib import Path

import numpy
from numpy.typing import NDArray

from ..checkpoint import atomic

COLUMNS = 10
MOST_ROWS = 100
GAP = 2  # pixels between pictures
SMALLEST = 320  # the sheet is enlarged by whole pixels until its longer side has this many


def choose(labels: NDArray[numpy.int64] | None, n: int) -> list[list[int]]:
    """Return the rows of a sheet as indices: the first of each class, or the first of all."""
    if labels is None:
        return [list(range(i, min(i + COLUMNS, n))) for i in range(0, min(n, COLUMNS * COLUMNS), COLUMNS)]
    return [numpy.flatnonzero(labels == k)[:COLUMNS].tolist() for k in numpy.unique(labels)[:MOST_ROWS]]


def write(path: Path, pixels: NDArray[numpy.uint8], labels: NDArray[numpy.int64] | None) -> None:
    """Write the sheet of pictures [N, C, H, W] as a PNG file."""
    from PIL import Image

    rows = choose(labels, len(pixels))
    C, H, W = pixels.shape[1:]
    sheet = numpy.zeros((len(rows) * (H + GAP) + GAP, COLUMNS * (W + GAP) + GAP, C), dtype=numpy.uint8)
    for i, row in enumerate(rows):
        for j, index in enumerate(row):
            top, left = GAP + i * (H + GAP), GAP + j * (W + GAP)
            sheet[top : top + H, left : left + W] = pixels[index].transpose(1, 2, 0)
    picture = Image.fromarray(sheet[..., :1].squeeze(2) if C not in (1, 3) or C == 1 else sheet)
    factor = max(1, -(-SMALLEST // max(picture.size)))
    buffer = io.BytesIO()
    enlarged = (picture.width * factor, picture.height * factor)
    picture.resize(enlarged, Image.Resampling.NEAREST).save(buffer, format="png")
    atomic.write(path, buffer.getvalue())
