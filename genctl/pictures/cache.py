"""The cache folder: where it is, what it holds, and how it is cleared."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/genctl, by default ~/.cache/genctl; raise DataError for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genctl"
    except RuntimeError as error:
        raise DataError("there is no home folder to keep a cache in; set XDG_CACHE_HOME to a folder.") from error


def make(name: str) -> Path:
    """Return a folder of the cache, made if need be; raise DataError where that cannot be."""
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}); set XDG_CACHE_HOME elsewhere.") from error
    return folder


class Held(NamedTuple):
    """A folder of the cache, or a file at its top."""

    name: str
    files: int
    bytes: int


def held() -> list[Held]:
    """Return what the cache holds, by name."""
    found = []
    for path in sorted(cache_folder().glob("*")):
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        found.append(Held(path.name, len(files), sum(file.stat().st_size for file in files)))
    return found


def clear(name: str | None = None) -> list[Held]:
    """Remove what the cache holds under a name, or all of it, and return that; raise DataError where it cannot be."""
    gone = [entry for entry in held() if name in (None, entry.name)]
    if name is not None and not gone:
        there = ", ".join(entry.name for entry in held()) or "nothing"
        raise DataError(f"the cache {cache_folder()} holds no {name}; it holds {there}.")
    for entry in gone:
        path = cache_folder() / entry.name
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError as error:
            raise DataError(f"{path} cannot be removed ({error.strerror}).") from error
    return gone
