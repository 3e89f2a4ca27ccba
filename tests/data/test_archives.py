"""CIFAR's binary archives and EMNIST's zip, made here: read in place, upright, checked each time, never unpickled."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from torchvision import datasets

from genctl import data
from genctl.data import archives, download
from genctl.errors import DataError

RANDOM = numpy.random.default_rng(0)


def records(n: int, label_bytes: int) -> bytes:
    """Return n records of random pixels, whose last label is their index modulo 10."""
    table = RANDOM.integers(0, 256, (n, label_bytes + 3072), dtype=numpy.uint8)
    table[:, label_bytes - 1] = numpy.arange(n) % 10
    return table.tobytes()


def tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


CIFAR10 = {f"cifar-10-batches-bin/{name}": records(12, 1) for name in (*archives.BATCHES, "test_batch.bin")}
CIFAR100 = {f"cifar-100-binary/{name}.bin": records(n, 2) for name, n in (("train", 60), ("test", 12))}


def idx(values: numpy.ndarray) -> bytes:
    sizes = b"".join(n.to_bytes(4, "big") for n in values.shape)
    return gzip.compress(bytes([0, 0, 8, values.ndim]) + sizes + values.astype(numpy.uint8).tobytes())


def emnist(path: Path, which: str, images: numpy.ndarray, labels: numpy.ndarray) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for part in ("train", "test"):
            archive.writestr(f"gzip/emnist-{which}-{part}-images-idx3-ubyte.gz", idx(images))
            archive.writestr(f"gzip/emnist-{which}-{part}-labels-idx1-ubyte.gz", idx(labels))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that gives the path of a name's archive in the cache, and takes its checksum as right."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def of(name: str) -> Path:
        about = archives.SETS[name]
        path = download.cache_folder() / about.folder / about.file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def accept(name: str) -> None:
        md5 = hashlib.md5(of(name).read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(archives.SETS, name, replace(archives.SETS[name], md5=md5))

    return of, accept


@pytest.mark.parametrize(("name", "files", "label_bytes"), [("cifar10", CIFAR10, 1), ("cifar100", CIFAR100, 2)])
def test_cifar_is_read_from_its_binary_archive(place, name: str, files: dict[str, bytes], label_bytes: int) -> None:
    of, accept = place
    tar(of(name), files)
    accept(name)
    found = data.load(name)
    assert found.train.shape == (3, 32, 32)
    assert (len(found.train) + len(found.validation), len(found.test)) == (60, 12)
    raw = numpy.frombuffer(list(files.values())[-1], dtype=numpy.uint8).reshape(12, -1)
    assert numpy.array_equal(found.test.pixels.numpy().reshape(12, -1), raw[:, label_bytes:])
    assert found.test.labels.tolist() == [i % 10 for i in range(12)]


def test_emnist_stands_upright_and_counts_from_0(place) -> None:
    of, accept = place
    images = RANDOM.integers(0, 256, (12, 28, 28))
    emnist(of("emnist-letters"), "letters", images, 1 + numpy.arange(12) % 3)
    accept("emnist-letters")
    found = data.load("emnist-letters")
    assert torch.equal(found.test.pixels, torch.from_numpy(images.transpose(0, 2, 1)).to(torch.uint8)[:, None])
    assert found.test.labels.tolist() == [i % 3 for i in range(12)]


FAULTS = {
    "another checksum": (CIFAR10, False, "cannot download"),
    "a batch missing": (dict(list(CIFAR10.items())[1:]), True, "it lacks data_batch_1.bin"),
    "records cut": (
        {**CIFAR10, "cifar-10-batches-bin/test_batch.bin": bytes(99)},
        True,
        "99 bytes are no whole records",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_faulty_archive_is_a_sentence(place, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    of, accept = place
    files, right, sentence = FAULTS[what]
    tar(of("cifar10"), files)
    if right:
        accept("cifar10")
    with pytest.raises(DataError, match=re.escape(sentence)):
        data.load("cifar10")


@pytest.mark.parametrize("content", [b"", b"hello", gzip.compress(b"hello", mtime=0)])
@pytest.mark.parametrize("name", ["cifar10", "emnist"])
def test_what_is_no_archive_is_a_sentence(place, name: str, content: bytes) -> None:
    of, accept = place
    of(name).write_bytes(content)
    accept(name)
    with pytest.raises(DataError, match="cannot be read: it is no sound"):
        data.load(name)


def test_addresses_and_checksums_are_the_official_ones() -> None:
    assert archives.SETS["cifar10"].md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert archives.SETS["cifar100"].md5 == "03b5dce01913d631647c71ecec9e9cb8"
    about = archives.SETS["emnist"]
    assert (about.address + about.file, about.md5) == (datasets.EMNIST.url, datasets.EMNIST.md5)
    assert set(archives.EMNIST_SETS) == set(datasets.EMNIST.splits)
