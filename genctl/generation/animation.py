"""Pictures one after the other in one file: WebP, APNG or GIF by its ending. Without torch."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint import atomic
from ..errors import DataError, UsageError
from . import captions
from .captions import About

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".webp", ".png", ".gif")
HOLD = 4  # frames that the first and the last picture stay
STRIP = 18  # pixels under a picture for its label
MOST_FRAMES = 2_000


def there_and_back(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Return the frames and then those between its ends backwards, so that it can begin again without a jump."""
    return [*frames, *frames[-2:0:-1]]


def save(path: Path, frames: Sequence[Image.Image], fps: float, about: About, hold: Sequence[int] = ()) -> None:
    """Write frames, so many a second, for ever; those whose places are in hold stay longer.

    The pixels of WebP and APNG are exact; a GIF has 256 colours a frame.
    """
    from PIL import features

    if path.suffix == ".webp" and not features.check("webp"):
        raise UsageError("this Pillow writes no WebP; choose an --out that ends in .png or .gif.")
    one = round(1000 / fps)
    durations = [one * (HOLD if i in hold else 1) for i in range(len(frames))]
    how = {
        ".webp": lambda: {"format": "WEBP", "lossless": True, "method": 4, **captions.webp(about)},
        ".png": lambda: {"format": "PNG", **captions.png(about)},
        ".gif": lambda: {"format": "GIF", "optimize": False, **captions.gif(about)},
    }[path.suffix]()
    buffer = io.BytesIO()
    frames[0].save(buffer, save_all=True, append_images=list(frames[1:]), duration=durations, loop=0, **how)
    atomic.write(path, buffer.getvalue())


def kept(folder: Path, kind: str = "") -> list[tuple[int, Path]]:
    """Return a run's sample grids in the order of their epochs; raise DataError where there are less than two.

    kind is what stands behind the epoch in their names: "", or "means".
    """
    ending = f"-{kind}" if kind else ""
    names = [(re.fullmatch(r"epoch-(\d+)(.*)\.png", path.name), path) for path in (folder / "samples").glob("*.png")]
    found = sorted((int(name[1]), path) for name, path in names if name and name[2] == ending)
    if len(found) < 2:
        kinds = sorted({name[2].lstrip("-") for name, _ in names if name and name[2]})
        there = f"; of others there are: {', '.join(kinds)}" if kinds else ""
        raise DataError(f"{folder / 'samples'} has {len(found)} grids epoch-NNN{ending}.png, fewer than two{there}.")
    return found[:: max(1, -(-len(found) // MOST_FRAMES))]


def through_training(grids: Sequence[tuple[int, Path]]) -> list[Image.Image]:
    """Return the grids as frames, each with its epoch under it; raise DataError for what is no picture."""
    from PIL import Image, ImageDraw, UnidentifiedImageError

    frames: list[Image.Image] = []
    for epoch, path in grids:
        try:
            with Image.open(path) as picture:
                grid = picture.convert("RGB" if picture.mode not in ("L", "RGB") else picture.mode)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} cannot be read as a picture; remove it.") from error
        first = frames[0] if frames else grid
        frame = Image.new(first.mode, (first.width, grid.height + STRIP if not frames else first.height))
        frame.paste(grid)
        ImageDraw.Draw(frame).text((4, frame.height - STRIP + 3), f"epoch {epoch}", fill="white")
        frames.append(frame)
    return frames
