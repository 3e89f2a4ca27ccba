"""Stacked MNIST: fixed triples of one split's digits."""

from __future__ import annotations

import pytest
import torch

from genctl import data
from genctl.data import stacked_mnist
from genctl.errors import DataError
from genctl.evaluation import frechet_kernel


@pytest.fixture(scope="module")
def mnist():
    return data.load("mnist")


@pytest.fixture(scope="module")
def triples():
    return data.load("stacked-mnist")


def test_the_triples_are_digits_of_their_split(mnist, triples):
    assert [len(triples.split(s)) for s in ("train", "validation", "test")] == [128_000, 10_000, 10_000]
    assert triples.train.shape == (3, 28, 28)
    for split in ("train", "validation", "test"):
        digits, found = mnist.split(split), triples.split(split)
        index = stacked_mnist.places(split, len(digits))
        assert int(index.max()) > 0.99 * len(digits)
        for i in (0, 77, 9_999):
            assert torch.equal(found.pixels[i], torch.cat([digits.pixels[j] for j in index[i]]))
            a, b, c = (int(digits.labels[j]) for j in index[i])
            assert found.labels[i] == 100 * a + 10 * b + c


def test_the_triples_never_change(triples):
    assert stacked_mnist.places("train", 50_000)[:2].tolist() == [[1260, 13026, 20060], [37582, 14211, 22873]]
    again = data.load("stacked-mnist", train_size=50, validation=20)
    assert again.digest == triples.digest != data.load("mnist").digest
    assert torch.equal(again.train.pixels, triples.train.pixels[:50])
    assert torch.equal(again.validation.pixels, triples.validation.pixels[:20])
    assert len({triples.split(s).origin for s in ("train", "validation", "test")}) == 3


def digits_unevenness() -> float:
    """Return KL(MNIST's training labels || uniform) in nats."""
    shares = torch.bincount(data.load("mnist").train.labels).double() / 50_000
    return (shares * (10 * shares).log()).sum().item()


def test_all_thousand_modes_are_there_and_the_floors_are_the_expected_ones(triples):
    shares = frechet_kernel.shares(triples.train.labels, 1_000)
    assert (shares > 0).all()
    floor = frechet_kernel.mode_floor(shares, 26_000)
    assert floor["modes"] == 1_000
    assert floor["mode_kl_data"] == pytest.approx(999 / 52_000, rel=0.05)  # 0.0192
    uneven = frechet_kernel.mode_figures(shares, shares)["mode_kl"]  # the digits are, and 128,000 draws are
    assert uneven == pytest.approx(3 * digits_unevenness() + 999 / 256_000, rel=0.1)
    assert floor["mode_kl"] == pytest.approx(floor["mode_kl_data"] + uneven, rel=0.05)


def test_too_many_triples_are_refused():
    with pytest.raises(DataError, match="--train-size"):
        data.load("stacked-mnist", train_size=128_001)
    with pytest.raises(DataError, match="--validation"):
        data.load("stacked-mnist", validation=10_001)
