"""Trainings of two processes, one of which is killed: torchrun starts both anew, to the bits of a run never killed.

python tests/training/soak_ranks.py --kills 200      half an hour; prints kills, hung runs, differing runs
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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from soak import SHARED, TRAININGS, differences, process

RESTARTS = 3  # in a run: as many times a worker is killed
LAUNCH = ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(RESTARTS)]
TORCHRUN = ["-m", "torch.distributed.run", *LAUNCH, "-m", "genctl"]
HUNG = 20  # times as long as a run that nobody kills
UNTIL = 0.6  # of its time: most moments are before the end, which a later attempt is nearer to


def workers(torchrun: subprocess.Popen[str]) -> list[int]:
    """Return the process ids of the workers, as Linux tells them."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()]
    return []


def new_workers(torchrun: subprocess.Popen[str], before: list[int]) -> list[int]:
    """Return the workers once there are others than before; none if it ended."""
    while torchrun.poll() is None:
        found = workers(torchrun)
        if len(found) == 2 and not set(found) & set(before):
            return found
        time.sleep(0.02)
    return []


def train(
    model: str, options: list[str], folder: Path, moments: Sequence[float], limit: float, chance: random.Random
) -> tuple[int, str]:
    """Train to the end, a worker of each attempt killed so long after its start; return kills and what was wrong."""
    words, kills, alive = ["train", model, *options, "--out", str(folder.parent), "--name", folder.name], 0, [0]
    with process(*words, module=TORCHRUN) as torchrun:
        for after in moments:
            alive = new_workers(torchrun, alive)
            time.sleep(after if alive else 0)
            with suppress(ProcessLookupError):
                if alive and torchrun.poll() is None:
                    os.kill(chance.choice(alive), signal.SIGKILL)
                    kills += 1
        try:
            said = torchrun.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            torchrun.terminate()  # it ends its workers
            return kills, "hung"
    return kills, "" if torchrun.returncode == 0 else said


def soak(kills: int, root: Path, trainings: dict[str, list[str]], seed: int = 0) -> tuple[int, list[str]]:
    """Kill workers of trainings in turn until so many died; return their number and what went wrong, and where."""
    chance, took, done, problems, runs = random.Random(seed), {}, 0, [], 0
    for model, options in trainings.items():
        begin = time.monotonic()
        assert train(model, options, root / "whole" / model, [], 3600, chance) == (0, "")
        took[model] = time.monotonic() - begin
    while done < kills:
        model = list(trainings)[runs % len(trainings)]
        moments, folder = [chance.uniform(0, UNTIL * took[model]) for _ in range(RESTARTS)], root / "killed"
        died, wrong = train(model, trainings[model], folder, moments, HUNG * took[model], chance)
        wrong = wrong or ", ".join(differences(root / "whole" / model, folder))
        done, runs = done + died, runs + 1
        where = f"{model}, {died} killed after {', '.join(f'{x:.2f}' for x in moments[:died])} s"
        problems += [f"{where}: {wrong}"] if wrong else []
        print(f"{done} kills, {where}: {wrong or 'the same bits'}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return done, problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the workers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        started = time.monotonic()
        real = {model: [*options, *SHARED] for model, options in TRAININGS.items()}
        count, wrong_ones = soak(given.kills, Path(place), real, given.seed)
        seconds = time.monotonic() - started
    print(*wrong_ones, f"{count} kills in {seconds:.0f} s: {len(wrong_ones)} runs hung, lost or different", sep="\n")
    sys.exit(bool(wrong_ones))
