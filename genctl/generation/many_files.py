"""Images as files of their own, named by their place: encoded by threads while the next are drawn."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from ..checkpoint import atomic
from ..errors import DataError, UsageError
from . import captions
from .captions import About
from .image_grid import picture, to_bytes

PIECE = 64  # images that a thread encodes at once
LARGE = 1 << 14  # numbers of an image: with two threads smaller ones took twice the time of a core
DIGITS = 6


def free(folder: Path) -> None:
    """Raise UsageError for a folder that has something in it, DataError for one that cannot be made."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; choose another --out for a file an image.")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is no folder; choose another --out.")


def threads_for(pixels: int) -> int:
    """Return how many threads encode images of so many numbers; of small ones the work is Python's, and one does it."""
    return max(1, os.cpu_count() or 1) if pixels >= LARGE else 1


def write(folder: Path, pieces: Iterable[Tensor], about: About, threads: int = 1) -> int:
    """Write images [N, C, H, W] in [0, 1] of all pieces as folder/000000.png, 000001.png, ...; return how many.

    The folder is there when all of them are in it: they are written into another, which is renamed.
    """
    folder = Path(os.path.realpath(folder))
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        done = 0
        waiting: list[Future[None]] = []
        with ThreadPoolExecutor(threads) as pool:
            for images in pieces:
                for part in to_bytes(images.cpu()).split(PIECE):
                    waiting.append(pool.submit(_encode, temporary, part, done, about))
                    done += len(part)
                waiting = [future for future in waiting if not (future.done() and future.result() is None)]
            for future in waiting:
                future.result()
        if folder.is_dir():
            folder.rmdir()
        temporary.rename(folder)
        atomic.sync_folder(folder.parent)
        return done
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _encode(folder: Path, images: Tensor, first: int, about: About) -> None:
    """Write uint8 images in the size that they have."""
    texts = captions.png(about)
    for i, image in enumerate(images, first):
        buffer = io.BytesIO()
        picture(image, enlarged=False).save(buffer, format="png", **texts)
        (folder / f"{i:0{DIGITS}d}.png").write_bytes(buffer.getvalue())
