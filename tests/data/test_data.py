"""The embedded MNIST, splits, fixed draws, and what a damaged IDX file gets."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import bars, write_idx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from genctl import data
from genctl.data import Dataset, idx
from genctl.errors import DataError

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return data.load("mnist")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 30 training and 6 test images with labels, to damage."""
    made = tmp_path / "set"
    made.mkdir()
    for prefix, n in (("train", 30), ("t10k", 6)):
        images, labels = bars(n)
        write_idx(made / f"{prefix}-images-idx3-ubyte", images)
        write_idx(made / f"{prefix}-labels-idx1-ubyte", labels)
    return made


@pytest.mark.parametrize("name", MD5)
def test_the_embedded_files_are_the_official_ones(name: str) -> None:
    path = idx.find(data.EMBEDDED, name)
    assert path is not None
    content = path.read_bytes()
    assert md5(gzip.decompress(content) if path.suffix == ".gz" else content) == MD5[name]


def test_mnist_splits_off_its_last_10_000(mnist: Dataset) -> None:
    images = idx.read(idx.find(data.EMBEDDED, "train-images-idx3-ubyte"))
    labels = idx.read(idx.find(data.EMBEDDED, "train-labels-idx1-ubyte"))
    assert [len(mnist.split(s)) for s in ("train", "validation", "test")] == [50_000, 10_000, 10_000]
    assert mnist.train.shape == mnist.test.shape == (1, 28, 28)
    assert torch.equal(mnist.train.pixels[:, 0], images[:50_000])
    assert torch.equal(mnist.validation.pixels[:, 0], images[50_000:])
    assert torch.equal(mnist.validation.labels, labels[50_000:].long())
    assert mnist.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_mnist_needs_no_network(monkeypatch: pytest.MonkeyPatch, mnist: Dataset) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    assert data.load("mnist", train_size=10).digest == mnist.digest


def test_train_size_takes_the_first(mnist: Dataset) -> None:
    few = data.load("mnist", train_size=100)
    assert torch.equal(few.train.pixels, mnist.train.pixels[:100])
    assert few.train.places.tolist() == list(range(100))
    assert torch.equal(few.validation.pixels, mnist.validation.pixels)
    assert few.digest == mnist.digest


def test_other_sets_are_split_by_a_permutation(data_folder: Path) -> None:
    found = data.load(str(data_folder))
    train, held_out = found.train.places.tolist(), found.validation.places.tolist()
    assert (len(train), len(held_out), len(found.test)) == (100, 20, 40)  # a sixth held out
    assert sorted(train + held_out) == list(range(120))
    assert held_out != list(range(100, 120))
    images, labels = bars(120)
    for part in (found.train, found.validation):
        assert torch.equal(part.pixels[:, 0], images[part.places].to(torch.uint8))
        assert torch.equal(part.labels, labels[part.places])


def test_the_permutation_depends_on_the_content_alone(data_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other-name"
    copy.mkdir()
    for path in data_folder.iterdir():
        (copy / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    one, two = data.load(str(data_folder)), data.load(str(copy))
    assert (one.name, two.name) == ("bars", "other-name")
    assert one.digest == two.digest
    assert torch.equal(one.train.places, two.train.places)
    labels = bytearray((data_folder / "train-labels-idx1-ubyte").read_bytes())
    labels[-1] ^= 1
    (copy / "train-labels-idx1-ubyte").write_bytes(labels)
    three = data.load(str(copy))
    assert three.digest != one.digest
    assert not torch.equal(three.train.places, one.train.places)


def test_train_size_and_validation(data_folder: Path) -> None:
    whole = data.load(str(data_folder))
    few = data.load(str(data_folder), train_size=7)
    assert torch.equal(few.train.places, whole.train.places[:7])
    assert torch.equal(few.validation.places, whole.validation.places)
    assert len(data.load(str(data_folder), validation=3).validation) == 3
    assert len(data.load(str(data_folder), validation=119).train) == 1


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"train_size": 101}, "bars has 100 images to train on; --train-size cannot be 101."),
        ({"validation": 120}, "bars has 120 training images; --validation must leave some of them, so at most 119."),
    ],
)
def test_sizes_beyond_the_data_are_refused(data_folder: Path, sizes: dict[str, int], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        data.load(str(data_folder), **sizes)
    assert str(caught.value) == sentence


def test_binarizing_is_a_function_of_the_place(data_folder: Path) -> None:
    test = data.load(str(data_folder)).test
    torch.manual_seed(1)
    whole = test.binarized()
    torch.manual_seed(2)
    index = torch.tensor([31, 2, 17])
    assert torch.equal(test.take(index).binarized(), whole[index])
    assert set(whole.unique().tolist()) == {0, 255}


def test_binarizing_differs_between_images_and_splits(data_folder: Path) -> None:
    found = data.load(str(data_folder))
    grey = torch.full_like(found.test.pixels, 128)
    drawn = [type(s)(grey[:20], None, torch.arange(20), s.origin).binarized() for s in (found.test, found.train)]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_binarizing_keeps_the_mean(mnist: Dataset) -> None:
    chosen = mnist.test.choose(1000)
    drawn = chosen.binarized()
    assert drawn.float().mean().item() == pytest.approx(chosen.pixels.float().mean().item(), rel=0.005)
    assert not drawn[chosen.pixels == 0].any()
    assert (drawn[chosen.pixels == 255] == 255).all()


def test_thresholding_cuts_at_one_half(data_folder: Path) -> None:
    test = data.load(str(data_folder)).test
    assert torch.equal(test.thresholded() == 255, test.pixels >= 128)


def test_choosing_is_fixed_and_spread(mnist: Dataset) -> None:
    torch.manual_seed(1)
    one = mnist.test.choose(500)
    torch.manual_seed(2)
    two = data.load("mnist", train_size=1).test.choose(500)
    assert torch.equal(one.places, two.places)
    assert len(one.places.unique()) == 500
    assert torch.equal(one.places, one.places.sort().values)
    assert 0.4 < (one.places < 5000).float().mean() < 0.6  # the first half of MNIST's test set is easier
    assert torch.equal(one.pixels, mnist.test.pixels[one.places])
    assert torch.equal(one.labels, mnist.test.labels[one.places])


@pytest.mark.parametrize("n", [None, 40, 1000])
def test_choosing_all_is_everything(data_folder: Path, n: int | None) -> None:
    assert data.load(str(data_folder)).test.choose(n).places.tolist() == list(range(40))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dots", [False, True])
def test_a_folder_is_read_gzipped_or_not_with_dots_or_dashes(folder: Path, zipped: bool, dots: bool) -> None:
    expected = data.load(str(folder))
    for path in list(folder.iterdir()):
        content, name = path.read_bytes(), path.name
        path.unlink()
        name = name.replace("-idx", ".idx") if dots else name
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    found = data.load(str(folder))
    assert found.digest == expected.digest
    assert torch.equal(found.test.labels, expected.test.labels)


def test_four_dimensions_are_channels(tmp_path: Path) -> None:
    colours = torch.randint(0, 256, (12, 3, 4, 6))
    write_idx(tmp_path / "train-images-idx4-ubyte", colours)
    write_idx(tmp_path / "t10k-images-idx4-ubyte", colours[:5])
    found = data.load(str(tmp_path))
    assert found.test.shape == (3, 4, 6)
    assert torch.equal(found.test.pixels, colours[:5].to(torch.uint8))


def test_channels_last_are_read_as_meant(tmp_path: Path) -> None:
    colours = torch.randint(0, 256, (12, 4, 6, 3))
    write_idx(tmp_path / "train-images-idx4-ubyte", colours)
    write_idx(tmp_path / "t10k-images-idx4-ubyte", colours[:5])
    found = data.load(str(tmp_path))
    assert found.test.shape == (3, 4, 6)
    assert torch.equal(found.test.pixels, colours[:5].permute(0, 3, 1, 2).to(torch.uint8))


def test_labels_may_be_missing(folder: Path) -> None:
    for path in folder.glob("*labels*"):
        path.unlink()
    found = data.load(str(folder))
    assert found.train.labels is found.validation.labels is found.test.labels is None
    assert found.train.take(torch.tensor([0])).labels is None


Damage = Callable[[Path], object]
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def cut(path: Path, n: int) -> None:
    path.write_bytes(path.read_bytes()[:n])


def put(path: Path, at: int, new: bytes) -> None:
    old = path.read_bytes()
    path.write_bytes(old[:at] + new + old[at + len(new) :])


def zip_and_cut(path: Path) -> None:
    whole = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_name(path.name + ".gz").write_bytes(whole[: len(whole) // 2])


def zip_and_spoil(path: Path) -> None:
    whole = bytearray(gzip.compress(path.read_bytes()))
    path.unlink()
    whole[-6] ^= 0xFF  # the checksum
    path.with_name(path.name + ".gz").write_bytes(whole)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "empty folder": (
        lambda d: [p.unlink() for p in d.iterdir()],
        "holds no pictures and no IDX files (train-images-idx3-ubyte); sub-folders are classes, each picture a file.",
    ),
    "no test images": (lambda d: (d / "t10k-images-idx3-ubyte").unlink(), "has no t10k-images-idx3-ubyte (or .gz)"),
    "empty file": (lambda d: cut(d / IMAGES, 0), "is not an IDX file of bytes: it starts with nothing."),
    "wrong magic": (lambda d: put(d / IMAGES, 0, b"PK\3\4"), "is not an IDX file of bytes: it starts with 50 4b 03"),
    "floats": (lambda d: put(d / IMAGES, 2, b"\x0d"), "is not an IDX file of bytes: it starts with 00 00 0d 03."),
    "no dimension": (lambda d: put(d / IMAGES, 3, b"\0"), "is not an IDX file of bytes: it starts with 00 00 08 00."),
    "count too large": (
        lambda d: put(d / IMAGES, 4, (31).to_bytes(4, "big")),
        "promises 1,984 bytes and holds 1,920; fetch or copy it again.",
    ),
    "count too small": (
        lambda d: put(d / IMAGES, 4, (29).to_bytes(4, "big")),
        "promises 1,856 bytes and holds more; fetch or copy it again.",
    ),
    "count zero": (lambda d: put(d / IMAGES, 4, bytes(4)), "has impossible sizes [0, 8, 8]"),
    "count absurd": (lambda d: put(d / IMAGES, 4, b"\xff" * 12), "has impossible sizes [4294967295, 4294967295"),
    "header cut": (lambda d: cut(d / IMAGES, 10), "has impossible sizes"),
    "cut": (lambda d: cut(d / IMAGES, 1000), "promises 1,920 bytes and holds 984; fetch or copy it again."),
    "gzip cut": (lambda d: zip_and_cut(d / IMAGES), "cannot be read"),
    "gzip spoiled": (lambda d: zip_and_spoil(d / IMAGES), "cannot be read"),
    "no gzip": (lambda d: (d / IMAGES).rename(d / f"{IMAGES}.gz"), "cannot be read"),
    "labels as images": (lambda d: (d / LABELS).replace(d / IMAGES), "holds 1 dimensions; images have 3 (N, H, W) or"),
    "too few labels": (
        lambda d: write_idx(d / LABELS, torch.zeros(29)),
        "has (29,) labels for the 30 images of train-images-idx3-ubyte.",
    ),
    "labels in a square": (lambda d: write_idx(d / LABELS, torch.zeros(30, 1)), "has (30, 1) labels for the 30 images"),
    "other test shape": (
        lambda d: write_idx(d / "t10k-images-idx3-ubyte", torch.zeros(6, 8, 7)),
        "training images are (1, 8, 8), test (1, 8, 7).",
    ),
    "one training image": (
        lambda d: [write_idx(d / IMAGES, torch.zeros(1, 8, 8)), write_idx(d / LABELS, torch.zeros(1))],
        "has 1 training image",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_data_get_a_sentence(folder: Path, what: str) -> None:
    damage, sentence = DAMAGES[what]
    damage(folder)
    with pytest.raises(DataError) as caught:
        data.load(str(folder))
    message = str(caught.value)
    assert sentence in message
    assert folder.name in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fashon-mnist", "there is no data set or folder 'fashon-mnist'. Did you mean fashion-mnist? Data sets:"),
        (
            "nowhere/at/all",
            "there is no data set or folder 'nowhere/at/all'. Data sets: mnist, stacked-mnist, fashion-mnist, kmnist,",
        ),
    ],
)
def test_unknown_data_sets_get_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        data.load(name)
    assert str(caught.value).startswith(sentence)


def header(*sizes: int) -> bytes:
    return bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda sizes, rest: header(*sizes) + rest,
            st.lists(st.integers(0, 6) | st.integers(0, 2**32 - 1), min_size=1, max_size=4),
            st.binary(max_size=40),
        ),
    ),
    zipped=st.booleans(),
)
@example(content=header(2**32 - 1, 1, 1), zipped=False)
@example(content=header(2, 2) + bytes(4), zipped=True)
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes, zipped: bool) -> None:
    path = tmp_path / ("file.gz" if zipped else "file")
    path.write_bytes(gzip.compress(content) if zipped else content)
    try:
        found = idx.read(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert header(*found.shape) + found.numpy().tobytes() == content


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 200), value=st.integers(0, 255))
def test_a_spoiled_gzip_is_read_or_refused(tmp_path: Path, at: int, value: int) -> None:
    content = header(3, 8) + bytes(range(24))
    spoiled = bytearray(gzip.compress(content, mtime=0))
    spoiled[at % len(spoiled)] = value
    (tmp_path / "file.gz").write_bytes(spoiled)
    try:
        found = idx.read(tmp_path / "file.gz")
    except DataError:
        return
    assert found.tolist() == torch.arange(24).reshape(3, 8).tolist()  # bytes of the gzip header that say nothing


@pytest.mark.parametrize("zipped", [False, True])
def test_a_forged_header_claims_no_memory(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / ("file.gz" if zipped else "file")
    content = header(60_000, 256, 256)  # 16 bytes that promise 3.9 GB
    path.write_bytes(gzip.compress(content) if zipped else content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"promises 3,932,160,000 bytes and holds 0"):
            idx.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
