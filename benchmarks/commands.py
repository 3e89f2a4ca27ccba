"""Whole commands, timed from outside: start-up, peak memory, and the time to a fixed quality."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from genctl import data
from genctl.data import nearest
from genctl.generation import sampling
from genctl.models.base import Decodes
from genctl.runs import load

from .machine import spread
from .speed import forms

ROOT = Path(__file__).parents[1]
GENCTL = [sys.executable, "-m", "genctl"]
SHIPPED = str(ROOT / "checkpoints" / "vae.safetensors")
START_UP = {
    "genctl --help": [*GENCTL, "--help"],
    "genctl train vae --help": [*GENCTL, "train", "vae", "--help"],
    "genctl runs": [*GENCTL, "runs"],
    "genctl show FILE": [*GENCTL, "show", SHIPPED],
    "genctl verify FILE": [*GENCTL, "verify", SHIPPED],
    "import torch": [sys.executable, "-c", "import torch"],
    "genctl sample vae FILE": [*GENCTL, "sample", "vae", SHIPPED, "--out", "sample.png"],
}


def start(
    command: list[str], folder: Path, environment: Mapping[str, str] = os.environ, **streams: Any
) -> subprocess.Popen[str]:
    """Start a command in a folder, with this checkout's genctl, which keeps its bytecode as an installed one does."""
    place = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(command, cwd=folder, env={**place, "PYTHONPATH": str(ROOT)}, text=True, **streams)


def run(command: list[str], folder: Path) -> float:
    """Return a command's seconds."""
    started = perf_counter()
    process = start(command, folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return perf_counter() - started


# A child's peak counts that of the process it was forked from, so a small one must fork it.
PEAK = """
import resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Return a command's seconds, and its peak memory in MiB."""
    process = start([sys.executable, "-c", PEAK, *command], folder, stdout=subprocess.PIPE)
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    seconds, peak = text.split()
    return float(seconds), int(peak) / (2**20 if sys.platform == "darwin" else 2**10)


def start_up(repeats: int) -> dict[str, Any]:
    """Return the seconds of the commands that should be instant, and of importing torch beside them."""
    with tempfile.TemporaryDirectory() as folder:
        times: dict[str, list[float]] = {name: [] for name in START_UP}
        for i in range(repeats + 1):
            for name, command in START_UP.items():
                took = run(command, Path(folder))
                if i:  # the first fills the caches
                    times[name].append(took)
    return {name: spread(values) for name, values in times.items()}


def memory() -> dict[str, float]:
    """Return the peak memory in MiB of a short training of each form."""
    found = {}
    for name, arch in forms():
        with tempfile.TemporaryDirectory() as folder:
            few = ["--train-size", "1000", "--validation", "1000", "--epochs", "1", "--quiet"]
            found[f"{name} {arch}"] = measured([*GENCTL, "train", name, "--arch", arch, *few], Path(folder))[1]
    return found


def until(arguments: list[str], metric: str, goal: float, folder: Path) -> tuple[float, dict[str, Any]]:
    """Return the seconds from nothing until a metrics line reaches the goal (or the end), and that line."""
    started = perf_counter()
    process = start([*GENCTL, "train", *arguments, "--json"], folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    line: dict[str, Any] = {}
    for text in process.stdout:
        line = json.loads(text)
        if line[metric] <= goal:
            break
    took = perf_counter() - started
    process.send_signal(signal.SIGTERM)
    process.wait()
    return took, line


def time_to_quality() -> dict[str, Any]:
    """Return how long a new user waits for a fixed quality, each from nothing."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        took, line = until(["vae"], "validation_nats", 100.0, Path(folder))
        reached = {"epoch": line["epoch"], "reached": line["validation_nats"]}
        found["train vae, to 100 nats on validation"] = {"seconds": took, **reached}
        few = ["realnvp", "--size", "small", "--lr", "1e-2", "--train-size", "10000", "--epochs", "1"]
        took = run([*GENCTL, "train", *few], Path(folder))
        text = (Path(folder) / "checkpoints" / "realnvp-001" / "metrics.jsonl").read_text()
        found["train " + " ".join(few)] = {"seconds": took, "reached": json.loads(text)["validation_bits_per_dim"]}
        found |= gan_quality(Path(folder))
    return found


def gan_quality(folder: Path, epochs: int = 12) -> dict[str, Any]:
    """Return the smallest class among 10,000 samples of a short GAN, by its neighbours among real images."""
    took = run([*GENCTL, "train", "gan", "--epochs", str(epochs)], folder)
    model, _ = load.load_model(folder / "checkpoints" / "gan-001" / "model.safetensors")
    train = data.load("mnist").train
    assert isinstance(model, Decodes) and train.labels is not None
    labels, _ = nearest.vote(sampling.sample(model, 10_000), train.pixels, train.labels)
    smallest = labels.bincount(minlength=10).min().item() / 10_000
    return {f"train gan --epochs {epochs}": {"seconds": took, "smallest_class": smallest}}
