"""The steps of a GPU: `python -m benchmarks.gpu [--tune] [--compile] [--precision tf32] [--one-by-one] [--steps 100]`.

Prints the milliseconds of a training step of each form, captured in a graph unless --one-by-one; medians of five. A
process measures one way, for convolutions that were timed first stay chosen in it.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from genctl import data
from genctl.device import device_of, place
from genctl.models import registry
from genctl.models.base import build
from genctl.training import loop
from genctl.training.loop import Training, fit

from .machine import seconds, spread
from .speed import WARM_UP, drain, forms

REPEATS = 5
IWAE = {"layers": 2, "hidden": 200, "latent_dim": 50, "activation": "tanh", "objective": "iwae", "particles": 50}
RECIPES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *((name, {"arch": arch}, {}) for name, arch in forms()),
    ("vae", IWAE, {}),
    ("vae", {"arch": "ladder", "channels": 32, "blocks": 1, "free_bits": 0.5}, {}),
    ("gan", {}, {"batch_size": 256}),
    ("realnvp", {}, {"batch_size": 512}),
    ("realnvp", {"size": "large"}, {"batch_size": 256}),
]


def milliseconds(
    name: str, chosen: dict[str, Any], device: torch.device, count: int, **options: Any
) -> dict[str, float]:
    """Return the time of a step."""
    kind, mnist = registry.load(name), data.load("mnist").train
    model = place(build(kind(**chosen), mnist.shape), device)
    training = Training(model, kind.train_config(**options))
    assert mnist.labels is not None
    steps = fit(training, mnist.pixels.to(device), mnist.labels.to(device), 10**9, 10**9)

    def work(some: int = count) -> None:
        drain(steps, some)()
        if device.type == "cuda":
            torch.cuda.synchronize()

    work(WARM_UP)
    return spread([1000 * seconds(work) / count for _ in range(REPEATS)])


def main() -> None:
    """Time every recipe."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--precision", default="tf32")
    parser.add_argument("--one-by-one", action="store_true")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    if options.one_by_one:
        loop.Replayed = lambda moves: moves
    device = device_of(options.device)
    ways = {"tune": options.tune, "compile": options.compile, "precision": options.precision}
    for name, chosen, shared in RECIPES:
        t = milliseconds(name, chosen, device, options.steps, **ways, **shared)
        print(f"{t['median']:.3f} ({t['min']:.3f} to {t['max']:.3f}) ms: {name} {chosen} {shared}", flush=True)


if __name__ == "__main__":
    main()
