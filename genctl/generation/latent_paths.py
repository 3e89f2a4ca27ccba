"""The geometry of latents: paths between two, and grids through many. Pure functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Return (1 - t) a + t b for t = 0, 1/(steps + 1), ..., 1: [steps + 2, *latent_shape]."""
    t = torch.linspace(0, 1, steps + 2, dtype=a.dtype).reshape(-1, *[1] * a.dim())
    return torch.lerp(a, b, t)


def spherical(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Return the arc sin((1 - t) w)/sin(w) a + sin(t w)/sin(w) b, w the angle between a and b (Shoemake 1985).

    Parallel and antiparallel ends have no unique arc; between them the path is straight.
    """
    cosine = torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm()).clamp_min(1e-12)
    omega = torch.acos(cosine.clamp(-1, 1))
    if torch.sin(omega) < 1e-3:  # in float32 the cosine knows the angle no better
        return linear(a, b, steps)
    t = torch.linspace(0, 1, steps + 2, dtype=a.dtype).reshape(-1, *[1] * a.dim())
    path = (torch.sin((1 - t) * omega) * a + torch.sin(t * omega) * b) / torch.sin(omega)
    path[0], path[-1] = a, b  # the ends to the bit
    return path


PATHS = {"linear": linear, "slerp": spherical}


def quantile_grid(steps: int, low: float, high: float) -> Tensor:
    """Return z [steps**2, 2]: the inverse normal CDF of steps x steps points over [low, high]^2.

    z1 grows to the right, z2 upwards; the rows are from top to bottom.
    """
    z = torch.special.ndtri(torch.linspace(low, high, steps, dtype=torch.float64)).float()
    return torch.stack([z.repeat(steps), z.flip(0).repeat_interleave(steps)], dim=1)


def sphere_grid(anchors: Tensor, steps: int) -> Tensor:
    """Return z [steps**2, *latent_shape] on the manifold through four anchors (Dinh et al. 2017, eq. 19).

    z = cos(f) (cos(f') z1 + sin(f') z2) + sin(f) (cos(f') z3 + sin(f') z4), f and f' over [0, 2 pi): the
    coefficients have norm 1, so that four Gaussian draws give Gaussian draws everywhere.
    """
    f = torch.arange(steps, dtype=anchors.dtype) * (2 * math.pi / steps)
    pairs = torch.cartesian_prod(f, f).reshape(-1, 2)  # f down the rows, f' along them
    c, s, c_, s_ = pairs[:, 0].cos(), pairs[:, 0].sin(), pairs[:, 1].cos(), pairs[:, 1].sin()
    weights = torch.stack([c * c_, c * s_, s * c_, s * s_], dim=1)  # [steps**2, 4]
    return torch.tensordot(weights, anchors, dims=1)
