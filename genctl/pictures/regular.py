"""Files that are what they seem: regular ones, of a size known before they are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from ..errors import DataError, GenctlError


class Unreadable(Exception):
    """Why one file, or one picture of a file, cannot be read; a collection names it and its reason."""


KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def irregular(mode: int) -> str:
    """Return what a file is if it is no regular one, else ""."""
    return "" if stat.S_ISREG(mode) else f"it is {KINDS.get(stat.S_IFMT(mode), 'no regular file')}"


@contextmanager
def opened(path: Path, most: int) -> Iterator[BufferedReader]:
    """Open a regular file of at most so many bytes; raise Unreadable for any other, without waiting for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        raise Unreadable(reason(error)) from error
    about = os.fstat(descriptor)
    if irregular(about.st_mode):
        os.close(descriptor)
        raise Unreadable(irregular(about.st_mode))
    with os.fdopen(descriptor, "rb") as file:
        if about.st_size > most:
            raise Unreadable(f"its {about.st_size:,} bytes are more than {most:,}")
        yield file


def reason(error: BaseException) -> str:
    """Return an error's words on one line, without what is different in each run."""
    said = getattr(error, "strerror", None) or error
    text = " ".join(str(said).split()).split(" <_io.")[0].split(" <zipfile.")[0].rstrip(".")
    return shown(text)[:200] or type(error).__name__


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Turn whatever a parser of damaged bytes raises into Unreadable; running out of memory stays that."""
    try:
        yield
    except (MemoryError, GenctlError, Unreadable):
        raise
    except Exception as error:  # zipfile, zlib, lzma, numpy and Pillow fail in two dozen ways
        raise Unreadable(f"{what} ({reason(error)})") from error


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Turn Unreadable into the DataError of the one file at path."""
    try:
        yield
    except Unreadable as error:
        raise DataError(f"{shown(str(path))} cannot be read: {error}.") from error


def shown(name: str) -> str:
    """Return a name as one line of text: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
