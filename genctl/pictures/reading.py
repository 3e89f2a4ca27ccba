"""How pictures are read: their size, channels, fit and background, what is skipped, and how they are divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config.values import as_text
from ..errors import UsageError

MOST_PIXELS_A_SIDE = 4096
FITS = ("crop", "pad", "stretch")
OPTIONS = ("image_size", "image_channels", "fit", "background", "split", "skip_broken")  # of TrainConfig


@dataclass(frozen=True)
class Reading:
    """What may be chosen when pictures are read; the defaults leave them as they are."""

    size: tuple[int, int] | None = None  # H, W
    channels: int | None = None  # 1 or 3
    fit: str = "crop"  # what is done where height and width have another ratio
    background: tuple[int, int, int] = (255, 255, 255)  # behind pictures with alpha
    by_digest: bool = False  # files in an order of their own are divided by digest too
    skip_broken: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Reading:
        """Return the reading of a training's options; those of an older file may be missing."""
        channels = options.get("image_channels")
        if channels not in (None, 1, 3):
            raise UsageError(f"--image-channels is 1 (grey) or 3 (colour); not {channels}.")
        fit = options.get("fit") or "crop"
        if fit not in FITS:
            raise UsageError(f"--fit is one of {', '.join(FITS)}; not {fit!r}.")
        return cls(
            size=size_of(options.get("image_size")),
            channels=channels,
            fit=fit,
            background=colour_of(options.get("background") or "white"),
            by_digest=options.get("split") == "digest",
            skip_broken=bool(options.get("skip_broken")),
        )

    @property
    def changes(self) -> bool:
        """Tell whether a size or a number of channels is asked for."""
        return self.size is not None or self.channels is not None


def size_of(text: object) -> tuple[int, int] | None:
    """Return H, W of "32" or "48x64", of 32 or (48, 64); raise UsageError for anything else."""
    if text is None:
        return None
    text = as_text(text, str)
    parts = str(text).lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdecimal() and len(part) < 8 for part in parts):
        raise UsageError(f"--image-size is N or HxW in pixels, such as 32 or 48x64; not {str(text)!r}.")
    H, W = int(parts[0]), int(parts[-1])
    if not (1 <= H <= MOST_PIXELS_A_SIDE and 1 <= W <= MOST_PIXELS_A_SIDE):
        raise UsageError(f"--image-size must be of 1 to {MOST_PIXELS_A_SIDE} pixels a side; not {text}.")
    return H, W


def colour_of(text: str) -> tuple[int, int, int]:
    """Return red, green, blue of a colour's name or #rrggbb; raise UsageError for another text."""
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UsageError(f"--background is a colour's name or #rrggbb; not {text!r}.") from error
    return red, green, blue
