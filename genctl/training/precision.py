"""How a training step multiplies: a GPU may round, a processor keeps float32."""

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
    """Within, a GPU multiplies in TF32 unless for "float32", and convolves as is fastest if tuned.

    The fastest way is timed where a shape is first met and then used for that shape by all, in this process; so it is
    not always the same. A processor stays with float32, made by oneDNN where that is certain.
    """
    if device.type == "cpu" and onednn_keeps_float32():
        with _leave_to_round():
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
    """Return whether a processor's products stay float32 where they need not.

    Only with leave to round to bfloat16 does torch hand them to oneDNN. With AVX-512 alone oneDNN makes no use of it,
    and on an AMD EPYC is up to a fifth faster than MKL; with AMX it does round, and 1 + 2^-20 becomes 1.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    fine = torch.full((256, 256), 1 + 2**-20, dtype=torch.float32, device="cpu")
    one = torch.eye(256, dtype=torch.float32, device="cpu")
    with _leave_to_round():
        return all(torch.equal(product, fine) for product in (fine @ one, fine @ one.T, fine.T @ one))


@contextmanager
def _leave_to_round() -> Iterator[None]:
    with precision_kept():
        torch.set_float32_matmul_precision("medium")
        yield
