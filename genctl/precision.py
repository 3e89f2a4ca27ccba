"""How exact the matrix products of a GPU are: float32 throughout, but training may round what enters them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def exact() -> None:
    """Make a GPU's products and convolutions float32 and repeatable; torch rounds convolutions if not told."""
    _products("ieee")
    torch.backends.cudnn.deterministic = True


@contextmanager
def rounded(precision: str, device: torch.device) -> Iterator[None]:
    """Within, let a GPU's products round their inputs to 10 bits for precision "tf32"; a processor's stay."""
    if device.type != "cuda":
        yield
        return
    _products("tf32" if precision == "tf32" else "ieee")
    try:
        yield
    finally:
        _products("ieee")


def _products(kind: str) -> None:
    torch.backends.fp32_precision = kind  # type: ignore[attr-defined]
