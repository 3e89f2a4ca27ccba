"""Solvers of the probability-flow ODE dz = yhat da + ehat db, ehat = (z - a yhat)/b, from noise to image or back.

euler   z <- z + yhat da + ehat db: the step of DDIM (Song, Meng & Ermon 2021, arXiv:2010.02502), and Euler's own
        where a and b are linear in the time
heun    its trapezoid: two looks at the network a step (Karras et al. 2022, algorithm 1)
dpm     DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095): of second order with one look, yhat extrapolated
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class Level(NamedTuple):
    """A noise level: log(a/b), a and b, scalars on the device."""

    lam: Tensor
    a: Tensor
    b: Tensor


Denoiser = Callable[[Tensor, Level], Tensor]  # z [N, ...] -> yhat


def euler(denoise: Denoiser, z: Tensor, levels: list[Level]) -> Tensor:
    """Return z at the last level of z at the first."""
    for here, there in pairwise(levels):
        z = straight(z, denoise(z, here), here, there)
    return z


def heun(denoise: Denoiser, z: Tensor, levels: list[Level]) -> Tensor:
    """Return z at the last level of z at the first."""
    for here, there in pairwise(levels):
        yhat = denoise(z, here)
        ahead = straight(z, yhat, here, there)
        again = denoise(ahead, there)
        ehat, ehat_ahead = (z - here.a * yhat) / here.b, (ahead - there.a * again) / there.b
        z = z + (there.a - here.a) * (yhat + again) / 2 + (there.b - here.b) * (ehat + ehat_ahead) / 2
    return z


def dpm(denoise: Denoiser, z: Tensor, levels: list[Level]) -> Tensor:
    """Return z at the last level of z at the first."""
    before, step_before = None, None
    for here, there in pairwise(levels):
        yhat, step = denoise(z, here), there.lam - here.lam
        ahead = yhat
        if before is not None and step_before is not None:
            ahead = yhat + (yhat - before) * step / (2 * step_before)
        z = there.b / here.b * z - there.a * torch.expm1(-step) * ahead
        before, step_before = yhat, step
    return z


def straight(z: Tensor, yhat: Tensor, here: Level, there: Level) -> Tensor:
    """Return z at another level if yhat and ehat stay what they are."""
    return there.a * yhat + there.b * (z - here.a * yhat) / here.b


SAMPLERS: dict[str, Callable[[Denoiser, Tensor, list[Level]], Tensor]] = {"euler": euler, "heun": heun, "dpm": dpm}
