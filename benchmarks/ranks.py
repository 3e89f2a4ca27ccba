"""What a second process is worth: two of one thread against one of two threads, and on paper up to 64 GPUs.

    python -m benchmarks.ranks [--repeats 5] [--forms vae-mlp gan-dcgan ...]    on an otherwise idle machine
    python -m benchmarks.ranks --paper                                          computes, measures nothing

Both train the same batches; the efficiency is the images a second of two processes over those of one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import distributed as dist

from genctl import data
from genctl.models import registry
from genctl.models.base import build
from genctl.ranks.group import Ranks, working
from genctl.training.loop import Training, fit

from .machine import about, seconds, spread
from .speed import WARM_UP, drain, forms, training_of

SECONDS = 3.0  # that a measurement should last
IMAGES = 10_000


def rate(training: Training) -> float:
    """Return the images a second of a training in the processes of this group."""
    mnist, ranks = data.load("mnist", IMAGES).train, training.ranks
    steps = fit(training, mnist.pixels, mnist.labels, 10**9, 10**9)
    drain(steps, WARM_UP)()
    count = max(5, int(SECONDS * 10 / ranks.most(seconds(drain(steps, 10)))[0]))
    (took,) = ranks.most(seconds(drain(steps, count)))
    return count * training.config.batch_size / took


def worker(folder: Path, rank: int, world: int, chosen: Sequence[str]) -> None:
    """Measure each form in one of `world` processes that share two threads; rank 0 prints a line for each."""
    torch.set_num_threads(2 // world)
    if world > 1:
        dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    with working(Ranks(rank, world)) as ranks:
        for name, arch in forms():
            if not chosen or f"{name}-{arch}" in chosen:
                found = rate(training_of(name, arch))
                if ranks.leads:
                    print(json.dumps({f"{name}-{arch}": found}), flush=True)


def measured(world: int, chosen: Sequence[str]) -> dict[str, float]:
    """Return the images a second of each form in so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.ranks", "--worker", folder, "--world", str(world)]
        command += ["--forms", *chosen]
        place = {**os.environ, "OMP_NUM_THREADS": str(2 // world)}
        running = [
            subprocess.Popen([*command, "--rank", str(rank)], env=place, stdout=subprocess.PIPE, text=True)
            for rank in range(world)
        ]
        text = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a process failed")
    return {form: value for line in text[0].splitlines() for form, value in json.loads(line).items()}


def efficiency(repeats: int, chosen: Sequence[str]) -> None:
    """Print a row for each form: both rates, measured in turn, and their ratio."""
    rounds = [(measured(1, chosen), measured(2, chosen)) for _ in range(repeats)]
    print(f"{json.dumps(about())}\n\n| form | one process, images/s | two processes | ratio |\n|---|---|---|---|")
    for form in rounds[0][0]:
        one, two = (spread([each[i][form] for each in rounds]) for i in (0, 1))
        cells = [f"{x['median']:,.0f} ({x['min']:,.0f} to {x['max']:,.0f})" for x in (one, two)]
        print(f"| {form} | {cells[0]} | {cells[1]} | {two['median'] / one['median']:.2f} |")


class Wire(NamedTuple):
    """What connects GPUs: the rate at which an all_reduce moves its bytes, and the time that each takes at least."""

    gpus: int
    bytes_per_second: float
    latency: float


WIRES = {  # round figures of 2024's machines, assumed and not measured
    "8, NVLink": Wire(8, 200e9, 20e-6),
    "64, 400 Gb/s a GPU": Wire(64, 40e9, 60e-6),
    "64, 25 Gb/s a machine of 8": Wire(64, 2.5e9 / 8, 200e-6),
}
STEPS = {  # docs/speed.md: seconds of a captured step on one H100
    ("vae", "mlp", 128): 0.315e-3,
    ("gan", "mlp", 64): 0.552e-3,
    ("gan", "dcgan", 64): 0.915e-3,
    ("realnvp", "conv", 128): 5.04e-3,
    ("realnvp", "large", 256): 18.5e-3,
}


def paper(name: str, arch: str, step: float, wire: Wire) -> tuple[int, float]:
    """Return the bytes of a step's gradients, and the efficiency with as many images a GPU as on one.

    t / (t + s), s = 2 (N - 1)/N bytes / rate + latency for each all_reduce: one a player, two a batch norm's layer.
    """
    model = build(registry.load(name)(**({"size": arch} if arch == "large" else {"arch": arch})), (1, 28, 28))
    size = 4 * sum(p.numel() for p in model.parameters())
    norms = sum(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in model.modules())
    waits = (len(model.players()) + 2 * norms) * wire.latency
    return size, step / (step + 2 * (wire.gpus - 1) / wire.gpus * size / wire.bytes_per_second + waits)


def on_paper() -> None:
    """Print a row for each form whose step was timed on a GPU."""
    print(f"| form | step, ms | gradients, MB | {' | '.join(WIRES)} |\n|---|---|---|{'---|' * len(WIRES)}")
    for (name, arch, batch), step in STEPS.items():
        found = [paper(name, arch, step, wire) for wire in WIRES.values()]
        cells = " | ".join(f"{share:.0%}" for _, share in found)
        print(f"| {name} {arch}, {batch} a GPU | {1e3 * step:.3g} | {found[0][0] / 1e6:.1f} | {cells} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--forms", nargs="*", default=[])
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--world", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given.worker, given.rank, given.world, given.forms)
    elif given.paper:
        on_paper()
    else:
        efficiency(given.repeats, given.forms)
