"""The geometry of latents: paths with exact ends, and grids that keep a Gaussian's statistics."""

from __future__ import annotations

from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from genctl.generation.latent_paths import PATHS, linear, quantile_grid, sphere_grid, spherical
from genctl.seeds import generator

every_path = pytest.mark.parametrize("path", [linear, spherical], ids=["linear", "slerp"])


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator("latent", *shape))


# Paths


def test_paths_by_their_names():
    assert {"linear": linear, "slerp": spherical} == PATHS


@every_path
@pytest.mark.parametrize("shape", [(1,), (2,), (100,), (3, 4, 5)])
@pytest.mark.parametrize(("steps", "points"), [(7, 9), (0, 2), (1, 3)])
def test_a_path_has_its_points_and_its_ends_to_the_bit(path, shape, steps, points):
    a, b = normal(2, *shape)
    z = path(a, b, steps)
    assert z.shape == (points, *shape)
    assert torch.equal(z[0], a) and torch.equal(z[-1], b)


@every_path
def test_a_path_backwards_has_the_same_points(path):
    a, b = normal(2, 50).double()
    torch.testing.assert_close(path(a, b, 7), path(b, a, 7).flip(0))


def test_a_linear_path_has_equal_steps():
    a, b = normal(2, 50).double()
    torch.testing.assert_close(linear(a, b, 7).diff(dim=0), ((b - a) / 8).expand(8, 50))


def test_an_arc_has_equal_angles_and_keeps_the_norm():
    a, b = normal(2, 50).double()
    b = b * a.norm() / b.norm()
    z = spherical(a, b, 7)
    torch.testing.assert_close(z.norm(dim=1), a.norm().expand(9))
    cosines = (z[1:] * z[:-1]).sum(1) / a.norm() ** 2
    omega = torch.acos(torch.dot(a, b) / a.norm() ** 2)
    torch.testing.assert_close(torch.acos(cosines), (omega / 8).expand(8))


def test_an_arc_between_axes_is_a_quarter_circle():
    a, b = torch.eye(2, dtype=torch.float64)
    angles = torch.linspace(0, torch.pi / 2, 9, dtype=torch.float64)
    torch.testing.assert_close(spherical(a, b, 7), torch.stack([angles.cos(), angles.sin()], dim=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, -3.0])
def test_between_parallel_ends_the_path_is_straight(factor, dtype):
    a = normal(20).to(dtype)
    assert torch.equal(spherical(a, factor * a, 7), linear(a, factor * a, 7))


@pytest.mark.parametrize("b", [torch.zeros(3), torch.tensor([1e-30, 0, 0]), torch.tensor([1.0, 1e-7, 0])])
def test_an_arc_without_an_angle_is_finite(b):
    z = spherical(torch.tensor([1.0, 0, 0]), b, 7)
    assert torch.isfinite(z).all() and z.norm(dim=1).max() < 1.001


# The quantile grid


def test_the_corners_are_the_quantiles_with_z1_to_the_right_and_z2_upwards():
    low, high = NormalDist().inv_cdf(0.0001), NormalDist().inv_cdf(0.9999)
    z = quantile_grid(15, 0.0001, 0.9999).reshape(15, 15, 2)  # rows from the top
    corners = torch.stack([z[0, 0], z[0, -1], z[-1, 0], z[-1, -1]])
    torch.testing.assert_close(corners, torch.tensor([[low, high], [high, high], [low, low], [high, low]]))


def test_the_centre_of_an_odd_grid_is_the_origin():
    z = quantile_grid(15, 0.0001, 0.9999)
    torch.testing.assert_close(z[15 * 7 + 7], torch.zeros(2))


def test_the_grid_is_monotone_and_equal_in_probability():
    z = quantile_grid(9, 0.01, 0.99).reshape(9, 9, 2)
    assert (z[:, 1:, 0] > z[:, :-1, 0]).all() and (z[1:, :, 1] < z[:-1, :, 1]).all()
    assert (z[:, :, 0] == z[0, :, 0]).all() and (z[:, :, 1] == z[:, :1, 1]).all()
    share = [NormalDist().cdf(v) for v in z[0, :, 0].tolist()]
    assert share == pytest.approx([0.01 + 0.98 * i / 8 for i in range(9)], abs=1e-6)


# The sphere grid


def coefficients(steps: int) -> Tensor:
    """Return the weight of each anchor at each point, [steps**2, 4]."""
    return sphere_grid(torch.eye(4, dtype=torch.float64), steps)


@pytest.mark.parametrize("steps", [1, 4, 15])
def test_coefficients_have_norm_1(steps):
    weights = coefficients(steps)
    assert weights.shape == (steps**2, 4)
    torch.testing.assert_close(weights.norm(dim=1), torch.ones(steps**2, dtype=torch.float64))


def test_the_grid_is_the_paper_s():
    z = normal(4, 6).double()
    f, f_ = (2 * torch.pi * torch.tensor(k / 5, dtype=torch.float64) for k in (2, 3))
    truth = f.cos() * (f_.cos() * z[0] + f_.sin() * z[1]) + f.sin() * (f_.cos() * z[2] + f_.sin() * z[3])
    torch.testing.assert_close(sphere_grid(z, 5)[5 * 2 + 3], truth)


def test_the_grid_passes_through_its_anchors():
    anchors = normal(4, 2, 3)
    z = sphere_grid(anchors, 4)  # quarter turns
    assert z.shape == (16, 2, 3)
    for anchor, place in zip(anchors, (0, 1, 4, 5), strict=True):
        torch.testing.assert_close(z[place], anchor, atol=1e-6, rtol=0)


def test_all_points_differ():
    z = sphere_grid(normal(4, 30), 7)  # an even number of steps meets each point twice
    assert torch.pdist(z).min() > 1e-3


def test_the_points_are_gaussian_draws():
    draws = torch.stack([sphere_grid(anchors, 5) for anchors in normal(20_000, 4, 3)])  # [20000, 25, 3]
    torch.testing.assert_close(draws.mean(0), torch.zeros(25, 3), atol=0.05, rtol=0)
    torch.testing.assert_close(draws.square().sum(2).mean(0), torch.full((25,), 3.0), atol=0.15, rtol=0)
    torch.testing.assert_close(draws.square().sum(2).var(0), torch.full((25,), 6.0), atol=0.6, rtol=0)
