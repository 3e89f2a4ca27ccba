"""Data sets fetched on first use, by torchvision's addresses and checksums, and kept in the cache folder."""

from __future__ import annotations

import errno
import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path

from ..checkpoint import atomic
from ..errors import DataError
from ..pictures.cache import cache_folder, make
from ..terminal.reporter import SILENT, Reporter

SETS = {"fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}  # our name: torchvision's class
CHUNK = 1 << 18
TIMEOUT = 20.0  # seconds without an answer


def fetch(name: str, reporter: Reporter = SILENT) -> Path:
    """Return the folder of the data set's files, downloading those that are missing, damaged or others."""
    return fetch_from(name, *_torchvision(name), reporter)


def fetch_from(name: str, addresses: list[str], resources: list[tuple[str, str]], reporter: Reporter = SILENT) -> Path:
    """Return the folder of a data set's files (name, MD5), downloading those that are missing, damaged or others."""
    folder = cache_folder() / name
    missing = [(file, md5) for file, md5 in resources if _md5(folder / file) != md5]
    if missing:
        make(name)
    for file, md5 in missing:
        if (folder / file).exists():
            reporter.say(f"warning: {folder / file} is damaged, or not {name}'s; fetching it again.")
        _download_from_any(addresses, file, md5, folder, reporter)
    return folder


def _md5(path: Path) -> str | None:
    """Return the MD5 of a regular file, None where there is none that can be read."""
    try:
        return hashlib.md5(atomic.read(path), usedforsecurity=False).hexdigest()
    except OSError:
        return None


def _torchvision(name: str) -> tuple[list[str], list[tuple[str, str]]]:
    try:
        from torchvision import datasets
    except Exception as error:  # a torchvision built for another torch fails in its own ways
        raise DataError(
            f"{name} needs torchvision, which cannot be imported ({error}); install the one that matches torch."
        ) from error
    source = getattr(datasets, SETS[name])
    return list(source.mirrors), list(source.resources)


def _download_from_any(addresses: list[str], file: str, md5: str, folder: Path, reporter: Reporter) -> None:
    problems = []
    for address in addresses:
        try:
            return _download(address + file, md5, folder / file, reporter)
        except (HTTPException, OSError, ValueError) as error:  # URLError is an OSError
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise  # no other address has more room here
            reason = " ".join(str(getattr(error, "reason", None) or error).split())
            problems.append(f"{address}{file}: {reason}")
    raise DataError(
        f"cannot download {'; '.join(problems)}. Without a network, put its files into {folder} by hand,"
        " or use the built-in --dataset mnist."
    )


def _download(url: str, md5: str, target: Path, reporter: Reporter = SILENT) -> None:
    """Fetch url into target, which appears only when it is whole and its MD5 is right."""
    data = bytearray()
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - torchvision's addresses
        size = int(answer.headers.get("Content-Length") or 0) or None
        with reporter.counting(size, target.name) as advance:
            while chunk := answer.read(CHUNK):
                data += chunk
                advance(len(chunk))
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"its MD5 is {found}, not {md5}")
    atomic.write(target, bytes(data))
