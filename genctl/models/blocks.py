"""What the networks of several families share."""

from __future__ import annotations

from ..errors import UsageError
from ..types import Shape

COARSEST = 8  # largest shorter side at the coarsest resolution
FEWEST = 2  # halvings, also of a small image


def halvings(arch: str, shape: Shape) -> int:
    """Return how often a convolutional form halves the image: twice for sides of 28 or 32, three times for 64.

    It does until the shorter side is at most 8. Raise UsageError, with the next size that does, where that leaves a
    remainder.
    """
    _, H, W = shape
    n = FEWEST
    while min(H, W) > COARSEST << n:
        n += 1
    step = 1 << n
    if H % step or W % step:
        fits = " x ".join(str(-(-side // step) * step) for side in (H, W))
        raise UsageError(
            f"--arch {arch} needs a height and width divisible by {step}, not {H} x {W}; use --arch mlp, or images of"
            f" {fits}."
        )
    return n


def widths(channels: int, n: int) -> list[int]:
    """Return the channels after each of n halvings, the finest first: c, 2c, then 4c."""
    return [channels * min(1 << i, 4) for i in range(n)]
