"""The vote of the nearest real images, against brute force."""

from __future__ import annotations

import numpy
import pytest
import torch
from torch import Tensor

from genctl.quality import vote
from genctl.seeds import generator


def real_images(n: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Return uint8 images [n, 1, 2, 3] and their labels."""
    noise = generator("real", n)
    return (
        torch.randint(0, 256, (n, 1, 2, 3), generator=noise, dtype=torch.uint8),
        torch.randint(0, classes, (n,), generator=noise),
    )


def queries(n: int) -> Tensor:
    return torch.rand(n, 1, 2, 3, generator=generator("queries"))


def brute_force(x: Tensor, pixels: Tensor, labels: Tensor, k: int, classes: int) -> numpy.ndarray:
    """Return how many of each image's k nearest real images are in each class, [N, classes]."""
    counts = numpy.zeros((len(x), classes), dtype=int)
    real = pixels.numpy().astype(float).reshape(len(pixels), -1) / 255
    for i, image in enumerate(x.double().numpy().reshape(len(x), -1)):
        for j in numpy.argsort(((real - image) ** 2).sum(1), kind="stable")[:k]:
            counts[i, labels[j]] += 1
    return counts


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("n", [40, 25_000])  # more than 10,000: in pieces
def test_the_vote_is_that_of_the_nearest(k, n):
    x, (pixels, labels) = queries(30), real_images(n)
    label, agreeing = vote(x, pixels, labels, k)
    counts = brute_force(x, pixels, labels, k, 3)
    assert agreeing.tolist() == counts.max(1).tolist()
    assert [counts[i, c] for i, c in enumerate(label.tolist())] == counts.max(1).tolist()
    assert len(set(label.tolist())) > 1


@pytest.mark.parametrize("place", [0, 9_999, 10_000, 24_999])
def test_an_image_finds_itself_in_any_piece(place):
    pixels, _ = real_images(25_000)
    labels = torch.zeros(25_000, dtype=torch.int64)
    pixels[place] = 255
    labels[place] = 2
    label, agreeing = vote(torch.ones(1, 1, 2, 3), pixels, labels, k=1)
    assert (label.tolist(), agreeing.tolist()) == ([2], [1])


def test_neighbours_of_several_pieces_vote_together():
    pixels = torch.full((20_003, 1, 2, 3), 255, dtype=torch.uint8)
    labels = torch.zeros(20_003, dtype=torch.int64)
    for place in (5, 10_005, 20_001):
        pixels[place], labels[place] = 0, 1
    label, agreeing = vote(torch.zeros(1, 1, 2, 3), pixels, labels, k=3)
    assert (label.tolist(), agreeing.tolist()) == ([1], [3])


def test_by_default_ten_neighbours_vote():
    pixels, _ = real_images(50)
    assert vote(queries(4), pixels, torch.zeros(50, dtype=torch.int64))[1].tolist() == [10] * 4


def test_fewer_real_images_than_neighbours_all_vote_once():
    pixels, _ = real_images(3)
    label, agreeing = vote(queries(4), pixels, torch.tensor([1, 1, 2]), k=10)
    assert label.tolist() == [1] * 4
    assert agreeing.tolist() == [2] * 4
