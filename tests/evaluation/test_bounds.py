"""Bounds on the likelihood: their unit, how they move with K, and their error."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import log, sqrt

import numpy
import pytest
import torch
from conftest import bars, tiny_config
from torch import Tensor, nn

from genctl.evaluation import bounds
from genctl.evaluation.bounds import bits_per_dim, bound, mean_and_error, round_trip
from genctl.models.base import Batch, Inverts, Loss, Player, Scores
from genctl.seeds import generator

SHAPE = (1, 2, 3)


class Idle(Scores, Inverts):
    """A model that is not trained."""

    data, negative_bound = "256 levels", "nll"

    def __init__(self) -> None:
        super().__init__(tiny_config("vae", "mlp"), SHAPE)
        self.weight = nn.Parameter(torch.zeros(()))

    def players(self) -> list[Player]:
        return []

    def losses(self, batch: Batch) -> Iterator[Loss]:
        yield from ()

    def log_weights(self, x, K, generator, proposal="posterior"):
        raise NotImplementedError

    def forward(self, x):
        raise NotImplementedError

    def inverse(self, z):
        raise NotImplementedError


class UniformDensity(Idle):
    """All 256 levels of all pixels are equally likely."""

    def log_weights(self, x, K, generator, proposal="posterior"):
        return torch.full((K, len(x)), -x[0].numel() * log(256))


class Told(Idle):
    """Weights that are given, a row a draw, in the order in which they are asked for."""

    def __init__(self, log_w: Tensor) -> None:
        super().__init__()
        self.log_w, self.given, self.asked = log_w, 0, []

    def log_weights(self, x, K, generator, proposal="posterior"):
        self.asked.append(K)
        self.given += K
        return self.log_w[self.given - K : self.given]


def blank(n: int) -> Tensor:
    return torch.zeros(n, *SHAPE, dtype=torch.uint8)


def told_weights(K: int = 16, n: int = 7) -> Tensor:
    return 3 * torch.randn(K, n, generator=generator("weights"), dtype=torch.float64) - 50


# Units


@pytest.mark.parametrize("K", [1, 5])
def test_a_uniform_density_over_256_levels_is_8_bits_per_dim(K):
    found = bound(UniformDensity(), blank(150), K)
    for values in (found.tight, found.elbo):
        assert values.shape == (150,)
        assert bits_per_dim(values.mean().item(), SHAPE) == pytest.approx(8.000, abs=1e-6)


def test_a_bit_per_dim_is_ln_2_nats_for_each_of_chw():
    assert bits_per_dim(3 * 4 * 5 * log(2), (3, 4, 5)) == pytest.approx(1, abs=1e-12)


# The bound and K


def test_the_bound_is_the_log_mean_exp_of_the_weights():
    log_w = told_weights()
    found = bound(Told(log_w), blank(7), K=16)
    truth = -numpy.log(numpy.exp(log_w.numpy()).mean(0))
    numpy.testing.assert_allclose(found.tight.numpy(), truth, rtol=1e-12)
    numpy.testing.assert_allclose(found.elbo.numpy(), -log_w.numpy().mean(0), rtol=1e-12)


def test_more_draws_only_tighten_the_bound():
    log_w = told_weights()
    means = []
    for K in (1, 2, 4, 8, 16):
        blocks = Told(log_w)
        means.append(torch.stack([bound(blocks, blank(7), K).tight for _ in range(16 // K)]).mean(0))
    whole = bound(Told(log_w), blank(7), K=16)
    torch.testing.assert_close(means[0], whole.elbo)
    torch.testing.assert_close(means[-1], whole.tight)
    for loose, tight in pairwise(means):
        assert (tight < loose).all()


def test_one_draw_is_the_elbo():
    found = bound(Told(told_weights()), blank(7), K=1)
    torch.testing.assert_close(found.tight, found.elbo)


def test_weights_as_small_as_e_to_the_minus_a_million_are_kept():
    found = bound(Told(told_weights() - 1e6), blank(7), K=16)
    assert torch.isfinite(found.tight).all()


@pytest.mark.parametrize("at_once", [1, 3, 5, 16, 100])
def test_cutting_k_into_pieces_changes_nothing(at_once, monkeypatch):
    log_w = told_weights()
    whole = bound(Told(log_w), blank(7), K=16)
    monkeypatch.setattr(bounds, "MOST_AT_ONCE", at_once * bounds.BLOCK * 6)
    model = Told(log_w)
    pieces = bound(model, blank(7), K=16)
    assert sum(model.asked) == 16 and max(model.asked) == min(at_once, 16)
    torch.testing.assert_close(pieces.tight, whole.tight)
    torch.testing.assert_close(pieces.elbo, whole.elbo)


def test_pieces_of_a_model_have_noise_of_their_own(monkeypatch):
    model, x = tiny_config("vae", "mlp").build((1, 8, 8)), bars(4)[0].to(torch.uint8)[:, None]
    monkeypatch.setattr(bounds, "MOST_AT_ONCE", 1)  # a draw at a time
    found = bound(model, x, K=8)
    assert (found.tight < found.elbo).all(), "all draws are the same"


@pytest.mark.parametrize("name", ["vae", "realnvp"])
def test_an_image_s_bound_does_not_depend_on_later_blocks(name):
    arch = "mlp"
    model, x = tiny_config(name, arch).build((1, 8, 8)), bars(230)[0].to(torch.uint8)[:, None]
    told: list[int] = []
    every = bound(model, x, K=2, advance=told.append)
    assert every.tight.shape == (230,) and told == [100, 100, 30]
    assert torch.equal(bound(model, x[:100], K=2).tight, every.tight[:100])
    assert torch.equal(bound(model, x, K=2).tight, every.tight)
    assert not torch.equal(bound(model, x, K=2, seed=1).tight, every.tight)
    same = bound(model, x[:1].expand(200, 1, 8, 8), K=2).tight
    assert len(same.unique()) > 150, "each image, and each block, has noise of its own"


def test_the_proposal_is_passed_on():
    model, x = tiny_config("vae", "mlp").build((1, 8, 8)), bars(4)[0].to(torch.uint8)[:, None]
    assert not torch.equal(bound(model, x, 2, "prior").tight, bound(model, x, 2, "posterior").tight)


# Errors


def test_the_standard_error_is_the_sample_deviation_over_root_n():
    values = torch.tensor([1.0, 2.0, 4.0, 9.0])
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(4)
    assert error == pytest.approx(sqrt((9 + 4 + 0 + 25) / 3) / sqrt(4))


def test_the_error_of_one_image_is_unknown():
    mean, error = mean_and_error(torch.tensor([3.0]))
    assert mean == 3 and error != error


# The round trip


class Doubling(Idle):
    """y = 2x, with an inverse that may be wrong by a factor and a log-determinant by a sum."""

    def __init__(self, factor: float = 1.0, offset: float = 0.0) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, x):
        return 2 * x.flatten(1), torch.full((len(x),), 6 * log(2))

    def inverse(self, z):
        factor = torch.ones(len(z), 1)
        factor[-1] = self.factor  # for one image only
        log_det = torch.full((len(z),), -6 * log(2))
        log_det[0] += self.offset
        return (factor * z / 2).unflatten(1, SHAPE), log_det


def test_a_right_inverse_has_no_error():
    assert round_trip(Doubling(), 1 + torch.rand(5, *SHAPE, generator=generator("trip"))) == (0, 0)


@pytest.mark.parametrize("factor", [0.5, 1.1])
def test_a_wrong_inverse_of_one_image_is_reported(factor):
    relative, log_det = round_trip(Doubling(factor=factor), 1 + torch.rand(5, *SHAPE, generator=generator("trip")))
    assert relative == pytest.approx(abs(factor - 1), rel=1e-4)
    assert log_det == 0


@pytest.mark.parametrize("offset", [-0.6, 0.6])
def test_a_wrong_log_det_of_one_image_is_reported_per_dimension(offset):
    relative, log_det = round_trip(Doubling(offset=offset), 1 + torch.rand(5, *SHAPE, generator=generator("trip")))
    assert relative == 0
    assert log_det == pytest.approx(0.1, rel=1e-4)
