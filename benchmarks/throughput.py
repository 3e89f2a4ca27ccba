"""Training speed of every model and form on the real MNIST, on an otherwise idle machine.

    python benchmarks/throughput.py [STEPS]

Trains each form for STEPS steps (default 60) five times, after a warm-up, and prints the median and the range of the
seconds that an epoch of 50,000 images would take; validation, pictures and files are not counted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from statistics import median
from time import perf_counter
from typing import get_args

import torch

from genctl import checkpoint, data, registry
from genctl.config import options_of
from genctl.train import Step, Training, fit

EPOCH = 50_000
REPEATS = 5
WARM_UP = 10


def timings(name: str, arch: str, dataset: data.Dataset, steps: int) -> list[float]:
    """Return the seconds per epoch of each repeat."""
    kind = registry.load(name)
    train = kind.train_config()
    model = checkpoint.place(kind(arch=arch).build(dataset.train.shape), torch.device("cpu"))
    loop = fit(Training(model, train), dataset.train.pixels, dataset.train.labels, 10**9, 10**9)
    drain(loop, WARM_UP)
    return [drain(loop, steps) / (steps * train.batch_size) * EPOCH for _ in range(REPEATS)]


def drain(loop: Iterator[Step], steps: int) -> float:
    """Return the seconds that the next steps take."""
    started = perf_counter()
    for _ in islice(loop, steps):
        pass
    return perf_counter() - started


def main() -> None:
    """Print a line per model and form."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    dataset = data.load("mnist")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {steps} steps, {REPEATS} repeats")
    for name in registry.BUILT_IN:
        for arch in get_args(options_of(registry.load(name))["arch"][0]):
            found = timings(name, arch, dataset, steps)
            speed = EPOCH / median(found)
            print(
                f"{name:8s} {arch:6s} {median(found):7.2f} s an epoch ({min(found):.2f} to {max(found):.2f})"
                f"  {speed:8,.0f} images/s",
                flush=True,
            )


if __name__ == "__main__":
    main()
