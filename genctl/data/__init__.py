"""Data sets: one uint8 tensor a split, images [N, C, H, W], with what likelihoods need to know of them.

`--dataset` is a name (mnist is inside the package and stacked-mnist made of it; fashion-mnist, kmnist, emnist, cifar10
and cifar100 are downloaded once) or a path: a folder of pictures, a zip of one, an array, a folder of IDX files.
"""

from __future__ import annotations

from pathlib import Path

from ..config.values import path_text
from ..errors import DataError, UsageError, suggestion
from ..pictures import says, store
from ..pictures.reading import Reading
from ..pictures.regular import shown
from ..terminal.reporter import SILENT, Reporter
from . import archives, divided, download, idx, resize, stacked_mnist
from .images import Dataset, Images, assemble

__all__ = ["Dataset", "Images", "Reading", "load"]

EMBEDDED = Path(__file__).parent / "mnist"
NAMES = ["mnist", stacked_mnist.NAME, *download.SETS, *archives.NAMES]


def load(
    dataset: str | Path,
    train_size: int | None = None,
    validation: int | None = None,
    reporter: Reporter = SILENT,
    reading: Reading = Reading(),  # noqa: B008 - it is frozen
) -> Dataset:
    """Return the data set by its name or path; raise DataError when it is missing or damaged.

    A text that is a name means that data set, a Path never does.
    train_size keeps the first images of the training part (validation is taken out before it).
    """
    path, dataset = Path(dataset), path_text(dataset)
    if dataset == stacked_mnist.NAME:
        if reading.changes or reading.by_digest:
            raise UsageError(f"{dataset} has a size, channels and splits of its own; leave these options out.")
        return stacked_mnist.stack(load("mnist"), train_size, validation)
    if is_named(dataset):
        parts = _named(dataset, reporter)
        return _with_order(dataset, parts, train_size, validation, reading)
    if not path.exists():
        hint = suggestion(dataset, NAMES)
        raise DataError(f"there is no data set or folder {shown(dataset)!r}.{hint} Data sets: {', '.join(NAMES)}.")
    name = shown(path.resolve().name)
    if path.is_dir() and idx.is_in(path):
        parts = idx.read_folder(path)
        if parts[0][0].max() == 1:
            reporter.say(f"warning: {name}: {says.BLACK}.")
        return _with_order(name, parts, train_size, validation, reading)
    found = store.gathered(path, reading, reporter)
    for sentence in says.sentences(name, found.report):
        reporter.say(sentence)
    about = says.about(found.report)
    return divided.assemble(name, divided.of_gathered(found, about), train_size, validation)


def is_named(dataset: str) -> bool:
    """Tell whether a data set is known by name."""
    return dataset in NAMES or dataset in archives.SETS


def _named(dataset: str, reporter: Reporter) -> tuple[resize.Part, resize.Part]:
    """Return training and test of a data set that is known by name."""
    if dataset in archives.SETS:
        return archives.load(dataset, reporter)
    if dataset == "mnist":
        return idx.read_folder(EMBEDDED)
    return idx.read_folder(download.fetch(dataset, reporter), endings=(".gz",))  # those that were checked


def _with_order(
    name: str, parts: tuple[resize.Part, resize.Part], train_size: int | None, validation: int | None, reading: Reading
) -> Dataset:
    """Return a data set whose files have an order of their own, kept unless it is to be divided by digest."""
    train, test = (resize.fitted(part, reading, name) for part in parts)
    if not reading.by_digest:
        return assemble(name, train, test, train_size, validation)
    return divided.assemble(name, divided.of_parts(train, test, (parts[0][0], parts[1][0])), train_size, validation)
