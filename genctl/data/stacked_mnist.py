"""Stacked MNIST: three digits in the channels of one image, 1,000 modes (Srivastava et al. 2017, arXiv:1705.07761).

A triple is three places in one split of MNIST, drawn once for all. Nothing is stored, and the digest is that of MNIST
and of the recipe.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ..errors import DataError
from ..seeds import generator
from .images import Dataset, Images

NAME = "stacked-mnist"
TRIPLES = {"train": 128_000, "validation": 10_000, "test": 10_000}
SEED = 0


def stack(mnist: Dataset, train_size: int | None = None, validation: int | None = None) -> Dataset:
    """Return the triples of each split, made of that split's digits alone; raise DataError for too large a size."""
    sizes = dict(TRIPLES)
    for split, wanted, option in (("train", train_size, "--train-size"), ("validation", validation, "--validation")):
        if wanted is not None and wanted > sizes[split]:
            raise DataError(f"{NAME} has {sizes[split]} triples for {split}; {option} cannot be {wanted}.")
        sizes[split] = wanted or sizes[split]
    digest = digest_of(mnist.digest)
    train, held_out, test = (_triples(mnist.split(split), split, sizes[split], digest) for split in TRIPLES)
    return Dataset(name=NAME, digest=digest, train=train, validation=held_out, test=test)


def digest_of(mnist: str) -> str:
    """Return the digest of the triples: that of MNIST and of the recipe."""
    return hashlib.sha256(f"{NAME} {SEED} {TRIPLES} {mnist}".encode()).hexdigest()


def places(split: str, digits: int) -> Tensor:
    """Return the places of three digits for every triple of the split, [N, 3]."""
    random = generator(NAME, SEED, split)
    return torch.randint(digits, (TRIPLES[split], 3), generator=random)


def _triples(digits: Images, split: str, n: int, digest: str) -> Images:
    """Return the first n triples; the class of digits a, b, c is 100 a + 10 b + c."""
    assert digits.labels is not None  # noqa: S101 - MNIST has them
    index = places(split, len(digits))[:n]
    pixels = digits.pixels.squeeze(1)[index]  # [n, 3, 28, 28]
    labels = digits.labels[index] @ torch.tensor([100, 10, 1])
    return Images(pixels, labels, torch.arange(n), f"{digest}/{split}")
