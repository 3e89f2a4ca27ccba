"""Precision of matrix multiplications in training: TF32 or bfloat16 on a GPU, float32 on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import MethodType

import torch
from torch import Tensor, nn

from ..device import multiplying, precision_kept


@contextmanager
def arithmetic(precision: str, tune: bool, device: torch.device) -> Iterator[None]:
    """Within, a GPU uses TF32 unless precision is "float32", and autotuned convolutions if tune is set.

    Autotuning times each new shape once per process, so its choice may differ between processes. A CPU uses float32,
    by oneDNN where that is certain to be float32.
    """
    if device.type == "cpu" and onednn_keeps_float32():
        with _bfloat16_allowed():
            yield
    elif device.type == "cuda":
        with multiplying("ieee" if precision == "float32" else "tf32", tune):
            yield
    else:
        yield


def in_bfloat16(network: nn.Module) -> None:
    """Make a network compute in bfloat16 while it trains; its weights, gradients and what it returns stay float32."""
    network.forward = MethodType(_rounded, network)  # a method, so that a copy of the network has its own


def _rounded(self: nn.Module, *inputs: Tensor) -> Tensor:
    plain = type(self).forward
    if not self.training:
        return plain(self, *inputs)
    with torch.autocast(inputs[0].device.type, torch.bfloat16, cache_enabled=False):  # a graph may keep no cache
        return plain(self, *inputs).float()


@cache
def onednn_keeps_float32() -> bool:
    """Return whether oneDNN's matrix multiplications stay float32 when bfloat16 is allowed.

    Torch calls oneDNN only if bfloat16 is allowed. With AVX-512 alone oneDNN still computes in float32, and on an AMD
    EPYC is up to a fifth faster than MKL; with AMX it does round, and 1 + 2^-20 becomes 1.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    fine = torch.full((256, 256), 1 + 2**-20, dtype=torch.float32, device="cpu")
    one = torch.eye(256, dtype=torch.float32, device="cpu")
    with _bfloat16_allowed():
        return all(torch.equal(product, fine) for product in (fine @ one, fine @ one.T, fine.T @ one))


@contextmanager
def _bfloat16_allowed() -> Iterator[None]:
    with precision_kept():
        torch.set_float32_matmul_precision("medium")
        yield
