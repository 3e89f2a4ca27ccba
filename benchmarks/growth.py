"""How seconds and memory grow: `python -m benchmarks.growth [--out growth.json] [--plot growth.png] [--only NAME ...]`.

Each point is a whole command in a process of its own. The exponent of a series is the slope of log(figure) between
its last two points, what the smallest point costs (imports, weights) taken off first: 1 is linear, 0 constant.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import torch

from .commands import GENCTL, SHIPPED, measured

CLASSES = 10
Command = Callable[[Path, int], list[str]]  # in a folder, at a size


@dataclass(frozen=True)
class Series:
    """One quantity that grows, the command that meets it, and the exponents that are right for it."""

    sizes: tuple[int, ...]
    command: Command
    seconds: int  # 1: linear, 0: constant
    memory: int
    prepare: Callable[[Path, int], None] = lambda folder, size: None


def write_idx(path: Path, values: torch.Tensor) -> None:
    """Write a uint8 tensor as an IDX file."""
    sizes = b"".join(int(n).to_bytes(4) for n in values.shape)
    path.write_bytes(b"\0\0\x08" + bytes([values.dim()]) + sizes + values.numpy().tobytes())


def made(folder: Path, images: int, *size: int) -> None:
    """Make a data set of smooth random images in folder/data: any size, and not to be compressed away."""
    root = folder / "data"
    root.mkdir()
    generator = torch.Generator().manual_seed(0)
    for part, n in {"train": images, "t10k": 1000}.items():
        pixels = torch.randint(0, 256, (n, *size), dtype=torch.uint8, generator=generator)
        write_idx(root / f"{part}-images-idx3-ubyte", pixels)
        write_idx(root / f"{part}-labels-idx1-ubyte", torch.arange(n).remainder(CLASSES).to(torch.uint8))


def train(*words: str) -> Command:
    """Return the command that trains a VAE for an epoch on the made data."""
    return lambda folder, size: [*GENCTL, "train", "vae", "--dataset", "data", "--epochs", "1", "--quiet", *words]


def one_epoch_of(images: int, *channels: int) -> Callable[[Path, int], None]:
    """Return what makes square images of the size, grey or of so many channels."""
    return lambda folder, size: made(folder, images, size, size, *channels)


def runs(folder: Path, size: int) -> None:
    """Lay down finished runs: copies of one that was trained here."""
    first = [*GENCTL, "train", "vae", "--train-size", "128", "--epochs", "1", "--hidden", "8", "--quiet"]
    measured(first, folder)
    one = next((folder / "checkpoints").iterdir())
    for i in range(2, size + 1):
        other = one.with_name(f"vae-{i:05d}")
        other.mkdir()
        for name in ("config.json", "metrics.jsonl"):
            shutil.copy(one / name, other)


def pictures(folder: Path, size: int) -> None:
    """Lay down generated images."""
    measured([*GENCTL, "sample", "vae", SHIPPED, "-n", str(size), "--out", "images.npz"], folder)


SERIES: dict[str, Series] = {
    "training images": Series(
        (10_000, 100_000, 1_000_000), train("--validation", "1000"), 1, 1, lambda f, n: made(f, n, 28, 28)
    ),
    "side of a grey image, conv": Series((28, 32, 64, 96), train("--arch", "conv"), 2, 2, one_epoch_of(6_000)),
    "side of a colour image, conv": Series((28, 32, 64, 96), train("--arch", "conv"), 2, 2, one_epoch_of(6_000, 3)),
    "batch size": Series(
        (64, 256, 1024),
        lambda f, n: [*train("--batch-size", str(n))(f, n)],
        0,
        0,
        lambda f, n: made(f, 20_000, 28, 28),
    ),
    "K of eval-bpd": Series(
        (100, 1000, 10_000),
        lambda f, n: [*GENCTL, "eval-bpd", "vae", SHIPPED, "--images", "20", "-k", str(n)],
        1,
        0,
    ),
    "samples drawn": Series(
        (1_000, 10_000, 100_000),
        lambda f, n: [*GENCTL, "sample", "vae", SHIPPED, "-n", str(n), "--out", "x.npz"],
        1,
        1,
    ),
    "runs in a folder": Series((10, 100, 1_000, 10_000), lambda f, n: [*GENCTL, "runs"], 1, 1, runs),
    "images evaluated": Series(
        (1_000, 10_000, 50_000), lambda f, n: [*GENCTL, "evaluate", "images.npz", "--samples", str(n)], 1, 1, pictures
    ),
}


def measure(series: Series) -> dict[str, Any]:
    """Return seconds and MiB at each size, and the exponents beside what they should be."""
    points = []
    for size in series.sizes:
        with tempfile.TemporaryDirectory() as folder:
            series.prepare(Path(folder), size)
            seconds, memory = measured(series.command(Path(folder), size), Path(folder))
            points.append({"size": size, "seconds": seconds, "mebibytes": memory})
            print(json.dumps(points[-1]), flush=True)
    return {
        "points": points,
        "seconds_exponent": exponent([(p["size"], p["seconds"]) for p in points]),
        "seconds_should_be": series.seconds,
        "memory_exponent": exponent([(p["size"], p["mebibytes"]) for p in points]),
        "memory_should_be": series.memory,
    }


def exponent(points: list[tuple[float, float]]) -> float:
    """Return the slope of log(y - y0) between the last two points, y0 what the first point has; 0 if y hardly grows."""
    (_, base), (x1, y1), (x2, y2) = points[0], points[-2], points[-1]
    if y2 < 1.25 * base:
        return 0.0
    if len(points) < 3 or y1 - base < 0.05 * base:
        return log(y2 / y1) / log(x2 / x1)
    return log((y2 - base) / (y1 - base)) / log(x2 / x1)


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw seconds and memory over the sizes, both against the smallest point, on logarithmic axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("seconds", "mebibytes"), strict=True):
        for name, series in found.items():
            first = series["points"][0]
            axes.loglog(
                [p["size"] / first["size"] for p in series["points"]],
                [p[quantity] / first[quantity] for p in series["points"]],
                marker=".",
                label=name,
            )
        axes.set(xlabel="size, times the smallest", ylabel=f"{quantity}, times those of the smallest")
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    FigureCanvasAgg(figure).print_png(str(path))


def main() -> None:
    """Measure the chosen series."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--only", nargs="*", choices=SERIES)
    options = parser.parse_args()
    found = {}
    for name in options.only or SERIES:
        print(name, file=sys.stderr)
        found[name] = measure(SERIES[name])
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
