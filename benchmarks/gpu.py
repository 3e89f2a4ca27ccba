"""The steps of a GPU, captured, one by one, and tuned: `python -m benchmarks.gpu [--device cuda] [--steps 100]`.

Prints the milliseconds of a training step of each form, medians of five; on a processor all three ways are the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from genctl import checkpoint, data, registry, train
from genctl.train import Training, fit

from .machine import seconds, spread
from .speed import WARM_UP, drain, forms

BATCHES = (128, 512)
REPEATS = 5


@contextmanager
def uncaptured() -> Iterator[None]:
    """Within, a GPU takes its steps kernel by kernel."""
    replayed = train.Replayed
    train.Replayed = lambda moves: moves  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        train.Replayed = replayed  # type: ignore[misc]


def milliseconds(name: str, arch: str, device: torch.device, count: int, **options: Any) -> dict[str, float]:
    """Return the time of a step."""
    kind, mnist = registry.load(name), data.load("mnist").train
    model = checkpoint.place(kind(arch=arch).build(mnist.shape), device)
    training = Training(model, kind.train_config(**options))
    assert mnist.labels is not None
    steps = fit(training, mnist.pixels.to(device), mnist.labels.to(device), 10**9, 10**9)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    drain(steps, WARM_UP)()
    synchronize()

    def work() -> None:
        drain(steps, count)()
        synchronize()

    return spread([1000 * seconds(work) / count for _ in range(REPEATS)])


def main() -> None:
    """Time every form at each batch size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    device = checkpoint.device_of(options.device)
    for name, arch in forms():
        for size in BATCHES:
            captured = milliseconds(name, arch, device, options.steps, batch_size=size)
            tuned = milliseconds(name, arch, device, options.steps, batch_size=size, tune=True)
            with uncaptured():
                eager = milliseconds(name, arch, device, max(1, options.steps // 5), batch_size=size)
            times = {"captured": captured, "tuned": tuned, "one by one": eager}
            text = "  ".join(f"{way} {t['median']:.3f} ({t['min']:.3f} to {t['max']:.3f})" for way, t in times.items())
            print(f"{name} {arch}, batch {size}: {text} ms", flush=True)


if __name__ == "__main__":
    main()
