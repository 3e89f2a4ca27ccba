"""What may be wrong with folders, archives and arrays: each is a sentence, none hangs, none is dropped in silence."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from folders import Heard, grey_bars, write, zipped
from PIL import Image

from genctl import data
from genctl.data import Reading
from genctl.errors import DataError
from genctl.pictures import arrays, layout, pool, sources, store

IMAGES, LABELS = grey_bars(120)


class Trap:
    """An object that opens a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("sprung", "w"))


def npy(**changed: object) -> bytes:
    """Return an .npy file with a header of one's own."""
    header = str({"descr": "|u1", "fortran_order": False, "shape": (120, 8, 8), **changed}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + IMAGES.tobytes()


def npz(path: Path, content: bytes, name: str = "images.npy", method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)


def spoil(path: Path, method: int) -> None:
    """Write an .npz whose packed bytes are damaged."""
    npz(path, npy(), method=method)
    content = bytearray(path.read_bytes())
    content[60:400] = bytes(340)
    path.write_bytes(content)


def encrypt(path: Path) -> None:
    """Set the flag of encryption in the archive's headers."""
    content = bytearray(path.read_bytes())
    content[6] |= 1
    start = 0
    while (start := content.find(b"PK\1\2", start)) >= 0:
        content[start + 8] |= 1
        start += 4
    path.write_bytes(content)


def encrypted_npz(path: Path) -> None:
    npz(path, npy())
    encrypt(path)


ARRAYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda p: p.write_text("hello"), "it is no sound NPZ file (File is not a zip file)"),
    "empty": (lambda p: p.write_bytes(b""), "it is no sound NPZ file"),
    "fifo": (os.mkfifo, "it is a FIFO"),
    "link to a device": (lambda p: p.symlink_to("/dev/zero"), "it is a device"),
    "encrypted": (encrypted_npz, "it is encrypted"),
    "bad deflate": (lambda p: spoil(p, zipfile.ZIP_DEFLATED), "it is no sound array"),
    "bad LZMA": (lambda p: spoil(p, zipfile.ZIP_LZMA), "it is no sound array"),
    "bad bzip2": (lambda p: spoil(p, zipfile.ZIP_BZIP2), "it is no sound array"),
    "objects": (lambda p: numpy.savez(p, images=numpy.array([Trap()], dtype=object)), "nothing is unpickled"),
    "texts": (lambda p: numpy.savez(p, images=numpy.array(["a"] * 9)), "its entries are of type <U1"),
    "header of code": (lambda p: npz(p, npy(shape="__import__")), "it is no sound array"),
    "no header": (lambda p: npz(p, b"\x93NUMPY\x01\x00\xff\xff{"), "it is no sound array"),
    "odd version": (lambda p: npz(p, b"\x93NUMPY\x09\x00" + bytes(99)), "it is no sound array"),
    "negative shape": (lambda p: npz(p, npy(shape=(-120, 8, 8))), "its header promises uint8 [-120, 8, 8]"),
    "huge shape": (lambda p: npz(p, npy(shape=(1 << 40, 8, 8))), "which does not fit"),
    "cut": (lambda p: npz(p, npy()[:-9]), "it is cut short: 7,671 of 7,680 bytes"),
    "no arrays": (lambda p: npz(p, b"hello", "notes.txt"), "this NPZ file holds no arrays"),
    "two arrays": (lambda p: numpy.savez(p, a=IMAGES, b=IMAGES), "it holds a, b; name the array of images `images`"),
    "no images": (lambda p: numpy.savez(p, images=numpy.zeros(9)), "it holds float64 [9]; images are [N, H, W]"),
    "five channels": (lambda p: numpy.savez(p, images=numpy.zeros((9, 5, 8, 5))), "it holds float64 [9, 5, 8, 5]"),
    "wide floats": (lambda p: numpy.savez(p, images=IMAGES.astype("f4")), "its values are float32 from 0 to 2"),
    "nan": (lambda p: numpy.savez(p, images=IMAGES * numpy.nan), "its values are float64 from nan to nan"),
    "integers": (lambda p: numpy.savez(p, images=IMAGES.astype("i8")), "its values are int64 from 0 to 2"),
    "few labels": (lambda p: numpy.savez(p, images=IMAGES, y=LABELS[1:]), "it has [119] labels for 120 images"),
    "real labels": (lambda p: numpy.savez(p, images=IMAGES, y=numpy.ones(120)), "its labels are float64; labels are"),
    "negative labels": (lambda p: numpy.savez(p, images=IMAGES, y=numpy.array(LABELS) - 9), "labels are whole numbers"),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_a_faulty_array_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.chdir(tmp_path)
    make, sentence = ARRAYS[what]
    make(tmp_path / "x.npz")
    with pytest.raises(DataError) as caught:
        data.load("x.npz")
    message = str(caught.value)
    assert message.startswith("x.npz cannot be read: ") and message.endswith(".") and "\n" not in message
    assert sentence in message
    assert not Path("sprung").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MOST_BYTES", 5_000)
    numpy.savez_compressed(tmp_path / "x.npz", images=numpy.zeros((100, 8, 8), dtype=numpy.uint8))
    with pytest.raises(DataError, match="unpacks to more than"):
        data.load(str(tmp_path / "x.npz"))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda p: p.write_bytes(b""), "it is empty"),
    "text": (lambda p: p.write_text("hello"), "it is of no picture format that is read here"),
    "cut": (lambda p: p.write_bytes((p.parent / "0" / "000.png").read_bytes()[:70]), "it is no sound picture"),
    "fifo": (os.mkfifo, "it is a FIFO"),
    "device": (lambda p: p.symlink_to("/dev/zero"), "it is a device"),
    "link to nothing": (lambda p: p.symlink_to("nowhere"), "it cannot be found (No such file or directory)"),
    "link to itself": (lambda p: p.symlink_to(p.name), "it cannot be found (Too many levels of symbolic links)"),
    "link in a circle": (lambda p: p.symlink_to(p.parent), "it is a link to a folder above it"),
    "vector": (lambda p: p.with_suffix(".svg").write_text("<svg/>"), "it is of no picture format that is read here"),
    "newline": (lambda p: p.with_name("a\nb.png").write_bytes(b""), r"a\nb.png: it is empty"),
    "no UTF-8": (
        lambda p: open(os.fsencode(p.parent) + b"/\xff\xfe.png", "w").close(),
        r"\udcff\udcfe.png: it is empty",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_cannot_be_read_ends_the_reading_or_is_skipped(tmp_path: Path, what: str) -> None:
    make, sentence = BROKEN[what]
    folder = write(tmp_path / "mine")
    reference = data.load(str(folder))
    make(folder / "bad.png")
    with pytest.raises(DataError) as caught:
        data.load(str(folder))
    message = str(caught.value)
    assert "1 of 121 files cannot be read: " in message and sentence in message and "\n" not in message
    assert message.endswith("Mend or remove them, or leave them out with --skip-broken.")
    heard = Heard()
    found = data.load(str(folder), reporter=heard, reading=Reading(skip_broken=True))
    assert found.digest == reference.digest
    assert found.about["skipped"] == 1 and "skipped" not in reference.about
    assert any("1 files were left out (--skip-broken)" in line for line in heard.said)


def test_the_first_five_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    for i in range(8):
        (folder / f"{i}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"8 of 128 files cannot .*: 0\.png: .*; 4\.png: it is empty; and 3 more\."):
        data.load(str(folder))


def test_what_systems_leave_is_passed_over_and_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    reference = data.load(str(folder))
    left = ["._001.png", ".DS_Store", "0/._000.png", "1/Thumbs.db", "desktop.ini", "README", "labels.csv", "notes.TXT"]
    for name in left:
        (folder / name).write_bytes(b"left")
    (folder / "__MACOSX").mkdir()
    heard = Heard()
    assert data.load(str(folder), reporter=heard).digest == reference.digest
    assert any("9 files passed over as no pictures: " in line and "and 4 more" in line for line in heard.said)


def linked(folder: Path) -> None:
    """Put a folder in by a link, which is no circle."""
    shutil.move(folder / "0", folder.parent / "elsewhere")
    (folder / "0").symlink_to(folder.parent / "elsewhere")


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    reference = data.load(str(folder))
    linked(folder)
    assert data.load(str(folder)).digest == reference.digest


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda d: d.mkdir(), "holds no pictures and no IDX files"),
    "notes alone": (lambda d: (d.mkdir(), (d / "a.txt").write_text("")), "holds no pictures (passed over: a.txt)"),
    "broken alone": (lambda d: (d.mkdir(), (d / "a.png").write_text("")), "none of its 1 files can be read: a.png"),
    "too few": (lambda d: write(d, 4), "none may be empty. Give more pictures, or folders train/, val/ and test/."),
    "a new class": (
        lambda d: (write(d, 60, prefix="train"), write(d, 61, 60, prefix="test/9")),
        "the test pictures have classes that train/ lacks: 9.",
    ),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_that_is_no_data_set_is_a_sentence(tmp_path: Path, what: str) -> None:
    make, sentence = FOLDERS[what]
    make(tmp_path / "mine")
    with pytest.raises(DataError) as caught:
        data.load(str(tmp_path / "mine"))
    assert sentence in str(caught.value)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(30 << 20))


ZIPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda p: p.write_text("hello"), "cannot be read: it is no sound zip archive"),
    "fifo": (os.mkfifo, "cannot be read: it is a FIFO"),
    "encrypted": (encrypt, "120 files can be read: 0/000.png: it is encrypted"),
    "bomb": (bomb, "none of its 1 files can be read: a.png: it unpacks from"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-40]), "cannot be read: it is no sound zip archive"),
}


@pytest.mark.parametrize("what", ZIPS)
def test_a_faulty_zip_is_a_sentence(tmp_path: Path, what: str) -> None:
    make, sentence = ZIPS[what]
    if what in ("encrypted", "cut"):
        zipped(write(tmp_path / "mine"), tmp_path / "x.zip")
    make(tmp_path / "x.zip")
    with pytest.raises(DataError) as caught:
        data.load(str(tmp_path / "x.zip"))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_of_a_zip_is_extracted(tmp_path: Path) -> None:
    inside = io.BytesIO()
    Image.new("L", (8, 8)).save(inside, format="PNG")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"../../escaped-{i}.png", inside.getvalue())
    found = store.gathered(tmp_path / "x.zip", Reading())
    assert found.report["pictures"] == 3
    assert not list(tmp_path.parent.parent.glob("escaped*"))


def test_a_file_whose_size_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES_A_PICTURE", 1_000_000)
    monkeypatch.setattr(pool, "LEAST_BYTES", 1 << 50)  # this process alone knows of the smaller limit
    folder = write(tmp_path / "mine")
    with open(folder / "0" / "sparse.png", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"sparse\.png: its 1,099,511,627,776 bytes are more than 1,000,000"):
        data.load(str(folder))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a.png", "b.png"], [("", None)] * 2),
        (["cat/a.png", "dog/b.png"], [("", "cat"), ("", "dog")]),
        (["x/cat/a.png", "x/dog/b.png"], [("", "cat"), ("", "dog")]),
        (["cat/deep/a.png", "dog/b.png"], [("", "cat"), ("", "dog")]),
        (["a.png", "dog/b.png"], [("", None)] * 2),
        (["train/a.png", "val/b.png"], [("train", None), ("validation", None)]),
        (["Train/cat/a.png", "TEST/cat/b.png"], [("train", "cat"), ("test", "cat")]),
        (["train/a.png", "other/b.png"], [("", "train"), ("", "other")]),
        (["train/a.png", "test/b.png", "c.png"], [("train", None), ("test", None), None]),
        (["only/a.png", "only/b.png"], [("", None)] * 2),
    ],
)
def test_names_say_part_and_class(names: list[str], found: list[tuple[str, str | None] | None]) -> None:
    assert [place and tuple(place) for place in layout.places(names).places] == found


def test_classes_that_are_numbers_are_in_their_order() -> None:
    assert layout.class_names(["10", "9", "0", "9"]) == ["0", "9", "10"]
    assert layout.class_names(["b10", "b9"]) == ["b10", "b9"]
