"""Pictures that are decoded once: one uint8 file in the cache folder, mapped into memory, whole or not there.

The file holds the pixels [N, C, H, W], the labels, the digests, then a description as JSON, its length, and the SHA-256
of what is before, which is checked each time. Its name is a function of the options and of each file's name, size and
times, so that a second start reads no picture. What that misses: a file whose content changes while its size, its
modification and its status-change time all stay the same, which takes a change within one tick of the clock.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from ..checkpoint import atomic
from ..errors import DataError
from ..terminal.reporter import SILENT, Reporter
from . import arrays, cache, gather, sources, splits
from .reading import Reading
from .regular import shown

FORMAT = 2
ZIP = ".zip"
FILES = (ZIP, *arrays.SUFFIXES)  # endings of files that hold many pictures
NAME = "pictures"  # of the folder in the cache
COPIED = 1024  # pictures at a time
TAIL = 8 + 32  # bytes of the description's length and of the digest


@dataclass(frozen=True)
class Gathered:
    """The pictures of a source: training first, then validation, then test."""

    pixels: NDArray[numpy.uint8]  # [N, C, H, W], mapped
    labels: NDArray[numpy.int64] | None  # [N]
    digests: splits.Digests  # [N, 32]
    counts: tuple[int, int, int]
    report: dict[str, Any]  # what was found, in words and numbers


def gathered(path: Path, reading: Reading, reporter: Reporter = SILENT) -> Gathered:
    """Return the pictures of a folder, archive or array, from the cache if they are known.

    Raises DataError for pictures that cannot be read, unless they are to be skipped.
    """
    source = source_at(path) if path.is_dir() or path.suffix.lower() not in FILES else None
    kept = cache.make(NAME) / f"{_key(path, source, reading)}.pixels"
    found = read(kept)
    if found is None:
        write(kept, gather.decode(source or source_at(path), shown(str(path)), reading, reporter))
        found = read(kept)
    if found is None:
        raise DataError(f"{kept} cannot be read back; set XDG_CACHE_HOME to a sound disk.")
    if source is not None:  # what is passed over may have changed since
        found.report["passed_over"] = gather.passed_over(source)
    if found.report["broken"] and not reading.skip_broken:
        raise gather.refusal(shown(str(path)), found.report)
    return found


def source_at(path: Path) -> sources.Source:
    """Return the source at a path; raise DataError if it is none."""
    if path.is_dir():
        return sources.Folder(path)
    if path.suffix.lower() == ZIP:
        return sources.Zip(path)
    if path.suffix.lower() in arrays.SUFFIXES:
        return arrays.source(path)
    raise DataError(
        f"{shown(str(path))} is no data set; give a folder of pictures or of IDX files, or a .zip, .npz or .npy file."
    )


def _key(path: Path, source: sources.Source | None, reading: Reading) -> str:
    """Return what names this reading of these files."""
    from PIL import __version__

    about = path.stat()
    alone = () if source else (path.suffix, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    options = (reading.size, reading.channels, reading.fit, reading.background)
    sha = hashlib.sha256(repr((FORMAT, __version__, options, alone)).encode())
    if source:  # as plain tuples, whose text costs a third of a named one's
        sha.update("\n".join(map(tuple.__repr__, source.items)).encode("ascii", "backslashreplace"))
    return sha.hexdigest()


def write(path: Path, decoded: gather.Decoded) -> None:
    """Write the decoded pictures in their order."""
    order, labels = decoded.arranged.order, decoded.labels
    about = {
        "shape": list(decoded.rows.shape),
        "labelled": labels is not None,
        "counts": decoded.arranged.counts,
        "report": decoded.report,
    }

    def parts() -> Iterator[bytes]:
        for i in range(0, len(order), COPIED):
            yield decoded.rows[order[i : i + COPIED]].tobytes()
        if labels is not None:
            yield labels[order].tobytes()
        yield decoded.digests[order].tobytes()
        text = json.dumps(about).encode()
        yield text + len(text).to_bytes(8, "little")

    sha = hashlib.sha256()
    with atomic.writing(path) as descriptor, os.fdopen(os.dup(descriptor), "wb") as file:
        for part in parts():
            sha.update(part)
            file.write(part)
        file.write(sha.digest())


def read(path: Path) -> Gathered | None:
    """Return the file's pictures; None where it is missing or damaged, to be made anew."""
    try:
        size = path.stat().st_size
        whole = numpy.memmap(path, dtype=numpy.uint8, mode="r", shape=(size,))  # what may be written must fit in memory
        if size < TAIL or hashlib.sha256(whole[:-32].data).digest() != whole[-32:].tobytes():
            return None
        length = int.from_bytes(whole[-TAIL:-32].tobytes(), "little")
        about = json.loads(whole[-TAIL - length : -TAIL].tobytes())
        N, C, H, W = about["shape"]
        pixels, rest = numpy.split(whole[: -TAIL - length], [N * C * H * W])
        labels = rest[: 8 * N].tobytes() if about["labelled"] else None
        digests = rest[-splits.DIGEST_BYTES * N :].reshape(N, splits.DIGEST_BYTES)
        return Gathered(
            pixels=pixels.reshape(N, C, H, W),
            labels=None if labels is None else numpy.frombuffer(labels, dtype=numpy.int64).copy(),
            digests=digests,
            counts=tuple(about["counts"]),
            report=about["report"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
