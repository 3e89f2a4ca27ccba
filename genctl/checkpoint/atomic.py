"""Files that are written whole or not at all (standard library only)."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHUNK = 1 << 26  # bytes in one write


def write(path: Path, data: bytes) -> None:
    """Replace the file at path by data; after a crash it holds the old bytes or the new, never a mixture."""
    with writing(path) as descriptor:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest[:CHUNK]) :]


@contextmanager
def writing(path: Path) -> Iterator[int]:
    """Within, write to the descriptor; after it the file at path is replaced, or untouched where that failed.

    Temporary file in the same real folder, fsync, rename, fsync of the folder.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of a regular file; raise OSError for anything else, and never wait for a FIFO's other end."""
    wrong = OSError(errno.EINVAL, "it is not a regular file", str(path))
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a FIFO that nobody reads
            raise wrong from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise wrong
    return descriptor


def read(path: Path) -> bytes:
    """Return a regular file's bytes; raise OSError for anything else."""
    with open(open_regular(path), "rb") as file:
        return file.read()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed, and no other file."""
    for path in folder.rglob(".*.tmp"):
        if re.fullmatch(r"\..+\.\d+\.tmp", path.name):
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the folder's names durable; Windows has no such call."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Add one line with one write; what a full disk lets through of it is taken back."""
    data = line.encode() + b"\n"
    descriptor = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        before = os.fstat(descriptor).st_size
        if os.write(descriptor, data) != len(data):
            os.ftruncate(descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)
