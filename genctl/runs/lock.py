"""The lock that one process holds on a run's folder, and the run's identity, which is looked at before every write."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from ..checkpoint import atomic
from ..errors import DataError, RunInUse

PATIENCE = 500  # tries of a few milliseconds: those who only look hold a lock for less
GONE = "was deleted, moved or replaced while the training ran; nothing more is written there."


@dataclass
class Held:
    """A run folder that this process holds."""

    folder: Path
    descriptor: int | None = None  # of the folder; its inode stays as long as this is open
    run: str = ""  # the id in its config.json; a run of an older genctl has none

    def same_folder(self) -> bool:
        """Tell whether the folder of this name is still the one that is held."""
        try:
            now = os.stat(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return self.descriptor is None or os.path.samestat(os.fstat(self.descriptor), now)

    def check(self) -> None:
        """Raise DataError unless the folder is still there and holds this run: to be asked before every write."""
        with suppress(OSError):  # a disk that fails now will say so when it is written to
            if not self.same_folder() or identity(self.folder) != self.run:
                raise DataError(f"{self.folder} {GONE}")


def identity(folder: Path) -> str | None:
    """Return the id of the run in this folder, "" for a run of an older genctl, None where there is none."""
    try:
        found = json.loads(atomic.read(folder / "config.json"))
        return str(found.get("id", ""))
    except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError, RecursionError):
        return None


@contextmanager
def lock(folder: Path) -> Iterator[Held]:
    """Hold the run folder for this process; the system lets go when the process ends, however it ends.

    Both the folder itself and its file `lock` are held: the first cannot be deleted alone, the second may be on a
    network's disk, and shows that the folder can be written. Raises RunInUse, or DataError.
    """
    if sys.platform == "win32":  # no flock there
        yield Held(folder)
        return
    with ExitStack() as stack:
        try:
            here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, here)
            _take(here)
            file = atomic.open_regular(folder / "lock", os.O_WRONLY | os.O_CREAT)
            stack.callback(os.close, file)
            _take(file)
            _sign(file)
        except BlockingIOError:
            raise RunInUse(f"{folder} is in use: another process trains there; wait for its end, or stop it.") from None
        except OSError as error:
            raise DataError(f"{folder} cannot be written: {error.strerror}; copy it to where it can.") from error
        held = Held(folder, here)
        if not held.same_folder():
            raise DataError(f"{folder} was replaced just now; try again.")
        yield held


def in_use(folder: Path) -> bool:
    """Tell whether a process trains in this folder now; to look takes a shared lock for an instant."""
    if sys.platform == "win32":
        return False
    import fcntl

    for opened in (lambda: os.open(folder, os.O_RDONLY), lambda: atomic.open_regular(folder / "lock")):
        with suppress(OSError), ExitStack() as stack:  # what may not even be read is not ours to judge
            descriptor = opened()
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def owner(folder: Path) -> int | None:
    """Return the process that holds the run folder, as its file `lock` names it; None where it names none."""
    with suppress(OSError, ValueError), open(atomic.open_regular(folder / "lock"), "rb") as file:
        return int(file.read(20))
    return None


def _sign(descriptor: int) -> None:
    """Write this process into the file that it holds, for those who look; a full disk is no reason not to train."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _take(descriptor: int) -> None:
    """Lock a file or folder; raise BlockingIOError if a trainer has it. Where disks know no such lock, it has none."""
    import fcntl

    for _ in range(PATIENCE):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # with one who looks, but not with a trainer
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            Event().wait(random.uniform(0.001, 0.01))  # noqa: S311 - a pause, no secret
        except OSError:
            return None
    raise BlockingIOError
