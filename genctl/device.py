"""Device, precision of matrix multiplications, and memory layout.

Torch's settings for precision are global, so each context here restores them.
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
    """Within, a GPU computes in float32 and deterministically, which is not torch's default; a CPU always does.

    threads, if given, is the number of CPU threads within.
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
    """Within, a GPU's matrix multiplications and convolutions are in "ieee" float32 or "tf32"; tune: autotuned."""
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
    """Restore the precision of matrix multiplications: torch has an older name for it, and newer ones per backend."""
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
