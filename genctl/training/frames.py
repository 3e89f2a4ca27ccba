"""The samples of a run's epochs, as they lie in its folder, for a page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy

from ..checkpoint import atomic
from ..page.html import size_of
from ..page.records import Frame
from ..pictures import decoding
from ..pictures.regular import Unreadable

NAME = re.compile(r"epoch-(\d{1,9})(?:-([\w-]{1,40}))?\.png")
MOST_FRAMES = 40  # of a kind
MOST_BYTES = 2_000_000  # of all
LARGEST = 4096, 1 << 24  # pixels on a side, and bytes, of a file that is read
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def of(folder: Path, order: Sequence[str], last_only: bool = False) -> dict[str, list[Frame]]:
    """Return the samples of each kind by epoch: the first, the last, and as many between as a page holds.

    order: the endings of the names, in the order in which the kinds are shown.
    """
    found: dict[str, list[tuple[int, Path]]] = {ending: [] for ending in order}
    for path in folder.glob("epoch-*.png"):
        if match := NAME.fullmatch(path.name):
            found.setdefault(match[2] or "", []).append((int(match[1]), path))
    kinds = {ending: sorted(paths) for ending, paths in found.items() if paths}
    many = 1 if last_only else MOST_FRAMES
    while True:
        frames = {label(ending): read(thinned(paths, many)) for ending, paths in kinds.items()}
        if many <= 2 or sum(len(frame.png) for each in frames.values() for frame in each) <= MOST_BYTES:
            return {name: each for name, each in frames.items() if each}
        many //= 2


def label(ending: str) -> str:
    """Return what a kind is called."""
    return ending.replace("-", " ").capitalize() or "Samples"


def thinned(paths: Sequence[tuple[int, Path]], many: int) -> list[tuple[int, Path]]:
    """Return so many of them at equal distances, the last one in any case."""
    n = len(paths)
    if n <= many:
        return list(paths)
    if many == 1:
        return [paths[-1]]
    return [paths[round(i * (n - 1) / (many - 1))] for i in range(many)]


def read(paths: Sequence[tuple[int, Path]]) -> list[Frame]:
    """Return the frames whose files are sound pictures."""
    read = [(epoch, native(path)) for epoch, path in paths]
    return [Frame(epoch, png) for epoch, png in read if png is not None]


def native(path: Path) -> bytes | None:
    """Return a grid as a PNG of its own pixels, not enlarged; None for a file that is no such picture."""
    from PIL import Image

    try:
        data = atomic.read(path)
        most_side, most_bytes = LARGEST
        if len(data) > most_bytes or not data.startswith(SIGNATURE) or max(size_of(data)) > most_side:
            return None
        pixels = decoding.decode(io.BytesIO(data), (0, 0, 0))
    except (OSError, Unreadable):
        return None
    small = reduced(pixels)
    buffer = io.BytesIO()
    Image.fromarray(small[..., 0] if small.shape[2] == 1 else small).save(buffer, format="png")
    return buffer.getvalue()


def reduced(pixels: numpy.ndarray) -> numpy.ndarray:
    """Return a picture that was enlarged by whole pixels as it was before."""
    H, W = pixels.shape[:2]
    for factor in range(16, 1, -1):
        if H % factor == W % factor == 0:
            small = pixels[::factor, ::factor]
            if (numpy.repeat(numpy.repeat(small, factor, 0), factor, 1) == pixels).all():
                return numpy.ascontiguousarray(small)
    return pixels
