"""A training on a machine that is not idle: one spinning process a core beside it.

Each repeat trains idle and busy in turn, in a process of its own each, as `genctl train` does it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from .commands import GENCTL, start
from .machine import spread

SPIN = "while True: pass"
SETTINGS: dict[str, dict[str, str]] = {  # what the user's environment may say of waiting threads
    "as it is": {},
    "GOMP_SPINCOUNT=300000": {"GOMP_SPINCOUNT": "300000"},  # the OpenMP library's own choice
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
}
RECIPES: dict[str, list[str]] = {
    "vae": ["train", "vae", "--train-size", "10000", "--epochs", "6", "--validation", "1000"],
    "gan": ["train", "gan", "--train-size", "2000", "--epochs", "4", "--validation", "1000"],
    "realnvp": ["train", "realnvp", "--size", "small", "--train-size", "2000", "--epochs", "4", "--validation", "1000"],
}


@contextmanager
def spinning(processes: int) -> Iterator[None]:
    """Within, this many processes want a core each."""
    running = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def epochs(recipe: str, setting: dict[str, str]) -> list[float]:
    """Return the images a second of each epoch but the first, which fills caches."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*GENCTL, *RECIPES[recipe], "--json"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = start(command, Path(folder), {**os.environ, **setting}, **streams)
        text, _ = process.communicate()
    return [json.loads(line)["images_per_second"] for line in text.splitlines()][1:]


def measure(recipe: str, repeats: int, setting: dict[str, str]) -> dict[str, Any]:
    """Return the rates of both, the share that is left of the idle one, and the worst epoch's share."""
    idle: list[float] = []
    busy: list[float] = []
    worst: list[float] = []
    for _ in range(repeats):
        idle.append(median(epochs(recipe, setting)))
        with spinning(os.cpu_count() or 1):
            found = epochs(recipe, setting)
        busy.append(median(found))
        worst.append(min(found))
    base = median(idle)
    return {
        "idle_images_per_second": spread(idle),
        "busy_images_per_second": spread(busy),
        "busy_share": median(busy) / base,
        "worst_epoch_share": min(worst) / base,
    }


def rates(repeats: int) -> dict[str, Any]:
    """Return the figures of each recipe as it is, and of the first in other settings."""
    found = {f"{recipe}, as it is": measure(recipe, repeats, {}) for recipe in RECIPES}
    for name, setting in list(SETTINGS.items())[1:]:
        found[f"vae, {name}"] = measure("vae", repeats, setting)
    return found
