"""Power loss and kill -9: a checkpoint is whole or absent, and one that was acknowledged is never lost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import crash
import pytest

from genctl.checkpoint import atomic

BEFORE = {f"state-{step:08d}.safetensors": crash.sealed(step) for step in (1, 2)}
NEW = "state-00000003.safetensors"


def real(folder: Path) -> None:
    """Save with genctl's own writer."""
    atomic.write(folder / NEW, crash.sealed(3))


def put(path: Path, synced: bool, truncate: bool = True) -> None:
    """Write a state into a file of this name through the recorded os."""
    os = atomic.os
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if truncate else 0), 0o666)
    os.write(descriptor, crash.sealed(3))
    if synced:
        os.fsync(descriptor)
    os.close(descriptor)


def without_sync(folder: Path) -> None:
    """Forget both fsyncs, and remove the old states at once."""
    put(folder / "new.tmp", synced=False)
    atomic.os.replace(folder / "new.tmp", folder / NEW)
    for name in BEFORE:
        atomic.os.unlink(folder / name)


def in_place(folder: Path) -> None:
    """Write under the final name."""
    put(folder / NEW, synced=True)
    atomic.sync_folder(folder)


def removed_too_early(folder: Path) -> None:
    """Remove the old states before the new one has its name."""
    put(folder / "new.tmp", synced=True)
    for name in BEFORE:
        atomic.os.unlink(folder / name)
    atomic.os.replace(folder / "new.tmp", folder / NEW)
    atomic.sync_folder(folder)


def test_no_power_loss_tears_or_loses_a_state() -> None:
    """In every state that a crash can leave, all visible states are whole, and the newest old one is there."""
    operations = crash.record(real)
    kinds = [operation[0] for operation in operations]
    assert kinds == ["create", "write", "fsync", "rename", "fsync folder"]
    count, lost, torn = crash.verdict(crash.crash_states(BEFORE, operations))
    assert (lost, torn) == (0, 0)
    assert count > 10


def test_after_the_writer_returns_the_new_state_is_durable() -> None:
    """Once write() has returned, no crash takes the new state back."""
    operations = crash.record(real)
    final = [files for done, files in crash.crash_states(BEFORE, operations) if done == len(operations)]
    assert final
    assert all(crash.step_of(files[NEW]) == 3 for files in final)


@pytest.mark.parametrize("writer", [without_sync, in_place, removed_too_early])
def test_the_enumerator_catches_bad_writers(writer: Callable[[Path], None]) -> None:
    """Three classic mistakes each have a state that is torn or lost; an enumerator that misses them is worthless."""
    _, lost, torn = crash.verdict(crash.crash_states(BEFORE, crash.record(writer)))
    assert lost + torn > 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_kill_minus_nine(tmp_path: Path) -> None:
    """Thirty kills of a process that saves without end."""
    assert crash.kill_loop(30, tmp_path) == (0, 0)
