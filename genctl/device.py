"""Which device computes, how it multiplies, and how a model lies in its memory.

Torch's settings for this are global; whoever changes one gives it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from .errors import UsageError

M = TypeVar("M", bound=nn.Module)


def device_of(name: str) -> torch.device:
    """Return the device; auto takes a GPU where there is one."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there[name]:
        raise UsageError(f"--device {name} is not available here; use --device auto.")
    return torch.device(name)


def place(model: M, device: torch.device) -> M:
    """Move the model to the device, its convolutions laid out with channels last: a tenth faster, the same names."""
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def exact(device: torch.device, threads: int | None = None) -> Iterator[None]:
    """Within, a GPU multiplies and convolves in float32 and repeatably, which torch does not if it is not told.

    A processor does so anyway; threads, if given, is how many it uses.
    """
    cudnn, before = torch.backends.cudnn, torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    deterministic = cudnn.deterministic
    try:
        if device.type == "cuda":
            with multiplying("ieee"):
                cudnn.deterministic = True
                yield
        else:
            yield
    finally:
        cudnn.deterministic = deterministic
        if threads is not None:
            torch.set_num_threads(before)


@contextmanager
def multiplying(products: str, tune: bool = False) -> Iterator[None]:
    """Within, a GPU's products and convolutions are "ieee" float32 or "tf32"; tune: the fastest is timed and taken."""
    cudnn = torch.backends.cudnn
    benchmark = cudnn.benchmark
    with precision_kept():
        torch.set_float32_matmul_precision("high" if products == "tf32" else "highest")  # the name a compiler reads
        cudnn.conv.fp32_precision = products  # type: ignore[attr-defined]
        cudnn.benchmark = tune
        try:
            yield
        finally:
            cudnn.benchmark = benchmark


@contextmanager
def precision_kept() -> Iterator[None]:
    """Give the precision of products back as it was: torch has an older name for it, and newer ones by backend."""
    cuda, onednn, cudnn = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = cuda.fp32_precision, onednn.fp32_precision, cudnn.fp32_precision
    try:
        name = torch.get_float32_matmul_precision()
    except RuntimeError:  # where the newer names were used, the older one has no value
        name = "highest"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(name)
        cuda.fp32_precision, onednn.fp32_precision, cudnn.fp32_precision = before
