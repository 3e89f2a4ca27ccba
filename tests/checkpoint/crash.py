"""A writer to be killed, the loop that kills it, and the states that a power loss can leave; no torch.

python tests/checkpoint/crash.py 1000      1,000 kills; prints cycles, torn files accepted, acknowledged states lost
"""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from genctl.checkpoint import atomic, manifest
from genctl.checkpoint.manifest import Manifest
from genctl.errors import CheckpointError
from genctl.runs import folder as run_folder

Files = dict[str, bytes]
Operation = tuple[str, ...] | tuple[str, str, bytes]

DATA = {"name": "bars", "digest": "d"}


def sealed(step: int, size: int = 4_000) -> bytes:
    """Return a sealed state of this step whose bytes depend on it."""
    payload = (step % 251).to_bytes(1, "big") * size
    text = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    about = Manifest(
        model="vae", config={}, train={}, shape=(1, 2, 2), dataset=DATA, role="state", step=step, epoch=0
    )  # fmt: skip
    return manifest.seal(len(text).to_bytes(8, "little") + text + payload, about)


def step_of(data: bytes) -> int:
    """Return the step that a whole file records; raise CheckpointError for any other."""
    header = manifest.parse(data, len(data), Path("state"))
    manifest.verify(io.BytesIO(data), header, Path("state"))
    return header.manifest.step


def save(folder: Path, step: int, size: int = 4_000) -> None:
    """Write a state the way a run does: durable first, then the older ones go."""
    atomic.write(folder / f"state-{step:08d}.safetensors", sealed(step, size))
    run_folder.prune_states(folder)


def newest(folder: Path) -> int:
    """Return the newest whole state's step, 0 for none."""
    for path in run_folder.states(folder):
        try:
            return step_of(path.read_bytes())
        except CheckpointError:
            continue
    return 0


def write_for_ever(folder: Path) -> None:
    """Save state after state, and acknowledge each on stdout once it is durable."""
    step = newest(folder)
    while True:
        step += 1
        save(folder, step, size=400_000)
        print(step, flush=True)


def kill_loop(cycles: int, folder: Path) -> tuple[int, int]:
    """Kill the writer at random moments; return (torn files accepted, acknowledged states lost)."""
    torn = lost = 0
    chance = random.Random(0)
    words = [sys.executable, __file__, "write", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(atomic.__file__).parents[2])}  # installed or not
    for _ in range(cycles):
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
        assert child.stdout is not None
        acknowledged = [child.stdout.readline()]
        time.sleep(chance.uniform(0, 0.03))
        child.kill()
        acknowledged += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        last = max(int(line) for line in acknowledged if line.endswith("\n"))
        lost += newest(folder) < last
        torn += sum(not whole(path) for path in run_folder.states(folder))
    return torn, lost


def whole(path: Path) -> bool:
    """Tell whether a file under a state's final name is a state of the step in its name."""
    try:
        return step_of(path.read_bytes()) == int(path.stem.removeprefix("state-"))
    except CheckpointError:
        return False


class Recorder:
    """Stands in for the module os inside a writer: does everything, and notes what a disk would see."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.names: dict[int, str] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = os.open(path, flags, mode)
        self.names[descriptor] = Path(path).name
        if flags & os.O_CREAT:
            self.operations.append(("create", Path(path).name))
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        self.operations.append(("write", self.names[descriptor], bytes(data)))
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}") or self.names[descriptor] not in self.created()
        self.operations.append(("fsync folder",) if is_folder else ("fsync", self.names[descriptor]))
        os.fsync(descriptor)

    def created(self) -> set[str]:
        return {operation[1] for operation in self.operations if operation[0] == "create"}  # type: ignore[misc]

    def replace(self, old: str | Path, new: str | Path) -> None:
        self.operations.append(("rename", Path(old).name, Path(new).name))
        os.replace(old, new)

    def unlink(self, path: str | Path) -> None:
        self.operations.append(("unlink", Path(path).name))
        os.unlink(path)


def crash_states(before: Files, operations: list[Operation]) -> Iterator[tuple[int, Files]]:
    """Yield (operations done, files) for each state that a power loss can leave.

    Names become durable in order, at any point up to now but not before the last fsync of the folder; the unsynced
    content of a file is there whole, not at all, by half, or as zeros.
    """
    for done in range(len(operations) + 1):
        past = operations[:done]
        synced = max((i for i, op in enumerate(past) if op[0] == "fsync folder"), default=-1)
        naming = [i for i, op in enumerate(past) if op[0] in ("create", "rename", "unlink")]
        certain = [i for i in naming if i <= synced]
        open_ = [i for i in naming if i > synced]
        for extra in range(len(open_) + 1):
            yield from ((done, files) for files in _on_disk(before, past, set(certain + open_[:extra])))


def _on_disk(before: Files, past: list[Operation], durable: set[int]) -> Iterator[Files]:
    content: dict[int, tuple[bytes, bool]] = {i: (data, True) for i, data in enumerate(before.values())}
    memory = {name: i for i, name in enumerate(before)}  # name -> file, as the running system sees it
    disk = dict(memory)
    for i, (kind, *rest) in enumerate(past):
        if kind == "create":
            memory[rest[0]] = len(content)
            content[len(content)] = (b"", False)
        elif kind == "write":
            file = memory[rest[0]]
            content[file] = (content[file][0] + rest[1], False)
        elif kind == "fsync":
            content[memory[rest[0]]] = (content[memory[rest[0]]][0], True)
        elif kind == "rename":
            memory[rest[1]] = memory.pop(rest[0])
        elif kind == "unlink":
            memory.pop(rest[0])
        if i in durable:
            _apply(kind, rest, memory, disk)
    unsynced = [name for name, file in disk.items() if not content[file][1]]
    for fates in itertools.product((bytes, _none, _half, _zeros), repeat=len(unsynced)):
        files = {name: content[file][0] for name, file in disk.items()}
        yield files | {name: fate(files[name]) for name, fate in zip(unsynced, fates, strict=True)}


def _apply(kind: str, rest: list, memory: dict[str, int], disk: dict[str, int]) -> None:
    if kind == "create":
        disk[rest[0]] = memory[rest[0]]
    elif kind == "rename" and rest[0] in disk:
        disk[rest[1]] = disk.pop(rest[0])
    elif kind == "unlink":
        disk.pop(rest[0], None)


def _none(data: bytes) -> bytes:
    return b""


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _zeros(data: bytes) -> bytes:
    return b"\0" * len(data)


def verdict(states: Iterator[tuple[int, Files]]) -> tuple[int, int, int]:
    """Return (states, states with no whole checkpoint left, torn checkpoints under a final name)."""
    count = lost = torn = 0
    for _, files in states:
        count += 1
        candidates = [data for name, data in files.items() if name.startswith("state-")]
        good = [data for data in candidates if _is_whole(data)]
        lost += not good
        torn += len(candidates) - len(good)
    return count, lost, torn


def _is_whole(data: bytes) -> bool:
    try:
        return step_of(data) >= 0
    except CheckpointError:
        return False


def record(writer: Callable[[Path], None], module: object = atomic) -> list[Operation]:
    """Return what the writer asks of the disk when two states are there already."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for step in (1, 2):
            save(folder, step)
        original = module.os  # type: ignore[attr-defined]
        module.os = recorder  # type: ignore[attr-defined]
        try:
            writer(folder)
        finally:
            module.os = original  # type: ignore[attr-defined]
    return recorder.operations


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write_for_ever(Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as place:
        started = time.monotonic()
        torn_files, lost_states = kill_loop(int(sys.argv[1]), Path(place))
        seconds = time.monotonic() - started
    print(f"{sys.argv[1]} kills in {seconds:.0f} s: {torn_files} torn files accepted, {lost_states} states lost")
