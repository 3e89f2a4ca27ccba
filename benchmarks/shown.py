"""What it costs to see a training: its page, samples in the terminal and TensorBoard's files, beside none of them.

python -m benchmarks.shown [--repeats 6] [--epochs 8]      in turn, on a pseudo terminal; prints JSON
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from .commands import GENCTL, ROOT
from .machine import spread

PLAIN = """
from genctl.training import live
live.Page.refresh = live.Page.end = lambda *_: None
import sys
from genctl.cli.app import main
sys.exit(main())
"""
KINDS: dict[str, tuple[list[str], list[str]]] = {  # how Python is started, and what is typed besides
    "nothing": ([sys.executable, "-c", PLAIN], []),
    "the page": (GENCTL, []),
    "page, --show, --tensorboard": (GENCTL, ["--show", "--tensorboard"]),
}


def drained(terminal: int) -> None:
    """Read what a terminal shows, until nobody writes to it."""
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:
        pass


def measure(kind: str, epochs: int) -> tuple[float, float]:
    """Return the seconds of a training of the VAE on the clock, and those of the processor."""
    start, more = KINDS[kind]
    master, slave = pty.openpty()
    reader = threading.Thread(target=drained, args=(master,))
    reader.start()
    with tempfile.TemporaryDirectory() as folder:
        words = [*start, "train", "vae", "--epochs", str(epochs), "--train-size", "20000", "--threads", "1", *more]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        began, before = time.perf_counter(), os.times()
        subprocess.run(words, cwd=Path(folder), env=environment, stdout=slave, stderr=slave, check=True)
        after = os.times()
    os.close(slave)
    reader.join()
    os.close(master)
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, processor


def main(repeats: int, epochs: int) -> None:
    """Measure all kinds in turn, and print the medians and what each costs beside nothing."""
    clock: dict[str, list[float]] = {kind: [] for kind in KINDS}
    processor: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(repeats):
        for kind in KINDS:
            found = measure(kind, epochs)
            clock[kind].append(found[0])
            processor[kind].append(found[1])
    for kind in KINDS:
        shares = {
            name: round(median(own[kind]) / median(own["nothing"]) - 1, 4)
            for name, own in (("clock", clock), ("processor", processor))
        }
        line = {"kind": kind, "seconds": spread(clock[kind]), "of the processor": spread(processor[kind])}
        print(json.dumps({**line, "more": shares}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    main(given.repeats, given.epochs)
