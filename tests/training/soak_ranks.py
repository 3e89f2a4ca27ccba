"""Trainings of two processes, one of which is killed: torchrun starts both anew, to the bits of a run never killed.

python tests/training/soak_ranks.py --kills 200      an hour or two; prints kills, hung runs, differing runs
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from soak import SHARED, TRAININGS, differences, process

LAUNCH = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "3"]
TORCHRUN = ["-m", "torch.distributed.run", *LAUNCH, "-m", "genctl"]
HUNG = 20  # times as long as a run that nobody kills


def workers(torchrun: subprocess.Popen[str]) -> list[int]:
    """Return the process ids of the workers, as Linux tells them."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()]
    return []


def train(
    model: str, options: list[str], folder: Path, after: float | None, limit: float, chance: random.Random
) -> str:
    """Train to the end, with a worker killed after some seconds, and return what went wrong."""
    words = ["train", model, *options, "--out", str(folder.parent), "--name", folder.name]
    with process(*words, module=TORCHRUN) as torchrun:
        if after is not None:
            time.sleep(after)
            with suppress(IndexError, ProcessLookupError):
                os.kill(chance.choice(workers(torchrun)), signal.SIGKILL)
        try:
            said = torchrun.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            torchrun.terminate()  # it ends its workers
            return "hung"
    return "" if torchrun.returncode == 0 else said


def soak(kills: int, root: Path, trainings: dict[str, list[str]], seed: int = 0) -> list[str]:
    """Kill a worker of trainings in turn, and return what went wrong, of which model and when."""
    chance, took, problems = random.Random(seed), {}, []
    for model, options in trainings.items():
        begin = time.monotonic()
        assert train(model, options, root / "whole" / model, None, 3600, chance) == ""
        took[model] = time.monotonic() - begin
    for done in range(kills):
        model = list(trainings)[done % len(trainings)]
        after, folder = chance.uniform(0, took[model]), root / "killed"
        wrong = train(model, trainings[model], folder, after, HUNG * took[model], chance)
        wrong = wrong or ", ".join(differences(root / "whole" / model, folder))
        problems += [f"{model} after {after:.2f} s: {wrong}"] if wrong else []
        print(f"{done + 1}: {model} after {after:.2f} s: {wrong or 'the same bits'}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the workers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        started = time.monotonic()
        real = {model: [*options, *SHARED] for model, options in TRAININGS.items()}
        wrong_ones = soak(given.kills, Path(place), real, given.seed)
        seconds = time.monotonic() - started
    print(
        *wrong_ones, f"{given.kills} kills in {seconds:.0f} s: {len(wrong_ones)} runs hung, lost or different", sep="\n"
    )
    sys.exit(bool(wrong_ones))
