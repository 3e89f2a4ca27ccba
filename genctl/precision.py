"""How a GPU multiplies: in float32 and repeatably throughout, but training may choose otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def exact() -> None:
    """Make a GPU's products and convolutions float32 and repeatable; torch rounds convolutions if not told."""
    _set("ieee")
    torch.backends.cudnn.deterministic = True


@contextmanager
def arithmetic(precision: str, tune: bool, device: torch.device) -> Iterator[None]:
    """Within, a GPU rounds what enters products to 10 bits for precision "tf32", and convolves as is fastest if tuned.

    The fastest way is timed where a shape is first met and then used for that shape by all, in this process; so it is
    not always the same. A processor is left as it is.
    """
    if device.type != "cuda":
        yield
        return
    _set("tf32" if precision == "tf32" else "ieee", tune)
    try:
        yield
    finally:
        _set("ieee")


def _set(products: str, tune: bool = False) -> None:
    torch.set_float32_matmul_precision("high" if products == "tf32" else "highest")  # the name that a compiler reads
    torch.backends.cudnn.conv.fp32_precision = products  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = tune
