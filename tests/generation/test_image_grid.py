"""Grids, rounding and files of pictures, against torchvision and Pillow."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor

from genctl.errors import CheckpointError
from genctl.generation import curves, image_grid


def noise(n: int, *shape: int) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize(
    ("n", "columns", "shape"),
    [(9, 3, (1, 8, 8)), (7, 3, (1, 5, 4)), (25, 5, (3, 4, 6)), (4, 4, (1, 2, 2)), (3, 1, (3, 3, 3))],
)
def test_grid_is_torchvisions(n: int, columns: int, shape: tuple[int, int, int]) -> None:
    utils = pytest.importorskip("torchvision.utils", exc_type=ImportError)
    x = noise(n, *shape)
    theirs = utils.make_grid(x, nrow=columns, padding=2, pad_value=0)
    assert torch.equal(image_grid.grid(x, columns), theirs[: shape[0]])  # theirs repeats a single channel


def test_grid_leaves_unfilled_places_black() -> None:
    sheet = image_grid.grid(torch.ones(3, 1, 4, 4), 2)
    assert sheet.shape == (1, 14, 14)
    assert sheet.sum() == 3 * 16
    assert not sheet[:, 8:, 8:].any()


def test_each_level_survives_the_way_to_bytes() -> None:
    levels = torch.arange(256)
    assert torch.equal(image_grid.to_bytes(levels / 255), levels.to(torch.uint8))


@pytest.mark.parametrize(
    ("value", "level"),
    [(-0.5, 0), (0.0, 0), (0.49 / 255, 0), (0.51 / 255, 1), (127.4 / 255, 127), (127.6 / 255, 128), (1, 255), (7, 255)],
)
def test_bytes_are_rounded_and_clamped(value: float, level: int) -> None:
    assert image_grid.to_bytes(torch.tensor([value])).item() == level


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_becomes_no_bytes(value: float, tmp_path: Path) -> None:
    x = noise(3, 1, 4, 4)
    x[2, 0, 1, 1] = value
    for write in (image_grid.to_bytes, image_grid.to_array, lambda x: image_grid.save(tmp_path / "x.png", x, 1)):
        with pytest.raises(CheckpointError, match="images that are not finite"):
            write(x)
    assert not list(tmp_path.iterdir())


def test_png_is_the_grid_enlarged_by_whole_pixels(tmp_path: Path) -> None:
    x = noise(6, 1, 8, 8)
    image_grid.save(tmp_path / "x.png", x, columns=3)
    with Image.open(tmp_path / "x.png") as opened:
        picture = numpy.asarray(opened)
    sheet = image_grid.to_bytes(image_grid.grid(x, 3))[0].numpy()
    factor = picture.shape[1] // sheet.shape[1]
    assert 320 <= max(picture.shape) < 320 + max(sheet.shape)
    assert (picture == sheet.repeat(factor, 0).repeat(factor, 1)).all()


def test_large_grids_keep_their_size(tmp_path: Path) -> None:
    image_grid.save(tmp_path / "x.png", noise(4, 3, 200, 180), columns=2)
    with Image.open(tmp_path / "x.png") as picture:
        assert (picture.size, picture.mode) == ((2 * 182 + 2, 2 * 202 + 2), "RGB")


def test_other_channels_are_shown_one_below_the_other(tmp_path: Path) -> None:
    image_grid.save(tmp_path / "x.png", noise(1, 2, 400, 8), columns=1)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.size == (12, 2 * 404)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 6)])
def test_npz_holds_the_images_as_bytes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    x = noise(5, *shape)
    image_grid.save(tmp_path / "x.npz", x, columns=2)
    with numpy.load(tmp_path / "x.npz") as found:
        assert found.files == ["images"]
        array = found["images"]
    assert array.dtype == numpy.uint8
    assert torch.equal(torch.from_numpy(array), image_grid.to_bytes(x).permute(0, 2, 3, 1))


def test_saving_replaces_a_file_whole(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("old")
    image_grid.save(tmp_path / "x.npz", noise(1, 1, 4, 4), columns=1)
    assert zipfile.is_zipfile(tmp_path / "x.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


@pytest.mark.parametrize(
    ("epochs", "series", "levels"),
    [
        ([1], {"train": [3.0], "validation": [4.0]}, None),
        ([1, 2, 3, 4], {"D": [1.4, 1.3, 1.2, 1.1], "G": [None, 0.7, 0.8, 0.9]}, {"-log 4": -1.386}),
    ],
)
def test_curves_write_a_picture(tmp_path: Path, epochs: list[int], series: dict, levels: dict | None) -> None:
    curves.curves(tmp_path / "curves.png", epochs, series, "nats", levels)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (640, 400)
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20  # lines and letters, no empty sheet


def test_curves_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        curves.curves(tmp_path / name, [1, 2], {"train": [2.0, 1.0]}, "nats")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
