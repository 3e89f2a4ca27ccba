"""Data sets that come as one archive, read in place: CIFAR's binary records and EMNIST's IDX files.

CIFAR (Krizhevsky 2009): a record is the labels (one byte, or coarse and fine), then 32 x 32 bytes of red, of green and
of blue. EMNIST (Cohen et al. 2017, arXiv:1702.05373): its pictures lie on their side, mirrored. Nothing is extracted
and nothing unpickled.
"""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

import torch
from torch import Tensor

from ..pictures.regular import Unreadable, opened, parsing, whole
from ..terminal.reporter import SILENT, Reporter
from . import download, idx

Part = tuple[Tensor, Tensor]  # images [N, C, H, W], labels [N]
MOST_BYTES = 1 << 30  # of an archive
PIXELS = 3 * 32 * 32
EMNIST_SETS = ("balanced", "byclass", "bymerge", "letters", "digits", "mnist")


@dataclass(frozen=True)
class Archive:
    """An archive on the network: where it is, its checksum, and how it is read."""

    folder: str  # in the cache
    address: str
    file: str
    md5: str
    read: Callable[[Path], tuple[Part, Part]]


def load(name: str, reporter: Reporter = SILENT) -> tuple[Part, Part]:
    """Return training and test of an archive's data set, downloaded once, its checksum verified each time."""
    about = SETS[name]
    folder = download.fetch_from(about.folder, [about.address], [(about.file, about.md5)], reporter)
    return about.read(folder / about.file)


def records(data: bytes, label_bytes: int) -> Part:
    """Return the images and the last label of CIFAR's records; raise Unreadable if they are not whole."""
    if not data or len(data) % (label_bytes + PIXELS):
        raise Unreadable(f"{len(data):,} bytes are no whole records of {label_bytes + PIXELS:,}")
    table = torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(-1, label_bytes + PIXELS)
    images = table[:, label_bytes:].reshape(-1, 3, 32, 32).contiguous()
    return images, table[:, label_bytes - 1].long()


def cifar(path: Path, train: tuple[str, ...], test: str, label_bytes: int) -> tuple[Part, Part]:
    """Return training and test of a CIFAR archive (tar.gz); raise DataError if it is damaged."""
    names, found = (*train, test), {}
    with (
        whole(path),
        opened(path, MOST_BYTES) as file,
        parsing("it is no sound tar archive"),
        tarfile.open(fileobj=file) as archive,
    ):
        for member in archive:
            name = member.name.rpartition("/")[2]
            if name in names and member.isreg() and member.size <= MOST_BYTES:
                content = archive.extractfile(member)
                found[name] = b"" if content is None else content.read()
        missing = [name for name in names if name not in found]
        if missing:
            raise Unreadable(f"it lacks {', '.join(missing)}")
        return records(b"".join(found[name] for name in train), label_bytes), records(found[test], label_bytes)


def emnist(path: Path, which: str) -> tuple[Part, Part]:
    """Return training and test of one of EMNIST's sets (a zip of gzipped IDX files); raise DataError."""
    with (
        whole(path),
        opened(path, MOST_BYTES) as file,
        parsing("it is no sound zip archive"),
        zipfile.ZipFile(file) as archive,
    ):

        def member(part: str, what: str) -> Tensor:
            name = f"gzip/emnist-{which}-{part}-{what}-ubyte.gz"
            with archive.open(name) as packed, gzip.open(packed) as content:
                return idx.parse(cast(IO[bytes], content), path)

        train, test = (
            (upright(member(part, "images-idx3")), member(part, "labels-idx1").long()) for part in ("train", "test")
        )
    first = min(int(train[1].min()), int(test[1].min()))  # letters are counted from 1
    return (train[0], train[1] - first), (test[0], test[1] - first)


def upright(images: Tensor) -> Tensor:
    """Return EMNIST's images [N, H, W] as [N, 1, H, W], rows and columns exchanged."""
    return images.transpose(1, 2).unsqueeze(1).contiguous()


BATCHES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TORONTO = "https://www.cs.toronto.edu/~kriz/"
SETS = {
    "cifar10": Archive(
        "cifar10",
        TORONTO,
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        partial(cifar, train=BATCHES, test="test_batch.bin", label_bytes=1),
    ),
    "cifar100": Archive(
        "cifar100",
        TORONTO,
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        partial(cifar, train=("train.bin",), test="test.bin", label_bytes=2),
    ),
} | {
    name: Archive(
        "emnist",
        "https://biometrics.nist.gov/cs_links/EMNIST/",
        "gzip.zip",
        "58c8d27c78d21e728a6bc7b3cc06412e",
        partial(emnist, which=which),
    )
    for name, which in {"emnist": "balanced", **{f"emnist-{which}": which for which in EMNIST_SETS}}.items()
}
NAMES = ["emnist", "cifar10", "cifar100"]
