"""What the machine can do, and how a time is taken."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch

from genctl.training.precision import arithmetic

SIZE = 2048  # of the square matrices


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds that a piece of work takes."""
    started = perf_counter()
    work()
    return perf_counter() - started


def matmul_rate(repeats: int = 20) -> float:
    """Return the best FLOP/s of a float32 matrix product here, made in two ways: what no network can exceed."""
    a, b, c = (torch.randn(SIZE, SIZE) for _ in range(3))

    def best() -> float:
        return min(seconds(lambda: torch.mm(a, b, out=c)) for _ in range(repeats))

    with arithmetic("float32", tune=False, device=a.device):
        as_in_training = best()
    return 2 * SIZE**3 / min(best(), as_in_training)


def about() -> dict[str, Any]:
    """Return what the figures depend on; a load above 1 means that the machine was not quiet."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return the median of several runs with their range."""
    return {"median": median(values), "min": min(values), "max": max(values)}
