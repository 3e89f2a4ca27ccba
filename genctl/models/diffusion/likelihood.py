"""The density of the probability-flow ODE (Chen et al. 2018, arXiv:1806.07366; Song et al. 2021, arXiv:2011.13456).

The ODE is solved for u = (z/a - m) / S, S^2 = s^2 + exp(-2 lam): z/a with the mean and the spread that it has at lam if
the image has mean m and deviation s. There

    du/dlam = (yhat - ylin) / S,   ylin = m + s^2/S^2 (z/a - m)

so that of a Gaussian it stands still, for every process. u(lam_0) ~ N(0, I), and from lam_0 to lam_1

    log p(y) = log N(u_0; 0, I) - int div du/dlam dlam - sum log S(lam_1)

The divergence is exact up to 64 dimensions. Above, it is estimated by e^T J e with e of random signs, one e an image
(Hutchinson 1990; Grathwohl et al. 2019, arXiv:1810.01367), so the estimate of log p has no bias, and that of p has one.
The solver is the classical Runge-Kutta method of order 4, in equal steps of lam. Too few of them flatter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Any

import torch
from torch import Tensor

from .preconditioning import Preconditioning
from .processes import Process
from .times import CLEANEST, NOISIEST

EXACT = 64  # dimensions up to which every column of the Jacobian is taken
Drift = Callable[[Tensor, float], Tensor]  # u [N, D] and lam -> du/dlam [N, D]
Slope = tuple[Tensor, Tensor]  # du/dlam [N, D] and its divergence [N]


def random(kind: str, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Return draws of N(0, 1) ("normal"), of U[0, 1) ("uniform") or of random signs, of the type and device of like."""
    if kind == "signs":
        return (2 * torch.randint(0, 2, shape, generator=generator, device=generator.device) - 1).to(like)
    draw = torch.randn if kind == "normal" else torch.rand
    return draw(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


@torch.enable_grad()
def along(drift: Drift, u: Tensor, lam: float, e: Tensor) -> Slope:
    """Return the drift and e^T J e."""
    u = u.detach().requires_grad_()
    slope = drift(u, lam)
    (back,) = torch.autograd.grad((slope * e).sum(), u)
    return slope.detach(), (back * e).sum(1)


def exactly(drift: Drift, u: Tensor, lam: float) -> Slope:
    """Return the drift and the trace of J: e^T J e for every unit vector e."""
    N, D = u.shape
    every = torch.eye(D, dtype=u.dtype, device=u.device).repeat(N, 1)  # [N * D, D]
    slope, parts = along(drift, u.repeat_interleave(D, 0), lam, every)
    return slope[::D], parts.unflatten(0, (N, D)).sum(1)


def solve(drift: Drift, u: Tensor, steps: int, e: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return u_0 [N, D] and the integral of the divergence [N] on the way from u at lam_1 back to lam_0."""

    def look(u: Tensor, lam: float) -> Slope:
        return exactly(drift, u, lam) if e is None else along(drift, u, lam, e)

    h, total = (NOISIEST - CLEANEST) / steps, u.new_zeros(len(u))
    for i in range(steps):
        lam = CLEANEST + i * h
        k1, d1 = look(u, lam)
        k2, d2 = look(u + h / 2 * k1, lam + h / 2)
        k3, d3 = look(u + h / 2 * k2, lam + h / 2)
        k4, d4 = look(u + h * k3, lam + h)
        u, total = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), total - h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return u, total


@dataclass(frozen=True)
class Density:
    """The density of the images that the ODE of a denoiser makes, and what its numbers are worth."""

    process: Process
    known: Preconditioning
    denoise: Callable[[Tensor, Tensor, Tensor | None], Tensor]  # z, lam [N] and classes -> yhat

    def drift(self, u: Tensor, lam: float, y: Tensor | None) -> Tensor:
        """Return du/dlam [N, D]; of u, there is a row for each column of the Jacobian."""
        level = u.new_full((len(u),), lam)
        noise, (a, _) = torch.exp(-level)[:, None, None, None], self.process.scales(level[:, None, None, None])
        S = self.known.spread(noise)
        w = self.known.mean + S * u.unflatten(1, self.known.mean.shape)
        given = y if y is None else y.repeat_interleave(len(u) // len(y), 0)
        return ((self.denoise(a * w, level, given) - self.known.linear(w, noise)) / S).flatten(1)

    def log_density(self, image: Tensor, y: Tensor | None, steps: int, probe: Tensor | None) -> Tensor:
        """Return log p [N] in nats of images in [-1, 1] whose pixels count as 1 wide."""
        S = self.known.spread(torch.exp(-image.new_tensor(CLEANEST)))
        u = ((image - self.known.mean) / S).flatten(1)
        u, divergence = solve(lambda u, lam: self.drift(u, lam, y), u, steps, probe)
        log_normal = -0.5 * (u.square() + log(2 * pi)).sum(1)
        return log_normal - divergence - S.log().sum() - u.shape[1] * log(128)

    def probe(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Return random signs [n, D] for Hutchinson's estimator; None where the divergence is exact."""
        D = self.known.mean.numel()
        return random("signs", (n, D), generator, self.known.mean) if D > EXACT else None

    def numerics(self, image: Tensor, y: Tensor | None, steps: int, generator: torch.Generator) -> dict[str, Any]:
        """Return the solver, and what half a step and another probe change, in nats per image."""
        probe, other = self.probe(len(image), generator), self.probe(len(image), generator)
        usual, finer = (self.log_density(image, y, n, probe) for n in (steps, 2 * steps))
        found = {
            "solver": f"Runge-Kutta of order 4, {steps} steps of log(a/b) from {CLEANEST:g} to {NOISIEST:g}",
            "divergence": "exact" if probe is None else "Hutchinson's estimator, one Rademacher probe a draw",
            "half_step_nats": (usual - finer).mean().item(),  # of -log p
            "checked_images": len(image),
        }
        if probe is not None:
            apart = usual - self.log_density(image, y, steps, other)
            found["probe_nats"] = (apart.square().mean() / 2).sqrt().item()  # deviation of one image's value
        return found
