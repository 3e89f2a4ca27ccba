"""Pictures that are divided by their digests -> a data set."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from ..errors import DataError
from ..pictures import splits
from ..pictures.store import Gathered
from .images import Dataset, Images, digest_of

Part = tuple[Tensor, Tensor | None]  # images [N, C, H, W], labels [N]


@dataclass(frozen=True)
class Divided:
    """Images in order: training first, then validation, then test."""

    pixels: Tensor  # uint8 [N, C, H, W]
    labels: Tensor | None  # int64 [N]
    digests: splits.Digests
    counts: tuple[int, int, int]
    about: Mapping[str, Any]
    classes: tuple[str, ...] = ()


def of_gathered(found: Gathered, about: Mapping[str, Any]) -> Divided:
    """Return the pictures of a source; the pixels stay in the mapped file."""
    labels = None if found.labels is None else torch.from_numpy(found.labels)
    with warnings.catch_warnings(action="ignore"):  # of torch: the mapped file cannot be written, and nobody does
        pixels = torch.from_numpy(found.pixels)
    return Divided(pixels, labels, found.digests, found.counts, about, tuple(found.report["classes"]))


def of_parts(train: Part, test: Part, originals: tuple[Tensor, Tensor]) -> Divided:
    """Return the images of files with an order of their own, divided by the digests of the originals."""
    rows = [row for images in originals for row in images.permute(0, 2, 3, 1).numpy()]
    digests = numpy.frombuffer(b"".join(map(splits.digest, rows)), dtype=numpy.uint8).reshape(len(rows), -1)
    parts = ["train"] * len(train[0]) + ["test"] * len(test[0])
    labels = None if train[1] is None or test[1] is None else torch.cat([train[1], test[1]])
    arranged = splits.arrange(digests, None if labels is None else labels.numpy(), parts)
    order = torch.from_numpy(arranged.order)
    copies = len(rows) - len(numpy.unique(digests.copy().view(f"V{splits.DIGEST_BYTES}")))
    return Divided(
        torch.cat([train[0], test[0]])[order],
        None if labels is None else labels[order],
        digests[arranged.order],
        arranged.counts,
        {"split": arranged.rule, "duplicates": copies},
    )


def assemble(name: str, found: Divided, train_size: int | None, validation: int | None) -> Dataset:
    """Return the data set; raise DataError where a split would be empty."""
    n_train, n_validation, n_test = found.counts
    rest = n_train + n_validation
    start = n_train if validation is None else splits.held_out(found.digests[:rest], validation)
    if validation is not None and not 0 < start < rest:
        raise DataError(f"{name} has {rest} images that are not for test; --validation cannot be {validation}.")
    if not (start and rest - start and n_test):
        raise DataError(
            f"{name} has {rest + n_test} pictures, divided into {start} for training, {rest - start} for validation and"
            f" {n_test} for test; none may be empty. Give more pictures, or folders train/, val/ and test/."
        )
    if train_size is not None and train_size > start:
        raise DataError(f"{name} has {start} images to train on; --train-size cannot be {train_size}.")
    digest = digest_of(*_part(found, 0, rest), *_part(found, rest, rest + n_test))

    def images(first: int, last: int, origin: str, at: int = 0) -> Images:
        pixels, labels = _part(found, first, last)
        return Images(pixels, labels, torch.arange(first - at, last - at), f"{digest}/{origin}")

    return Dataset(
        name=name,
        digest=digest,
        train=images(0, start if train_size is None else train_size, "train"),
        validation=images(start, rest, "train"),
        test=images(rest, rest + n_test, "test", at=rest),
        about=found.about,
        classes=found.classes,
    )


def _part(found: Divided, first: int, last: int) -> Part:
    return found.pixels[first:last], None if found.labels is None else found.labels[first:last]
