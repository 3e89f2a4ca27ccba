"""Real trainings, killed at random moments: each is verified and resumed, and ends with the bits of one never killed.

python tests/training/soak.py --kills 200      a quarter of an hour or two; prints kills, damaged files, differing runs
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from genctl.checkpoint import atomic, manifest
from genctl.runs import folder as run_folder

SHARED = ["--epochs", "2", "--save-every", "0.1", "--sample-every", "1", "--threads", "1", "--device", "cpu", "--quiet"]
TRAININGS = {  # small ones, of the real MNIST
    "vae": ["--hidden", "64", "--train-size", "8000", "--validation", "1000"],
    "gan": ["--arch", "dcgan", "--channels", "4", "--train-size", "2000"],
    "realnvp": ["--channels", "8", "--couplings", "4", "--train-size", "1000", "--validation", "200"],
}
TIMES = ("seconds", "images_per_second")  # what differs from run to run


def metric_lines(folder: Path) -> list[dict[str, object]]:
    """Return the lines of metrics.jsonl without what a clock said."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def bytes_but_id(path: Path) -> bytes:
    """Return a checkpoint's bytes; the id of its run, which a state has and weights have not, is set to zeros."""
    run = manifest.run_of(manifest.read(path))
    assert bool(run) == path.name.startswith("state-")
    return path.read_bytes().replace(run.encode(), b"0" * 32, 1) if run else path.read_bytes()


def differences(one: Path, other: Path) -> list[str]:
    """Return what differs between two finished runs: metrics, and every byte of the weights and of the newest state."""
    newest, theirs = run_folder.states(one)[0].name, run_folder.states(other)[0].name
    if newest != theirs:
        return [f"the newest states are {newest} and {theirs}"]
    found = [] if metric_lines(one) == metric_lines(other) else ["metrics.jsonl"]
    names = (run_folder.WEIGHTS, newest)
    return found + [name for name in names if bytes_but_id(one / name) != bytes_but_id(other / name)]


def process(*words: str, module: Sequence[str] = ("-m", "genctl")) -> subprocess.Popen[str]:
    """Start genctl in a process of its own, or what starts it in several."""
    environment = {**os.environ, "PYTHONPATH": str(Path(atomic.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *module, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def code_of(*words: str) -> int:
    """Run genctl to its end; what it says is shown if it fails."""
    with process(*words) as child:
        said = child.communicate()[0]
    if child.returncode:
        print("genctl", *words, said, sep="\n  ")
    return child.returncode


def kill_and_resume(model: str, options: Sequence[str], whole: Path, root: Path, after: float) -> tuple[bool, str]:
    """Kill a training after some seconds and go on; return whether it was still alive, and what went wrong."""
    folder = root / "killed"
    start = ["train", model, *options, "--out", str(root), "--name", folder.name]
    with process(*start) as child:
        time.sleep(after)
        alive = child.poll() is None
        child.kill()
    begun = (folder / "config.json").is_file()
    if begun and run_folder.states(folder) and code_of("verify", str(folder)):
        return alive, "damaged"
    if code_of(*(["train", model, "--resume", str(folder), "--quiet"] if begun else start)):
        return alive, "the resume failed"
    wrong = differences(whole, folder) + [path.name for path in folder.rglob(".*.tmp")]
    shutil.rmtree(folder)
    return alive, ", ".join(wrong)


def soak(kills: int, root: Path, trainings: dict[str, list[str]], seed: int = 0) -> tuple[int, list[str]]:
    """Kill trainings in turn until so many died; return their number and what went wrong, of which model and when."""
    chance, took, done, problems = random.Random(seed), {}, 0, []
    for model, options in trainings.items():
        begin = time.monotonic()
        assert code_of("train", model, *options, "--out", str(root / "whole"), "--name", model) == 0
        took[model] = time.monotonic() - begin
    while done < kills:
        model = list(trainings)[done % len(trainings)]
        after = chance.uniform(0, took[model])
        alive, wrong = kill_and_resume(model, trainings[model], root / "whole" / model, root, after)
        done += alive
        problems += [f"{model} after {after:.2f} s: {wrong}"] if wrong else []
        print(f"{done} kills, {model} after {after:.2f} s: {wrong or 'the same bits'}", file=sys.stderr, flush=True)
    return done, problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        started = time.monotonic()
        real = {model: [*options, *SHARED] for model, options in TRAININGS.items()}
        count, wrong_ones = soak(given.kills, Path(place), real, given.seed)
        seconds = time.monotonic() - started
    print(*wrong_ones, f"{count} kills in {seconds:.0f} s: {len(wrong_ones)} runs damaged, lost or different", sep="\n")
    sys.exit(bool(wrong_ones))
