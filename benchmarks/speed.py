"""Training and sampling speed of every model and form, and of the plain scripts beside the `mlp` forms."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import torch
from torch.utils.flop_counter import FlopCounterMode

from genctl import data
from genctl.config import ModelConfig, options_of
from genctl.device import place
from genctl.generation import sampling
from genctl.models import registry
from genctl.models.base import Decodes, build
from genctl.training.loop import Training, fit

from . import baseline
from .machine import seconds, spread

EPOCH = 50_000  # images
WARM_UP = 10  # steps
SECONDS = 2.0  # that a repeat should last
SAMPLES = 640
SAME = "networks of the plain script"  # where the form as it is typed has others


def drain(steps: Iterator[object], count: int) -> Callable[[], object]:
    """Return the work of taking the next steps."""
    return lambda: [None for _ in islice(steps, count)]


def forms() -> list[tuple[str, str]]:
    """Return every model with each of its forms."""
    return [(name, arch) for name in registry.BUILT_IN for arch in get_args(options_of(registry.load(name))["arch"][0])]


def training_of(name: str, arch: str, config: ModelConfig | None = None, **options: Any) -> Training:
    """Return a training with the model's defaults: those of the form as it is typed, or another configuration of it."""
    kind = registry.load(name)
    model = place(build(config or kind.of(arch=arch), (1, 28, 28)), torch.device("cpu"))
    return Training(model, kind.train_config(**options))


def flop_per_image(name: str, arch: str) -> float:
    """Return the FLOP of matrix products and convolutions that a training step needs, per image.

    genctl makes a GAN's fakes once and asks for no gradient that nobody uses, so its own step is counted.
    """
    training, pixels = training_of(name, arch), data.load("mnist").train.pixels
    steps = fit(training, pixels, None, 10, 10)
    next(steps)
    with FlopCounterMode(display=False) as counter:
        next(steps)
    return counter.get_total_flops() / training.config.batch_size


def measure(name: str, arch: str, repeats: int, root: Path, **options: Any) -> dict[str, Any]:
    """Return genctl's seconds an epoch and, for `mlp`, the plain script's, taken in turn, and those of its networks."""
    training, mnist = training_of(name, arch, **options), data.load("mnist").train
    size, kind = training.config.batch_size, registry.load(name)
    rivals: dict[str, Iterator[object]] = {"genctl": fit(training, mnist.pixels, mnist.labels, 10**9, 10**9)}
    if arch == "mlp" and name in baseline.STEPS and not options:
        if kind(arch=arch) != kind.of(arch=arch):
            same = training_of(name, arch, kind(arch=arch))
            rivals[SAME] = fit(same, mnist.pixels, mnist.labels, 10**9, 10**9)
        for workers in (0, 2):
            rivals[f"plain, {workers} workers"] = map(baseline.STEPS[name](), baseline.batches(root, size, workers))
    counts = {}
    for rival, steps in rivals.items():
        drain(steps, WARM_UP)()
        counts[rival] = max(5, round(SECONDS * 10 / seconds(drain(steps, 10))))
    times: dict[str, list[float]] = {rival: [] for rival in rivals}
    for _ in range(repeats):
        for rival, steps in rivals.items():
            took = seconds(drain(steps, counts[rival]))
            times[rival].append(took / (counts[rival] * size) * EPOCH)
    return {rival: spread(values) for rival, values in times.items()}


def training(repeats: int, rate: float) -> dict[str, Any]:
    """Return, for each form, seconds an epoch, the share of the matrix-product rate, and the ratio to the script."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        baseline.unpack(Path(folder))
        for name, arch in forms():
            times = measure(name, arch, repeats, Path(folder))
            own, flop = times["genctl"]["median"], flop_per_image(name, arch)
            rivals = {k: v for k, v in times.items() if k not in ("genctl", SAME)}
            plain = min((v["median"] for v in rivals.values()), default=None)
            beside = times.get(SAME, times["genctl"])
            found[f"{name} {arch}"] = {
                "seconds_per_epoch": times["genctl"],
                "images_per_second": EPOCH / own,
                "megaflop_per_image": flop / 1e6,
                "share_of_matmul_rate": flop * EPOCH / own / rate,
                "plain": rivals,
                SAME: times.get(SAME),
                "times_as_fast_as_plain": plain / beside["median"] if plain else None,
            }
    return found


def sampling_rates(repeats: int) -> dict[str, Any]:
    """Return the images a second that each form draws, its weights random."""
    found = {}
    for name, arch in forms():
        model = training_of(name, arch).model.eval()
        assert isinstance(model, Decodes)
        sampling.sample(model, 64)
        rates = [SAMPLES / seconds(lambda: sampling.sample(model, SAMPLES)) for _ in range(repeats)]  # noqa: B023
        found[f"{name} {arch}"] = spread(rates)
    return found
