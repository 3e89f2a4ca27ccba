"""How products are made: in float32 and repeatably, but a training may let a GPU choose otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn


def exact() -> None:
    """Make a GPU's products and convolutions float32 and repeatable; torch rounds convolutions if not told."""
    _set("ieee")
    torch.backends.cudnn.deterministic = True


@contextmanager
def arithmetic(precision: str, tune: bool, device: torch.device) -> Iterator[None]:
    """Within, a GPU rounds what enters products to 10 bits unless for "float32", and convolves as is fastest if tuned.

    The fastest way is timed where a shape is first met and then used for that shape by all, in this process; so it is
    not always the same. A processor stays with float32, by the faster of its libraries where that is certain.
    """
    if device.type == "cuda":
        _set("ieee" if precision == "float32" else "tf32", tune)
    elif device.type == "cpu" and onednn_keeps_float32():
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        if device.type == "cuda":
            _set("ieee")
        torch.set_float32_matmul_precision("highest")


def in_bfloat16(network: nn.Module, device: torch.device) -> None:
    """Make a network compute in bfloat16 while it trains; its weights, gradients and what it returns stay float32."""
    plain = network.forward

    def forward(*inputs: Tensor) -> Tensor:
        on = network.training
        with torch.autocast(device.type, torch.bfloat16, enabled=on, cache_enabled=False):  # a graph may keep no cache
            return plain(*inputs).float() if on else plain(*inputs)

    network.forward = forward


@cache
def onednn_keeps_float32() -> bool:
    """Return whether a processor's products stay float32 where they need not.

    Only with leave to round to bfloat16 does torch hand them to oneDNN. With AVX-512 alone oneDNN makes no use of it,
    and on AMD's processors is up to a fifth faster than MKL; with AMX it does round, and 1 + 2^-20 becomes 1.
    """
    fine = torch.full((256, 256), 1 + 2**-20)
    torch.set_float32_matmul_precision("medium")
    kept = torch.equal(fine @ torch.eye(256), fine)
    torch.set_float32_matmul_precision("highest")
    return kept


def _set(products: str, tune: bool = False) -> None:
    torch.set_float32_matmul_precision("high" if products == "tf32" else "highest")  # the name that a compiler reads
    torch.backends.cudnn.conv.fp32_precision = products  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = tune
