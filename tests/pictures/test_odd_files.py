"""Odd files by the hundred and by the thousand: each is read or refused with a reason, none crashes or hangs."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import numpy
import odd_files
import pytest

from genctl import data
from genctl.data import Reading
from genctl.errors import DataError
from genctl.pictures import pool, store


def check(folder: Path, n: int) -> None:
    """Hold that every file is read, refused or passed over, by this reader and in a zip."""
    with pytest.raises(DataError, match=f"of {n - passed(folder):,} files cannot be read") as caught:
        data.load(str(folder))
    assert "\n" not in str(caught.value)
    report = store.gathered(folder, Reading(skip_broken=True, size=(8, 8))).report
    assert report["pictures"] + len(report["broken"]) == report["files"] == n - passed(folder)
    assert report["pictures"] > n // 6 and len(report["broken"]) > n // 4
    assert all(why and "\n" not in name + why for name, why in report["broken"])
    assert not any("crashed" in why for _, why in report["broken"])


def passed(folder: Path) -> int:
    """Return how many are no files, or known to be no pictures."""
    found = store.source_at(folder)
    folders = sum(path.is_dir() and not any(path.iterdir()) for path in folder.rglob("*"))
    return len(found.passed_over) + folders


def test_some_odd_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LEAST", 1 << 50)
    monkeypatch.setattr(pool, "LEAST_BYTES", 1 << 50)
    odd_files.write(tmp_path / "odd", 200)
    check(tmp_path / "odd", 200)


@pytest.mark.slow
def test_ten_thousand_odd_files(tmp_path: Path) -> None:
    odd_files.write(tmp_path / "odd", 10_000, seed=1)
    check(tmp_path / "odd", 10_000)


def test_damaged_archives_are_read_or_refused(tmp_path: Path) -> None:
    chance = random.Random(0)
    numpy.savez_compressed(tmp_path / "whole.npz", images=numpy.arange(7200).reshape(200, 6, 6).astype(numpy.uint8))
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        for i in range(12):
            ending, content = odd_files.sound(chance)
            archive.writestr(f"{i}.{ending}", content)
    for i in range(25):
        for ending in ("npz", "zip"):
            content = bytearray((tmp_path / f"whole.{ending}").read_bytes())
            for _ in range(chance.choice([1, 3, 30])):
                content[chance.randrange(len(content))] = chance.randrange(256)
            path = tmp_path / f"{i}.{ending}"
            path.write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])
            try:
                store.gathered(path, Reading(skip_broken=True, size=(4, 4)))
            except DataError as error:
                assert str(path) in str(error) and "\n" not in str(error)
