"""Is an exported part the model's own? It is run beside it at several batch sizes, one image among them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import GenctlError
from .parts import IMAGES, MOST, Part

SIZES = (1, 7, MOST)  # images in a batch
TOLERANCE = 1e-5  # of a value, or of the largest where that is more than 1
FLIPPED = 1e-4  # share of a drawn image's pixels whose noise may lie on the other side of a rounding
AS_NEAR = 4  # times as far from float64 as the model's own float32, where that is farther than the tolerance

Run = Callable[[list[Tensor]], Tensor]


class Differs(GenctlError):
    """An exported part that does not do what the model does."""


class Agreement(NamedTuple):
    """How near an exported part is to the model."""

    largest: float  # difference of two values
    relative: float  # to the largest value, where that is more than 1

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"batches": list(SIZES), "largest_difference": self.largest, "relative": self.relative}


@torch.no_grad()
def check(part: Part, run: Run) -> Agreement:
    """Return how near the exported part is at all sizes; raise Differs where it is another function."""
    found = Agreement(0.0, 0.0)
    for n in SIZES:
        inputs = [x[:n] for x in part.inputs.values()]
        wanted, made = part.module(*inputs), run(inputs)
        if made.shape != wanted.shape:
            raise Differs(f"for {n} images it returns {list(made.shape)}, not {list(wanted.shape)}")
        largest = (made - wanted).abs().max().item()
        relative = largest / max(1.0, wanted.abs().max().item())
        found = Agreement(max(found.largest, largest), max(found.relative, relative))
        if not (relative <= TOLERANCE or _rounded(part, made, wanted) or _as_near(part, inputs, made, wanted)):
            raise Differs(f"for {n} images it is off by {largest:.2g}")
    return found


def _rounded(part: Part, made: Tensor, wanted: Tensor) -> bool:
    """Tell whether images of whole grey levels are a level apart at most, but for a draw's rare pixels."""
    levels = 255 * wanted
    if part.output != IMAGES or (levels - levels.round()).abs().max() > 1e-3:
        return False
    apart = (255 * made - levels).abs() > 1 + 1e-3
    return int(apart.sum()) <= max(1, FLIPPED * apart.numel())


def _as_near(part: Part, inputs: list[Tensor], made: Tensor, wanted: Tensor) -> bool:
    """Tell whether the exported part is about as near to float64 as the model's own float32 is."""
    module = copy.deepcopy(part.module).double()
    try:
        exact = module(*(x.double() if x.is_floating_point() else x for x in inputs))
    except RuntimeError:  # the model computes in float32 alone
        return False
    own, other = ((y.double() - exact).abs().max().item() for y in (wanted, made))
    return other <= AS_NEAR * own
