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

from genctl.config import Estimator, ModelConfig
from genctl.errors import UsageError
from genctl.evaluation import bounds
from genctl.evaluation.bits_per_dim import estimator_for
from genctl.evaluation.bounds import bits_per_dim, bound, mean_and_error, round_trip
from genctl.models.base import Batch, Inverts, Loss, Player, Scores, build
from genctl.seeds import generator

SHAPE = (1, 2, 3)
EACH = Estimator("iwae")  # draws of its own for each image
SHARED = Estimator("prior", shared=True)


class Idle(Scores, Inverts):
    """A model that is not trained."""

    negative_bound = "nll"

    def __init__(self) -> None:
        super().__init__(tiny_config("vae", "mlp"), SHAPE)
        self.weight = nn.Parameter(torch.zeros(()))

    def players(self) -> list[Player]:
        return []

    def losses(self, batch: Batch) -> Iterator[Loss]:
        yield from ()

    def log_weights(self, x, K, generator, estimator, y=None):
        raise NotImplementedError

    def forward(self, x):
        raise NotImplementedError

    def inverse(self, z):
        raise NotImplementedError


class UniformDensity(Idle):
    """All 256 levels of all pixels are equally likely."""

    def log_weights(self, x, K, generator, estimator, y=None):
        return torch.full((K, len(x)), -x[0].numel() * log(256))


class Told(Idle):
    """Weights that are given, a row a draw, in the order in which they are asked for."""

    def __init__(self, log_w: Tensor) -> None:
        super().__init__()
        self.log_w, self.given, self.asked, self.told = log_w, 0, [], []

    def log_weights(self, x, K, generator, estimator, y=None):
        self.asked.append(K)
        self.given += K
        self.told.append((estimator, len(x), None if y is None else y.tolist()))
        return self.log_w[self.given - K : self.given, : len(x)]


def blank(n: int) -> Tensor:
    return torch.zeros(n, *SHAPE, dtype=torch.uint8)


def told_weights(K: int = 16, n: int = 7) -> Tensor:
    return 3 * torch.randn(K, n, generator=generator("weights"), dtype=torch.float64) - 50


# Units


@pytest.mark.parametrize("K", [1, 5])
def test_a_uniform_density_over_256_levels_is_8_bits_per_dim(K):
    found = bound(UniformDensity(), blank(150), K, EACH)
    for values in (found.tight, found.mean):
        assert values.shape == (150,)
        assert bits_per_dim(values.mean().item(), SHAPE) == pytest.approx(8.000, abs=1e-6)


def test_a_bit_per_dim_is_ln_2_nats_for_each_of_chw():
    assert bits_per_dim(3 * 4 * 5 * log(2), (3, 4, 5)) == pytest.approx(1, abs=1e-12)


# The bound and K


def test_the_bound_is_the_log_mean_exp_of_the_weights():
    log_w = told_weights()
    found = bound(Told(log_w), blank(7), 16, EACH)
    truth = -numpy.log(numpy.exp(log_w.numpy()).mean(0))
    numpy.testing.assert_allclose(found.tight.numpy(), truth, rtol=1e-12)
    numpy.testing.assert_allclose(found.mean.numpy(), -log_w.numpy().mean(0), rtol=1e-12)


def test_more_draws_only_tighten_the_bound():
    log_w = told_weights()
    means = []
    for K in (1, 2, 4, 8, 16):
        blocks = Told(log_w)
        means.append(torch.stack([bound(blocks, blank(7), K, EACH).tight for _ in range(16 // K)]).mean(0))
    whole = bound(Told(log_w), blank(7), 16, EACH)
    torch.testing.assert_close(means[0], whole.mean)
    torch.testing.assert_close(means[-1], whole.tight)
    for loose, tight in pairwise(means):
        assert (tight < loose).all()


def test_one_draw_is_the_elbo():
    found = bound(Told(told_weights()), blank(7), 1, EACH)
    torch.testing.assert_close(found.tight, found.mean)


def test_weights_as_small_as_e_to_the_minus_a_million_are_kept():
    found = bound(Told(told_weights() - 1e6), blank(7), 16, EACH)
    assert torch.isfinite(found.tight).all()


@pytest.mark.parametrize("at_once", [1, 3, 5, 16, 100])
def test_cutting_k_into_pieces_changes_nothing(at_once, monkeypatch):
    log_w = told_weights()
    whole = bound(Told(log_w), blank(7), 16, EACH)
    monkeypatch.setattr(bounds, "MOST_AT_ONCE", at_once * bounds.BLOCK * 6)
    model = Told(log_w)
    pieces = bound(model, blank(7), 16, EACH)
    assert sum(model.asked) == 16 and max(model.asked) == min(at_once, 16)
    torch.testing.assert_close(pieces.tight, whole.tight)
    torch.testing.assert_close(pieces.mean, whole.mean)


def test_pieces_of_a_model_have_noise_of_their_own(monkeypatch):
    model, x = build(tiny_config("vae", "mlp"), (1, 8, 8)), bars(4)[0].to(torch.uint8)[:, None]
    monkeypatch.setattr(bounds, "MOST_AT_ONCE", 1)  # a draw at a time
    found = bound(model, x, 8, EACH)
    assert (found.tight < found.mean).all(), "all draws are the same"


@pytest.mark.parametrize("name", ["vae", "realnvp"])
def test_an_image_s_bound_does_not_depend_on_later_blocks(name):
    arch = "mlp"
    model, x = build(tiny_config(name, arch), (1, 8, 8)), bars(230)[0].to(torch.uint8)[:, None]
    told: list[int] = []
    every = bound(model, x, 2, EACH, advance=told.append)
    assert every.tight.shape == (230,) and told == [100, 100, 30]
    assert torch.equal(bound(model, x[:100], 2, EACH).tight, every.tight[:100])
    assert torch.equal(bound(model, x, 2, EACH).tight, every.tight)
    assert not torch.equal(bound(model, x, 2, EACH, seed=1).tight, every.tight)
    same = bound(model, x[:1].expand(200, 1, 8, 8), 2, EACH).tight
    assert len(same.unique()) > 150, "each image, and each block, has noise of its own"


def test_the_estimator_s_name_and_the_labels_are_passed_on():
    model = Told(torch.zeros(2, 100))
    bound(model, blank(150), 1, EACH, y=torch.arange(150))
    assert model.told == [("iwae", 100, list(range(100))), ("iwae", 50, list(range(100, 150)))]
    plain = Told(torch.zeros(1, 7))
    bound(plain, blank(7), 1, SHARED)
    assert plain.told == [("prior", 7, None)]


def test_shared_draws_are_the_same_for_all_images_and_others_are_not():
    model, x = build(tiny_config("vae", "mlp"), (1, 8, 8)), bars(1)[0].to(torch.uint8)[:, None].expand(230, 1, 8, 8)
    assert len(bound(model, x, 2, SHARED).tight.unique()) == 1
    assert len(bound(model, x, 2, EACH).tight.unique()) > 200
    assert not torch.equal(bound(model, x, 2, SHARED, seed=1).tight, bound(model, x, 2, SHARED).tight)


# Estimators


class Offers(ModelConfig):
    """A config with one estimator of each kind."""

    name = "offers"
    estimators = (
        Estimator("exact", "exact -log p", draws="none"),
        SHARED,
        Estimator("elbo", draws="mean"),
        EACH,
    )


@pytest.mark.parametrize(
    ("name", "K", "found"),
    [(None, 1, "exact"), (None, 2, "iwae"), ("elbo", 1, "elbo"), ("elbo", 9, "elbo"), ("exact", 1, "exact")],
)
def test_the_usual_estimator_is_the_first_and_of_more_draws_the_tighter_one(name, K, found):
    assert estimator_for(Offers, name, K).name == found


def test_an_estimator_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match=r"^offers has no estimator ais; it has: exact, prior, elbo, iwae\.$"):
        estimator_for(Offers, "ais", 1)


def test_more_draws_of_an_exact_likelihood_are_refused():
    with pytest.raises(UsageError, match=r"^exact of offers is exact -log p: K does not apply; leave out --draws\.$"):
        estimator_for(Offers, "exact", 2)


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
