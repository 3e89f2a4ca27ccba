"""Folders, zips and arrays as data sets: the same pictures are the same data, divided by digest, read once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import write_idx
from folders import Heard, grey_bars, write, zipped
from PIL import Image

from genctl import data
from genctl.data import Dataset, Reading
from genctl.errors import DataError, UsageError
from genctl.pictures import gather, pool, splits, store

N = 120
SPLITS = ("train", "validation", "test")


def digests(images: torch.Tensor) -> list[bytes]:
    return [splits.digest(row) for row in images.permute(0, 2, 3, 1).numpy()]


def same(one: Dataset, two: Dataset) -> bool:
    """Tell whether two data sets have the same images and labels in the same places, and the same fixed draws."""
    pairs = [(one.split(name), two.split(name)) for name in SPLITS]
    return one.digest == two.digest and all(
        torch.equal(a.pixels, b.pixels)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.places, b.places)
        and a.origin == b.origin
        for a, b in pairs
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pictures") / "mine")


@pytest.fixture
def reference(folder: Path) -> Dataset:
    return data.load(str(folder))


def test_a_folder_is_divided_by_the_digest_of_its_pictures(reference: Dataset) -> None:
    images, labels = grey_bars(N)
    by_digest = {splits.digest(image[..., None]): label for image, label in zip(images, labels, strict=True)}
    assert sum(len(reference.split(name)) for name in SPLITS) == N == len(by_digest)
    order = [digest for name in SPLITS for digest in digests(reference.split(name).pixels)]
    assert order == sorted(by_digest)
    for name, low, high in (("train", 0.0, 0.8), ("validation", 0.8, 0.9), ("test", 0.9, 1.0)):
        part = reference.split(name)
        values = [int.from_bytes(digest[:8], "big") / 2**64 for digest in digests(part.pixels)]
        assert len(part) > 3 and all(low <= value < high for value in values)
        assert part.labels.tolist() == [by_digest[digest] for digest in digests(part.pixels)]
    assert reference.classes == ("0", "1", "2", "3")
    assert reference.about["duplicates"] == 0 and "last tenth" in reference.about["split"]


def test_new_pictures_move_no_old_one(folder: Path, reference: Dataset, tmp_path: Path) -> None:
    more = data.load(str(write(shutil.copytree(folder, tmp_path / "more"), 150, first=N)))
    assert len(more.train) > len(reference.train)
    for name in SPLITS:
        assert set(digests(reference.split(name).pixels)) <= set(digests(more.split(name).pixels))


@pytest.mark.parametrize(
    "form",
    ["zip", "zip in a folder", "npz", "npz channels first", "npz with a channel", "floats", "signed floats"],
)
def test_the_same_pictures_are_the_same_data(folder: Path, reference: Dataset, tmp_path: Path, form: str) -> None:
    images, labels = grey_bars(N)
    arrays: dict[str, Any] = {"images": images, "labels": numpy.array(labels, dtype=numpy.uint8)}
    if form.startswith("zip"):
        path = zipped(folder, tmp_path / "x.zip", "mine/" if "folder" in form else "")
    else:
        path = tmp_path / "x.npz"
        if form == "npz channels first":
            arrays["images"] = images[:, None]
        if form == "npz with a channel":
            arrays = {"x": images[..., None], "y": numpy.array(labels)[:, None]}
        if "floats" in form:
            arrays["images"] = (images / 255 * (2 if "signed" in form else 1) - (form == "signed floats")).astype("f4")
        numpy.savez_compressed(path, **arrays)
    heard = Heard()
    assert same(data.load(str(path), reporter=heard), reference)
    said = " ".join(heard.said)
    assert ("floats are read as from 0 to 1" in said) == (form == "floats")
    assert ("floats are read as from -1 to 1" in said) == (form == "signed floats")


def test_an_npy_has_no_labels(reference: Dataset, tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", grey_bars(N)[0])
    found = data.load(str(tmp_path / "x.npy"))
    assert found.train.labels is None and torch.equal(found.train.pixels, reference.train.pixels)
    numpy.save(tmp_path / "fortran.npy", numpy.asfortranarray(grey_bars(N)[0]))
    assert torch.equal(data.load(str(tmp_path / "fortran.npy")).test.pixels, reference.test.pixels)


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val"), ("train", "valid", "test")], ids=" ".join)
def test_parts_are_kept(tmp_path: Path, names: tuple[str, ...]) -> None:
    sizes = {"train": (0, 60), "val": (60, 80), "valid": (60, 80), "test": (80, 120)}
    for name in names:
        write(tmp_path, sizes[name][1], sizes[name][0], name)
    found = data.load(str(tmp_path))
    images = {
        name: set(map(splits.digest, grey_bars(sizes[name][1])[0][sizes[name][0] :, ..., None])) for name in names
    }
    for name in names[1:]:
        part = "test" if name == "test" else "validation"
        assert set(digests(found.split(part).pixels)) == images[name]
    rest = {digest for name in SPLITS for digest in digests(found.split(name).pixels)}
    assert rest == set().union(*images.values())
    assert set(digests(found.train.pixels)) <= images["train"]


def test_arrays_have_parts_too(tmp_path: Path) -> None:
    images, labels = grey_bars(N)
    parts = {"x_train": images[:90], "y_train": labels[:90], "x_test": images[90:], "y_test": labels[90:]}
    numpy.savez(tmp_path / "a.npz", **parts)
    named = {f"{k[2:]}_{'images' if k[0] == 'x' else 'labels'}": v for k, v in parts.items()}
    numpy.savez(tmp_path / "b.npz", **named)
    one, two = data.load(str(tmp_path / "a.npz")), data.load(str(tmp_path / "b.npz"))
    assert same(one, two)
    assert set(digests(one.test.pixels)) == set(map(splits.digest, images[90:, ..., None]))


def test_idx_and_its_export_agree_where_both_are_divided_by_digest(data_folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "out", N, prefix="train")
    images, labels = grey_bars(40)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        target = tmp_path / "out" / "test" / str(label) / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(target)
    exported = data.load(str(tmp_path / "out"))
    assert same(exported, data.load(str(data_folder), reading=Reading(by_digest=True)))
    kept = data.load(str(data_folder))
    assert kept.digest != exported.digest
    assert set(digests(kept.test.pixels)) == set(digests(exported.test.pixels))
    sized = Reading(size=(6, 6), by_digest=True)
    assert same(data.load(str(tmp_path / "out"), reading=sized), data.load(str(data_folder), reading=sized))


def test_sizes_of_splits(folder: Path, reference: Dataset) -> None:
    few = data.load(str(folder), train_size=7, validation=5)
    assert (len(few.train), len(few.validation), few.digest) == (7, 5, reference.digest)
    assert torch.equal(few.train.pixels, reference.train.pixels[:7])
    assert torch.equal(few.test.pixels, reference.test.pixels)
    for sizes in ({"train_size": N}, {"validation": N}):
        with pytest.raises(DataError, match="cannot be 120"):
            data.load(str(folder), **sizes)


def test_duplicates_are_counted_named_and_on_one_side(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "twice")
    for path in sorted(copy.rglob("*.png"))[:60]:
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    shutil.copy(copy / "0" / "000.png", copy / "1" / "zero.png")
    heard = Heard()
    found = data.load(str(copy), reporter=heard)
    assert found.about["duplicates"] == 61
    assert any("61 pictures are exact copies of others: " in line and "0/000.png = " in line for line in heard.said)
    assert any("1 pictures stand in more than one class" in line for line in heard.said)
    for n in range(2, 30):
        some = data.load(str(copy), validation=n)
        parts = [set(digests(some.split(name).pixels)) for name in SPLITS]
        assert not parts[0] & parts[1] and not parts[1] & parts[2] and not parts[0] & parts[2]


def test_a_second_start_decodes_nothing(folder: Path, reference: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "decode", lambda *_: pytest.fail("decoded again"))
    assert same(data.load(str(folder)), reference)


@pytest.mark.parametrize("what", ["rewritten", "added", "removed", "renamed", "option", "damaged cache", "cut cache"])
def test_what_changes_is_read_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mine, reading = shutil.copytree(folder, tmp_path / "mine"), Reading()
    before = data.load(str(mine))
    first = mine / "0" / "000.png"
    if what == "rewritten":
        about = first.stat()
        Image.fromarray(255 - numpy.asarray(Image.open(first))).save(first, compress_level=0)
        os.utime(first, ns=(about.st_atime_ns, about.st_mtime_ns))  # the status-change time tells
    if what == "added":
        write(mine, N + 1, N)
    if what == "removed":
        first.unlink()
    if what == "renamed":
        first.rename(mine / "1" / "new.png")
    if what == "option":
        reading = Reading(size=(4, 6))
    if "cache" in what:
        (kept,) = (tmp_path / "cache" / "genctl" / "pictures").iterdir()
        content = bytearray(kept.read_bytes())
        content[100] ^= 1
        kept.unlink()  # the pictures read before are mapped from it
        kept.write_bytes(content if what == "damaged cache" else content[:-50])
    after = data.load(str(mine), reading=reading)
    assert same(after, before) == ("cache" in what)
    assert (after.digest == before.digest) == ("cache" in what)


@pytest.mark.parametrize(
    ("reading", "shape"),
    [
        (Reading(), (3, 32, 32)),
        (Reading(size=(48, 64)), (3, 48, 64)),
        (Reading(size=(16, 16), channels=1), (1, 16, 16)),
        (Reading(size=(16, 16), fit="pad"), (3, 16, 16)),
        (Reading(size=(16, 16), fit="stretch"), (3, 16, 16)),
    ],
)
def test_pictures_of_many_sizes_become_one(tmp_path: Path, reading: Reading, shape: tuple[int, int, int]) -> None:
    wide = numpy.zeros((20, 40, 3), dtype=numpy.uint8)
    wide[:, :10], wide[:, 30:] = (255, 0, 0), (0, 0, 255)  # red, black, blue
    for i in range(40):
        picture = wide.copy()
        picture[0, 20] = i
        Image.fromarray(picture[:, : 40 - i % 2]).save(tmp_path / f"{i:02d}.png")
    heard = Heard()
    found = data.load(str(tmp_path), reporter=heard, reading=reading)
    assert found.train.shape == shape
    chosen = any("become 32 x 32 (crop); --image-size chooses another" in line for line in heard.said)
    assert chosen == (reading.size is None)
    if reading.channels is None and shape[1:] == (16, 16):
        left, top = found.train.pixels[0, :, 8, 0].tolist(), found.train.pixels[0, :, 0, 8].tolist()
        assert left == {"crop": [0, 0, 0], "pad": [255, 0, 0], "stretch": [255, 0, 0]}[reading.fit]
        assert top[2] == (255 if reading.fit == "pad" else top[2])  # the white background above


def test_alpha_takes_the_chosen_background(tmp_path: Path) -> None:
    for i in range(60):
        Image.new("RGBA", (4, 4), (i, 0, 0, 0 if i % 2 else 255)).save(tmp_path / f"{i}.png")
    found = gather_all(data.load(str(tmp_path), reading=Reading(background=(0, 200, 0))))
    assert {(0, 200, 0)} <= {tuple(image[:, 0, 0].tolist()) for image in found}


def gather_all(found: Dataset) -> torch.Tensor:
    return torch.cat([found.split(name).pixels for name in SPLITS])


@pytest.mark.parametrize("forced", [False, True])
def test_other_processes_read_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: bool
) -> None:
    monkeypatch.setattr(pool, "LEAST", 1 if forced else 10**9)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(forced)))
    mine = shutil.copytree(folder, tmp_path / "mine")
    (mine / "0" / "broken.png").write_bytes(b"no picture")
    for path in (mine, zipped(mine, tmp_path / "x.zip")):
        with pytest.raises(
            DataError, match=r"1 of 121 files cannot be read: 0/broken\.png: it is of no picture format"
        ):
            data.load(str(path))
        assert len(gather_all(data.load(str(path), reading=Reading(skip_broken=True)))) == N


def test_a_decoder_that_crashes_costs_one_picture(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(  # a decoder that ends its process at one picture
        "import os\nfrom PIL import Image\nkept = Image.open\n"
        "def opened(file, *a, **k):\n"
        "    picture = kept(file, *a, **k)\n"
        "    if picture.size == (9, 9):\n        os._exit(9)\n"
        "    return picture\nImage.open = opened\n"
    )
    mine = shutil.copytree(folder, tmp_path / "mine")
    Image.new("L", (9, 9)).save(mine / "2" / "bad.png")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setattr(pool, "LEAST", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    report = store.gathered(mine, Reading(skip_broken=True)).report
    assert report["broken"] == [["2/bad.png", "its decoder crashed"]]
    assert report["pictures"] == N


def test_stacked_digits_keep_their_shape() -> None:
    with pytest.raises(UsageError, match="stacked-mnist has a size, channels and splits of its own"):
        data.load("stacked-mnist", reading=Reading(size=(8, 8)))


def test_black_pictures_are_told(tmp_path: Path) -> None:
    images = (grey_bars(N)[0] > 127).astype(numpy.uint8)
    heard = Heard()
    for prefix in ("train", "t10k"):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", torch.from_numpy(images))
    data.load(str(tmp_path), reporter=heard)
    assert len(heard.said) == 1 and "the largest value is 1 of 255" in heard.said[0]
