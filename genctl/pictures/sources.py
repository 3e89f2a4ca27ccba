"""Where pictures come from: a folder, a zip archive that is read in place, an array. Nothing is extracted."""

from __future__ import annotations

import os
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from . import decoding
from .layout import is_known_non_picture, is_left_beside
from .regular import irregular, opened, parsing, reason, whole

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from .reading import Reading

Identity = tuple[int, int]  # of a folder: device and inode
MOST_BYTES_A_PICTURE = 256 << 20
MOST_BYTES_OF_ARCHIVE = 1 << 40
MOST_BYTES_UNASKED = 16 << 20  # more than this of one picture in a zip
MOST_RATIO = 100  # must not be more than this many times what it is packed in


class Item(NamedTuple):
    """One picture before it is opened."""

    name: str  # its path in the source, with /
    stamp: tuple[int, ...]  # what changes with its content: sizes, times, checksums
    problem: str = ""  # why it cannot even be opened


class Source(ABC):
    """Pictures under names; each is read by itself, from any thread."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.passed_over: list[str] = []  # files that are known to be no pictures
        self.notes: list[str] = []  # how the source was understood

    @abstractmethod
    def look(self, item: Item, reading: Reading) -> decoding.Look:
        """Return mode and size without decoding; raise Unreadable."""

    @abstractmethod
    def pixels(self, item: Item, reading: Reading) -> NDArray[numpy.uint8]:
        """Return the picture as it is meant, uint8 [H, W, C]; raise Unreadable."""


class Files(Source):
    """Pictures that are files of their own."""

    path: Path

    @abstractmethod
    def open(self, item: Item) -> AbstractContextManager[IO[bytes]]:
        """Open the file of an item."""

    def add(self, item: Item) -> None:
        """Take a file up, or pass it over as no picture."""
        if is_known_non_picture(item.name):
            self.passed_over.append(item.name)
        else:
            self.items.append(item)

    def look(self, item: Item, reading: Reading) -> decoding.Look:
        """Return mode and size from the file's header."""
        with self.open(item) as file:
            return decoding.look(file, reading.background)

    def pixels(self, item: Item, reading: Reading) -> NDArray[numpy.uint8]:
        """Return the decoded picture."""
        with self.open(item) as file:
            return decoding.decode(file, reading.background)


class Folder(Files):
    """The files under a folder; links are followed, never in a circle."""

    def __init__(self, path: Path, listed: bool = True) -> None:
        super().__init__()
        self.path = path
        if listed:
            self._walk()

    def _walk(self) -> None:
        left: list[tuple[str, frozenset[Identity]]] = [("", frozenset())]  # folders, and which lie above each
        while left:
            left += self._list(*left.pop())
        self.items.sort(key=itemgetter(0))

    def _list(self, inside: str, above: frozenset[Identity]) -> list[tuple[str, frozenset[Identity]]]:
        """Take up the files of a folder and return the folders in it."""
        here, folders = os.path.join(self.path, inside), []
        try:
            about = os.stat(here)
            entries = list(os.scandir(here))
        except OSError as error:
            self.add(Item(inside or ".", (), reason(error)))
            return []
        known = above | {(about.st_dev, about.st_ino)}
        prefix = f"{inside}/" if inside else ""
        for entry in entries:  # of tens of thousands: one look at each, and no more of its name than the last part
            name = prefix + entry.name
            try:
                found = os.stat(entry.path)
            except OSError as error:
                self.add(Item(name, (), f"it cannot be found ({reason(error)})"))
                continue
            if not stat.S_ISDIR(found.st_mode):
                if is_left_beside(entry.name):
                    self.passed_over.append(name)
                    continue
                stamp = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                self.items.append(Item(name, stamp, irregular(found.st_mode)))
            elif is_left_beside(entry.name):
                self.passed_over.append(f"{name}/")
            elif (found.st_dev, found.st_ino) in known:
                self.add(Item(name, (), "it is a link to a folder above it"))
            else:
                folders.append((name, known))
        return folders

    @contextmanager
    def open(self, item: Item) -> Iterator[IO[bytes]]:
        """Open a regular file."""
        with opened(self.path / item.name, MOST_BYTES_A_PICTURE) as file:
            yield file


class Zip(Files):
    """The files of a zip archive, read in place."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        with whole(path), opened(path, MOST_BYTES_OF_ARCHIVE), parsing("it is no sound zip archive"):
            self.archive = zipfile.ZipFile(path)
            self.entries = {entry.filename: entry for entry in self.archive.infolist() if not entry.is_dir()}
        for name, entry in sorted(self.entries.items()):
            problem = "it is encrypted" if entry.flag_bits & 1 else ""
            most = min(MOST_BYTES_A_PICTURE, max(MOST_BYTES_UNASKED, MOST_RATIO * entry.compress_size))
            if entry.file_size > most:
                problem = f"it unpacks from {entry.compress_size:,} to {entry.file_size:,} bytes"
            self.add(Item(name, (entry.file_size, entry.CRC), problem))

    @contextmanager
    def open(self, item: Item) -> Iterator[IO[bytes]]:
        """Open a file of the archive."""
        with parsing("it cannot be unpacked"), self.archive.open(self.entries[item.name]) as file:
            yield file
