"""Distances of feature sets against closed forms and brute force; modes against hand-made shares."""

from __future__ import annotations

from math import inf, log

import numpy
import pytest
import torch

from genctl.evaluation import frechet_kernel
from genctl.seeds import generator


def normal(*shape: int, purpose: str = "x") -> torch.Tensor:
    return torch.randn(*shape, generator=generator(purpose, *shape), dtype=torch.float64)


def covariance(d: int, rank: int, purpose: str) -> torch.Tensor:
    factor = normal(d, rank, purpose=purpose)
    return factor @ factor.T


def test_frechet_of_gaussians_with_independent_dimensions():
    m, n = normal(5), normal(5, purpose="n")
    s, t = torch.rand(5, dtype=torch.float64) + 0.1, torch.rand(5, dtype=torch.float64) + 0.1
    exact = ((m - n) ** 2).sum() + ((s - t) ** 2).sum()  # standard deviations s and t
    found = frechet_kernel.frechet((m, (s**2).diag()), (n, (t**2).diag()))
    assert found == pytest.approx(exact.item(), rel=1e-9)


@pytest.mark.parametrize(("d", "rank"), [(1, 1), (6, 6), (40, 60), (6, 3), (20, 4)])
def test_frechet_of_any_two_gaussians(d, rank):
    m, n = normal(d), normal(d, purpose="n")
    S, T = covariance(d, rank, "S"), covariance(d, rank, "T")
    roots = numpy.linalg.eigvals((S @ T).numpy()).astype(complex) ** 0.5  # of S T itself, which is not symmetric
    exact = ((m - n) ** 2).sum() + S.trace() + T.trace() - 2 * roots.real.sum()
    assert frechet_kernel.frechet((m, S), (n, T)) == pytest.approx(exact.item(), rel=1e-6)
    assert frechet_kernel.frechet((n, T), (m, S)) == pytest.approx(exact.item(), rel=1e-6)


def test_frechet_of_rotated_copies():
    rotation, _ = torch.linalg.qr(normal(8, 8))
    s, t = torch.linspace(0.5, 2, 8, dtype=torch.float64), torch.linspace(3, 0.1, 8, dtype=torch.float64)
    S, T = (rotation * s**2 @ rotation.T, rotation * t**2 @ rotation.T)
    zero = torch.zeros(8, dtype=torch.float64)
    assert frechet_kernel.frechet((zero, S), (zero, T)) == pytest.approx(((s - t) ** 2).sum().item(), rel=1e-6)


def test_frechet_distance_of_a_set_from_itself_and_from_its_shifted_copy():
    x = normal(50, 4)
    assert frechet_kernel.frechet_distance(x, x) < 1e-12
    assert frechet_kernel.frechet_distance(x, x + 3) == pytest.approx(4 * 9, rel=1e-6)
    assert frechet_kernel.frechet_distance(x, 3 * x - 2 * x.mean(0)) == pytest.approx(
        4 * x.var(0).sum().item(), rel=1e-6
    )


def test_moments_are_those_of_numpy_and_weights_repeat_rows():
    x = normal(30, 3).float()
    mean, cov = frechet_kernel.moments(x)
    assert torch.allclose(mean, x.double().mean(0))
    assert numpy.allclose(cov, numpy.cov(x.double().numpy().T))
    counts = torch.randint(0, 4, (30,), generator=generator("counts"))
    repeated = frechet_kernel.moments(x.repeat_interleave(counts, 0))
    for mine, other in zip(frechet_kernel.moments(x, counts), repeated, strict=True):
        assert torch.allclose(mine, other)


def test_the_bootstrap_error_is_the_spread_over_new_draws():
    values, errors = [], []
    for i in range(20):
        x, y = normal(400, 2, purpose=f"x{i}"), 1 + 2 * normal(400, 2, purpose=f"y{i}")
        values.append(frechet_kernel.frechet_distance(x, y))
        errors.append(frechet_kernel.frechet_error(x, y, seed=i))
    assert numpy.mean(errors) == pytest.approx(numpy.std(values), rel=0.4)
    assert frechet_kernel.frechet_error(x, y, seed=1) == frechet_kernel.frechet_error(x, y, seed=1)


def brute_kernel(x: numpy.ndarray, y: numpy.ndarray) -> float:
    def k(a: numpy.ndarray, b: numpy.ndarray) -> float:
        return (a @ b / len(a) + 1) ** 3

    within = [numpy.mean([k(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (x, y)]
    return sum(within) - 2 * numpy.mean([k(a, b) for a in x for b in y])


@pytest.mark.parametrize("chunk", [1, 7, 1_000])
def test_kernel_distance_is_that_of_brute_force(monkeypatch, chunk):
    monkeypatch.setattr(frechet_kernel, "CHUNK", chunk)
    x, y = normal(23, 4), 0.5 + normal(17, 4, purpose="y")
    value, error = frechet_kernel.kernel_distance(x, y)
    assert value == pytest.approx(brute_kernel(x.numpy(), y.numpy()), rel=1e-9)
    assert error > 0


def test_kernel_distance_is_unbiased_and_its_error_is_its_spread():
    found = [
        frechet_kernel.kernel_distance(normal(100, 3, purpose=f"a{i}"), 0.3 + normal(150, 3, purpose=f"b{i}"))
        for i in range(60)
    ]
    values, errors = numpy.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.35)
    pairs = [(normal(100, 3, purpose=f"c{i}"), normal(100, 3, purpose=f"d{i}")) for i in range(60)]
    same = [frechet_kernel.kernel_distance(x, y)[0] for x, y in pairs]
    assert abs(numpy.mean(same)) < 3 * numpy.std(same) / 60**0.5


def test_modes_of_hand_made_shares():
    p = frechet_kernel.shares(torch.tensor([0, 0, 1, 3]), 4)
    assert p.tolist() == [0.5, 0.25, 0, 0.25]
    data = torch.tensor([0.25, 0.25, 0.25, 0.25], dtype=torch.float64)
    found = frechet_kernel.mode_figures(p, data)
    assert found["modes"] == 3
    assert found["mode_kl"] == pytest.approx(0.5 * log(2)) == found["mode_kl_data"]
    assert frechet_kernel.mode_figures(p, p)["mode_kl_data"] == 0
    assert frechet_kernel.divergence(data, p) == inf
    one = frechet_kernel.shares(torch.zeros(9, dtype=torch.int64), 1_000)
    assert frechet_kernel.mode_figures(one, p.new_full((1_000,), 1e-3)) == pytest.approx(
        {"modes": 1, "mode_kl": log(1_000), "mode_kl_data": log(1_000)}
    )


def test_the_floor_of_modes_is_the_first_order_one():
    uniform = torch.full((1_000,), 1e-3, dtype=torch.float64)
    floor = frechet_kernel.mode_floor(uniform, 26_000)
    assert floor["modes"] == 1_000
    assert floor["mode_kl"] == pytest.approx(999 / (2 * 26_000), rel=0.03)
    assert floor["mode_kl_data"] == pytest.approx(floor["mode_kl"])
    few = frechet_kernel.mode_floor(uniform, 1_000)
    assert few["modes"] == pytest.approx(1_000 * (1 - (1 - 1e-3) ** 1_000), rel=0.02)
