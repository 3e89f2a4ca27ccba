"""Images made elsewhere: arrays and pictures, and everything that may be wrong with them."""

from __future__ import annotations

import zipfile

import numpy
import pytest
import torch
from PIL import Image

from genctl.data import image_files
from genctl.errors import DataError
from genctl.generation import image_grid
from genctl.pictures import arrays
from genctl.seeds import generator


def pixels(n: int = 4, channels: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, 6, 5), generator=generator("gallery", n), dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_what_sample_writes_comes_back(tmp_path, channels):
    x = pixels(4, channels)
    image_grid.save(tmp_path / "x.npz", x / 255, columns=2)
    assert torch.equal(image_files.read(tmp_path / "x.npz", (channels, 6, 5)), x)
    assert torch.equal(image_files.read(tmp_path / "x.npz", (channels, 6, 5), 3), x[:3])


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_read_in_the_order_of_their_names(tmp_path, channels):
    x = pixels(3, channels)
    for name, image in zip(("c.png", "a.PNG", "b.bmp"), x, strict=True):
        array = image.permute(1, 2, 0).squeeze(2).numpy() if channels == 1 else image.permute(1, 2, 0).numpy()
        Image.fromarray(array).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert torch.equal(image_files.read(tmp_path, (channels, 6, 5)), x[[1, 2, 0]])
    assert torch.equal(image_files.read(tmp_path, (channels, 6, 5), 1), x[[1]])


def test_arrays_without_a_channel_axis_or_of_another_name(tmp_path):
    x = pixels().squeeze(1).numpy()
    numpy.savez(tmp_path / "x.npz", x)
    assert torch.equal(image_files.read(tmp_path / "x.npz", (1, 6, 5)), pixels())
    numpy.savez(tmp_path / "y.npz", labels=numpy.zeros(4), images=x)
    assert torch.equal(image_files.read(tmp_path / "y.npz", (1, 6, 5)), pixels())


BAD = {
    "floats": {"images": numpy.zeros((4, 6, 5, 1))},
    "another size": {"images": numpy.zeros((4, 7, 5, 1), dtype=numpy.uint8)},
    "channels first": {"images": numpy.zeros((4, 1, 6, 5), dtype=numpy.uint8)},
    "one image": {"images": numpy.zeros((6, 5), dtype=numpy.uint8)},
    "two arrays": {"a": numpy.zeros(3), "b": numpy.zeros(3)},
    "none": {},
    "objects": {"images": numpy.array([{"a": 1}], dtype=object)},
}


@pytest.mark.parametrize("arrays", BAD.values(), ids=BAD)
def test_arrays_that_are_no_images_are_refused(tmp_path, arrays):
    numpy.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=r"x\.npz"):
        image_files.read(tmp_path / "x.npz", (1, 6, 5))


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    numpy.savez(tmp_path / "x.npz", images=numpy.array([Trap()], dtype=object))
    with pytest.raises(DataError):
        image_files.read(tmp_path / "x.npz", (1, 6, 5))
    assert not (tmp_path / "sprung").exists()


def test_files_that_are_no_archives_are_refused(tmp_path):
    for name, content in {"text": b"hello", "empty": b"", "pickle": b"\x80\x04N."}.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(DataError, match="NPZ"):
            image_files.read(tmp_path / f"{name}.npz", (1, 6, 5))
    with pytest.raises(DataError, match=r"missing\.npz"):
        image_files.read(tmp_path / "missing.npz", (1, 6, 5))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("images.npy", b"no array")
    with pytest.raises(DataError, match=r"other\.npz"):
        image_files.read(tmp_path / "other.npz", (1, 6, 5))


def test_a_cut_archive_is_refused(tmp_path):
    numpy.savez_compressed(tmp_path / "x.npz", images=pixels(300).permute(0, 2, 3, 1).numpy())
    whole = (tmp_path / "x.npz").read_bytes()
    for end in (len(whole) // 3, len(whole) - 10):
        (tmp_path / "x.npz").write_bytes(whole[:end])
        with pytest.raises(DataError):
            image_files.read(tmp_path / "x.npz", (1, 6, 5))
    (tmp_path / "x.npz").write_bytes(whole[:500] + bytes(100) + whole[600:])
    with pytest.raises(DataError):
        image_files.read(tmp_path / "x.npz", (1, 6, 5))


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MOST_BYTES", 1_000)
    numpy.savez_compressed(tmp_path / "x.npz", images=numpy.zeros((100, 6, 5, 1), dtype=numpy.uint8))
    with pytest.raises(DataError, match="unpacks"):
        image_files.read(tmp_path / "x.npz", (1, 6, 5))


def test_a_picture_of_any_ending_or_folder_counts_and_none_is_dropped(tmp_path):
    x = pixels(4)
    for name, image in zip(("a.png", "b.webp", "sub/c.tif", "d"), x, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        kind = {"d": "PNG"}.get(name)
        Image.fromarray(image[0].numpy()).save(
            tmp_path / name, format=kind, **({"lossless": True} if "w" in name else {})
        )
    (tmp_path / "._a.png").write_bytes(b"of macOS")
    assert torch.equal(image_files.read(tmp_path, (1, 6, 5)), x[[0, 1, 3, 2]])
    (tmp_path / "e.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"1 of 5 files cannot be read as a picture: e\.png: "):
        image_files.read(tmp_path, (1, 6, 5))


def test_sixteen_bits_are_scaled(tmp_path):
    x = pixels()
    for i, image in enumerate(x[:, 0].numpy()):
        Image.fromarray(image.astype("uint16") * 257).save(tmp_path / f"{i}.png")
    assert torch.equal(image_files.read(tmp_path, (1, 6, 5)), x)


def test_folders_of_wrong_pictures_are_refused(tmp_path):
    with pytest.raises(DataError, match="no pictures"):
        image_files.read(tmp_path, (1, 6, 5))
    Image.new("L", (6, 6)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="6 x 6"):
        image_files.read(tmp_path, (1, 6, 5))
    with pytest.raises(DataError, match="2 channels"):
        image_files.read(tmp_path, (2, 6, 6))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="picture"):
        image_files.read(tmp_path, (1, 6, 5))
