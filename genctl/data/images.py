"""Images of one split and of a data set, and the fixed draws that make likelihoods comparable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
import torch
from torch import Tensor

from ..errors import DataError, UsageError
from ..seeds import generator
from ..types import Shape

MNIST = "ca41cec67f1ead17d10d14ba94892fd20c044f272b6cad8da02aa562b0f2135c"  # its digest, under whatever name


@dataclass(frozen=True)
class Images:
    """Images of one split: their pixels, labels where there are any, and their places in the data set's file."""

    pixels: Tensor  # uint8 [N, C, H, W]
    labels: Tensor | None  # int64 [N]
    places: Tensor  # int64 [N]: index in the file of training or of test images
    origin: str  # data-set digest and file ("train" or "test"): names the fixed draws

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> Shape:
        """Return C, H, W."""
        C, H, W = self.pixels.shape[1:]
        return C, H, W

    def take(self, index: Tensor) -> Images:
        """Return the images at these indices of this split."""
        labels = None if self.labels is None else self.labels[index]
        return replace(self, pixels=self.pixels[index], labels=labels, places=self.places[index])

    def gather(self, index: Tensor) -> Images:
        """Return the same, the pixels copied by this thread alone: torch would bring a team of its own."""
        pixels = torch.from_numpy(numpy.take(self.pixels.numpy(), index.numpy(), axis=0))
        labels = None if self.labels is None else self.labels[index]
        return replace(self, pixels=pixels, labels=labels, places=self.places[index])

    def part(self, piece: slice) -> Images:
        """Return a slice of this split; nothing is copied."""
        labels = None if self.labels is None else self.labels[piece]
        return replace(self, pixels=self.pixels[piece], labels=labels, places=self.places[piece])

    def of_classes(self, classes: Sequence[int], what: str) -> Images:
        """Return the images of some classes, of all for none; raise UsageError where there are no such images."""
        if not classes:
            return self
        if self.labels is None:
            raise UsageError(f"{what} have no labels; leave out --class.")
        found = torch.isin(self.labels, torch.tensor(classes)).nonzero().flatten()
        if not len(found):
            raise UsageError(f"none of {what} is of that class; choose another --class.")
        return self.take(found)

    def choose(self, n: int | None) -> Images:
        """Return a fixed choice of n images, the same for all models; all of them for None or a larger n."""
        if n is None or n >= len(self):
            return self
        order = torch.randperm(len(self), generator=generator("choose", self.origin))
        return self.take(order[:n].sort().values)

    def binarized(self) -> Tensor:
        """Return pixels of 0 and 255: one Bernoulli draw of each grey value, a function of (data set, place)."""
        drawn = torch.empty_like(self.pixels)
        u = torch.empty(self.shape)
        for i, place in enumerate(self.places.tolist()):
            u.uniform_(generator=generator("binarize", self.origin, place))
            torch.mul(255 * u < self.pixels[i], 255, out=drawn[i])
        return drawn

    def thresholded(self) -> Tensor:
        """Return pixels of 0 and 255, cut at one half."""
        return (self.pixels > 127).to(torch.uint8) * 255


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test images, with the name and digest that checkpoints carry."""

    name: str
    digest: str  # SHA-256 over all pixels and labels
    train: Images
    validation: Images
    test: Images
    about: Mapping[str, Any] = field(default_factory=dict)  # how it was divided, what was left out; for the manifest
    classes: tuple[str, ...] = ()  # their names, where they have any

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes in all splits, else their numbers; none where the images have no labels."""
        if self.train.labels is None:
            return ()
        labels = [part.labels for part in (self.train, self.validation, self.test) if part.labels is not None]
        return self.classes or tuple(map(str, range(1 + max(int(each.max()) for each in labels))))

    def split(self, name: str) -> Images:
        """Return a split by its name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if name not in splits:
            raise UsageError(f"there is no split {name}; there are: {', '.join(splits)}.")
        return splits[name]


def digest_of(*parts: Tensor | None) -> str:
    """Return the SHA-256 of shapes and contents."""
    sha = hashlib.sha256()
    for part in parts:
        if part is not None:
            sha.update(str((part.dtype, *part.shape)).encode())
            sha.update(part.numpy().data)
    return sha.hexdigest()


def assemble(
    name: str,
    train: tuple[Tensor, Tensor | None],
    test: tuple[Tensor, Tensor | None],
    train_size: int | None,
    validation: int | None,
) -> Dataset:
    """Split off the validation images: MNIST's last 10,000, elsewhere a permutation fixed by the digest."""
    digest = digest_of(*train, *test)
    n = len(train[0])
    held_out = min(10_000, n // 6) if validation is None else validation
    if held_out < 1 or held_out >= n:
        raise DataError(f"{name} has {n} training images; --validation must leave some of them, so at most {n - 1}.")
    everything, rest = Images(*train, places=torch.arange(n), origin=f"{digest}/train"), n - held_out
    order = torch.randperm(n, generator=generator("validation", digest))

    def divided(piece: slice) -> Images:
        return everything.part(piece) if digest == MNIST else everything.take(order[piece])

    if train_size is not None and train_size > rest:
        raise DataError(f"{name} has {rest} images to train on; --train-size cannot be {train_size}.")
    return Dataset(
        name=name,
        digest=digest,
        train=divided(slice(rest if train_size is None else train_size)),
        validation=divided(slice(rest, n)),
        test=Images(*test, places=torch.arange(len(test[0])), origin=f"{digest}/test"),
    )
