"""Small folders of pictures for the tests."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image

from genctl.terminal.reporter import Reporter
from genctl.testing.cases import bars


class Heard(Reporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        """Keep a sentence."""
        self.said.append(message)


def grey_bars(n: int) -> tuple[NDArray[numpy.uint8], list[int]]:
    """Return n grey images [n, 8, 8] that all differ, and their classes."""
    images, labels = bars(n)
    return images.numpy().astype(numpy.uint8), labels.tolist()


def write(folder: Path, n: int = 120, first: int = 0, prefix: str = "") -> Path:
    """Write images first to n - 1 as prefix/CLASS/I.png."""
    images, labels = grey_bars(n)
    for i in range(first, n):
        target = folder / prefix / str(labels[i]) / f"{i:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(target)
    return folder


def zipped(folder: Path, target: Path, inside: str = "") -> Path:
    """Write a zip of the folder's files."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, f"{inside}{path.relative_to(folder)}")
    return target
