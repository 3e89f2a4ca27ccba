"""A picture of a model: its images, how they stand, and the files that it can become."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from . import animation, image_grid
from .captions import About


class Sheet(NamedTuple):
    """Images, and how many stand in a row."""

    images: Tensor  # [N, C, H, W] in [0, 1]
    columns: int
    down: bool = False  # an animation goes down its rows, not along them
    closed: bool = False  # and ends where it begins

    def save(self, path: Path, about: About | None = None) -> None:
        """Write the images as a grid (.png) or as an array (.npz), with what they say of themselves."""
        image_grid.save(path, self.images, self.columns, about)

    def animate(self, path: Path, fps: float, about: About | None = None) -> None:
        """Write the images as an animation: what stands side by side, or in rows, comes one after the other."""
        frames = image_grid.frames(self.images, self.columns, self.down)
        whole = frames if self.closed else animation.there_and_back(frames)
        animation.save(path, whole, fps, about or {}, () if self.down else (0, len(frames) - 1))
