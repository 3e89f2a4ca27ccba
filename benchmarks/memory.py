"""Rate and anonymous memory of a training on a set larger than memory: `python -m benchmarks.memory --gigabytes 20`.

A set is made on the spot, in the form of the cache of pictures, and deleted afterwards; beside it stands one of half a
gigabyte, which fits. Each is read, trained on, scored and compared with in a process of its own, its pages dropped from
memory before the training. RssAnon is what no file is behind: it must not grow with the set. The model is a VAE with a
narrow network, which leaves little time to read in, unless --hidden says otherwise.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from genctl.data import divided
from genctl.data.images import Dataset
from genctl.data.pieces import through
from genctl.evaluation import precision_recall
from genctl.models import registry
from genctl.pictures import gather, layout, splits, store
from genctl.training.experiment import Run
from genctl.training.loop import fit

FITS = 0.5  # gigabytes of the set beside
CLASSES = 10
NARROW = 16  # hidden units of the VAE
WARM_UP = 10  # steps that are not timed
JUDGED = 200  # images whose nearest training images are looked for
DONT_NEED = 4  # madvise's word


class Noise:
    """Random pixels [N, C, H, W] that are made when they are asked for, in order."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __getitem__(self, index: NDArray[numpy.int64]) -> NDArray[numpy.uint8]:
        random = numpy.random.default_rng(int(index[0]))
        return random.integers(0, 256, (len(index), *self.shape[1:]), dtype=numpy.uint8)


def make(path: Path, gigabytes: float, side: int) -> None:
    """Write a set of colour pictures of this side as the cache holds them: their digests are spread evenly."""
    N = max(1000, int(gigabytes * 1e9) // (3 * side * side))
    digests = numpy.zeros((N, splits.DIGEST_BYTES // 8), dtype=">u8")
    digests[:, 0] = (numpy.arange(N) * (2.0**64 / N)).astype(numpy.uint64)
    rows, labels = Noise((N, 3, side, side)), numpy.arange(N) % CLASSES
    found = digests.view(numpy.uint8).reshape(N, -1)
    arranged = splits.arrange(found, labels, [""] * N)
    report = {
        "classes": {str(c): 0 for c in range(CLASSES)},
        "splits": dict(zip(layout.ORDER, arranged.counts, strict=True)),
    }
    store.write(path, gather.Decoded(rows, labels, found, arranged, report))  # type: ignore[arg-type]


def loaded(path: Path) -> Dataset:
    """Return the set as a training reads it: its digests are checked."""
    found = store.read(path)
    assert found is not None
    return divided.assemble("made", divided.of_gathered(found, {}), None, None)


def drop(path: Path, pixels: torch.Tensor) -> None:
    """Drop the pages of the set from memory, as if nothing had read it."""
    page = pixels.data_ptr() // 4096 * 4096
    ctypes.CDLL(None).madvise(ctypes.c_void_p(page), ctypes.c_size_t(path.stat().st_size // 4096 * 4096), DONT_NEED)
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def anonymous() -> float:
    """Return RssAnon of this process in MB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1000


def measure(path: Path, seconds: float, hidden: int) -> dict[str, float]:
    """Return rates and memory of the work on one set."""
    before, started = anonymous(), perf_counter()
    found = loaded(path)
    figures = {"images": len(found.train), "reading, seconds": perf_counter() - started}
    figures["reading, MB"] = anonymous() - before
    kind = registry.load("vae")
    run = Run(kind(hidden=hidden), kind.train_config(device="cpu"), found, horizon=1)
    drop(path, found.train.pixels)
    figures |= trained(run, seconds)
    started = perf_counter()
    run.validation.measure(run.training.best.eval(), {run.model.negative_bound: 0.0}, 1, 1)  # type: ignore[arg-type]
    figures["validation, images/s"] = len(found.validation) / (perf_counter() - started)
    figures["after validation, MB"] = anonymous()
    queries = through(found.test, lambda images: images.pixels, run.device)[:JUDGED]
    precision_recall.nearest(queries, found.train.pixels)
    return figures | {"after neighbours, MB": anonymous()}


def trained(run: Run, seconds: float) -> dict[str, float]:
    """Train for some seconds and return the rate, and the most anonymous memory within."""
    steps, most, done = training_steps(run), 0.0, 0
    for _ in range(WARM_UP):
        next(steps)
    started = perf_counter()
    while perf_counter() - started < seconds:
        next(steps)
        done += 1
        most = max(most, anonymous())
    rate = done * run.batch / (perf_counter() - started)
    return {"training, images/s": rate, "training, MB": most}


def training_steps(run: Run) -> Iterator[object]:
    """Return endless steps of a run."""
    return fit(run.training, run.pixels, run.labels, 10**9, run.schedule)


def in_a_process(path: Path, hidden: int, seconds: float) -> dict[str, float]:
    """Return the figures of one set."""
    words = ["--measure", str(path), "--seconds", str(seconds), "--hidden", str(hidden)]
    command = [sys.executable, "-m", "benchmarks.memory", *words]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return figures


def in_turn(folder: Path, hidden: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both sets in turn, print their figures and the ratio of their rates, and return the figures."""
    found = []
    for gigabytes in (FITS, options.gigabytes) * options.repeats:
        figures = in_a_process(Path(folder, str(gigabytes)), hidden, options.seconds)
        found.append({"gigabytes": gigabytes, "hidden": hidden, **figures})
        print("  ".join(f"{name}: {value:,.1f}" for name, value in found[-1].items()), flush=True)
    fits, large = ([each["training, images/s"] for each in found[i::2]] for i in (0, 1))
    print(f"hidden {hidden}: rate beside the set that fits: {median(large) / median(fits):.1%}", flush=True)
    return found


def main() -> None:
    """Make both sets, measure, print, and delete them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--side", type=int, default=64, help="pixels")
    parser.add_argument("--seconds", type=float, default=60, help="of training on each set")
    parser.add_argument("--hidden", type=int, nargs="+", default=[NARROW], help="units of the VAE's networks")
    parser.add_argument("--repeats", type=int, default=1, help="both sets in turn")
    parser.add_argument("--folder", type=Path, help="where the sets are made")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.seconds, options.hidden[0])))
        return
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for gigabytes in (FITS, options.gigabytes):
            make(Path(folder, str(gigabytes)), gigabytes, options.side)
        for hidden in options.hidden:
            found += in_turn(Path(folder), hidden, options)
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
