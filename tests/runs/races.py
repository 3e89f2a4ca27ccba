"""Processes that meet in one run's folder: two resumes, twenty starts of one name, delete and restart, and lookers.

python tests/runs/races.py --races 200      a few minutes; prints races, mixed runs and lost ones

Each racer is a fork of this process, which has trained already and so has all libraries loaded: they start at once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "training")]

import torch  # noqa: E402
from conftest import tiny_flags, write_idx  # noqa: E402
from soak import differences  # noqa: E402

from genctl.checkpoint import manifest  # noqa: E402
from genctl.cli.app import main  # noqa: E402
from genctl.runs import folder as run_folder  # noqa: E402
from genctl.testing.cases import bars  # noqa: E402

STARTERS = 20
REFUSED = {2, 7}  # a name that exists, a folder in use
Race = Callable[["Track"], list[str]]


class Track:
    """A folder for races, with the runs that nothing crossed beside it."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "runs" / "x"
        data = root / "bars"
        data.mkdir(parents=True)
        for prefix, n in (("train", 120), ("t10k", 40)):
            for what, values in zip(("images-idx3", "labels-idx1"), bars(n), strict=True):
                write_idx(data / f"{prefix}-{what}-ubyte", values)
        self.tiny = [*tiny_flags("vae", "mlp"), "--dataset", str(data), "--batch-size", "20", "--save-every", "0.2"]
        self.tiny += ["--device", "cpu", "--threads", "1", "--sample-every", "100"]
        for seed in (0, 1):
            assert main([*self.start(seed), "--out", str(root), "--name", f"whole-{seed}", "--quiet"]) == 0

    def start(self, seed: int, epochs: int = 3) -> list[str]:
        """Return the words that train a tiny model."""
        return ["train", "vae", *self.tiny, "--seed", str(seed), "--epochs", str(epochs)]

    def named(self, seed: int, epochs: int = 3) -> list[str]:
        """Return the words that train it in the folder of the race."""
        return [*self.start(seed, epochs), "--out", str(self.folder.parent), "--name", self.folder.name]

    def begin(self, *words: str) -> int:
        """Start genctl in a fork of this process; return its id."""
        child = os.fork()
        if child:
            return child
        code = 99
        try:
            with open(self.root / f"{os.getpid()}.txt", "w") as said:
                sys.stdout = sys.stderr = said
                code = main(list(words))
        finally:
            os._exit(code)

    def look(self, parent: int) -> None:
        """List the runs in this fork to the end of the race, or of the process that holds it."""
        try:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            while os.getppid() == parent:
                main(["runs", "--out", str(self.folder.parent)])
        finally:
            os._exit(0)

    def end_of(self, child: int) -> int:
        """Wait for a fork; return its exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def said(self, child: int) -> str:
        """Return what a fork has printed."""
        return (self.root / f"{child}.txt").read_text()

    def judge(self, seed: int) -> list[str]:
        """Return what is wrong with the run in the folder, which should be that of the seed; then remove it."""
        found = differences(self.root / f"whole-{seed}", self.folder)
        mine = run_folder.read_config(self.folder).id
        found += [p.name for p in run_folder.states(self.folder) if manifest.run_of(manifest.read(p)) != mine]
        shutil.rmtree(self.folder)
        return found


def two_resumes(track: Track) -> list[str]:
    """Resume a run twice at once: one trains, the other is refused, or comes when all is done."""
    assert track.end_of(track.begin(*track.named(0), "--max-minutes", "0")) == 0
    back = ["train", "vae", "--resume", str(track.folder)]
    codes = sorted(map(track.end_of, [track.begin(*back) for _ in range(2)]))
    return track.judge(0) + ([] if codes in ([0, 0], [0, 7]) else [f"exit codes {codes}"])


def twenty_starts(track: Track) -> list[str]:
    """Start twenty runs of one name at once: one trains, the others are refused."""
    codes = sorted(map(track.end_of, [track.begin(*track.named(0)) for _ in range(STARTERS)]))
    return track.judge(0) + ([] if codes[0] == 0 and set(codes[1:]) <= REFUSED else [f"exit codes {codes}"])


def delete_and_restart(track: Track) -> list[str]:
    """Delete a folder in mid-training and start another run of its name: the first stops and leaves it alone."""
    old = track.begin(*track.named(0, epochs=10_000))
    while not (track.folder.is_dir() and run_folder.states(track.folder)):
        time.sleep(0.002)
    gone = track.folder.with_name("gone")
    track.folder.rename(gone)
    new = track.begin(*track.named(1))
    codes = [track.end_of(old), track.end_of(new)]
    shutil.rmtree(gone)
    wrong = [] if codes == [3, 0] and "nothing more is written there" in track.said(old) else [f"exit codes {codes}"]
    return track.judge(1) + wrong


def lookers(track: Track) -> list[str]:
    """List the runs without end beside trainers that start and resume: none of them is refused."""
    child = os.fork()
    if not child:
        track.look(os.getppid())
    stop = ["--max-minutes", "0"]
    back = ["train", "vae", "--resume", str(track.folder)]
    codes = [track.end_of(track.begin(*words)) for words in ([*track.named(0), *stop], [*back, *stop], back)]
    os.kill(child, 9)
    os.waitpid(child, 0)
    return track.judge(0) + ([f"exit codes {codes}"] if any(codes) else [])


RACES: tuple[Race, ...] = (two_resumes, twenty_starts, delete_and_restart, lookers)


def run(races: int, root: Path) -> list[str]:
    """Hold so many races, each kind in turn; return what was mixed or lost."""
    torch.set_num_threads(1)
    track, found = Track(root), []
    for i in range(races):
        race = RACES[i % len(RACES)]
        found += [f"{race.__name__}: {problem}" for problem in race(track)]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=200)
    count = parser.parse_args().races
    with tempfile.TemporaryDirectory() as place:
        started = time.monotonic()
        problems = run(count, Path(place))
        seconds = time.monotonic() - started
    print(*problems, f"{count} races in {seconds:.0f} s: {len(problems)} runs mixed or lost", sep="\n")
    sys.exit(bool(problems))
