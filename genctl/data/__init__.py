"""Data sets: one uint8 tensor a split, images [N, C, H, W], with what likelihoods need to know of them.

`--dataset` is a name (mnist is inside the package and stacked-mnist made of it; fashion-mnist and kmnist are downloaded
once) or a folder of IDX files.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError, suggestion
from ..terminal.reporter import SILENT, Reporter
from . import download, idx, stacked_mnist
from .images import Dataset, Images, assemble

__all__ = ["Dataset", "Images", "load"]

EMBEDDED = Path(__file__).parent / "mnist"
NAMES = ["mnist", stacked_mnist.NAME, *download.SETS]


def load(
    dataset: str, train_size: int | None = None, validation: int | None = None, reporter: Reporter = SILENT
) -> Dataset:
    """Return the data set by its name or folder; raise DataError when it is missing or damaged.

    train_size keeps the first images of the training part (validation is taken out before it).
    """
    if dataset == "mnist":
        return assemble("mnist", *idx.read_folder(EMBEDDED), train_size, validation)
    if dataset == stacked_mnist.NAME:
        return stacked_mnist.stack(load("mnist"), train_size, validation)
    if dataset in download.SETS:
        fetched = idx.read_folder(download.fetch(dataset, reporter), endings=(".gz",))  # those that were checked
        return assemble(dataset, *fetched, train_size, validation)
    folder = Path(dataset)
    if folder.is_dir():
        return assemble(folder.resolve().name, *idx.read_folder(folder), train_size, validation)
    hint = suggestion(dataset, NAMES)
    raise DataError(f"there is no data set or folder {dataset!r}.{hint} Data sets: {', '.join(NAMES)}.")
