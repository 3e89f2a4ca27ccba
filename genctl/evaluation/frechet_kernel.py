"""How far two sets of feature vectors lie apart, and how labels are spread. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from ..seeds import generator

CHUNK = 1_000  # rows of a table of pairs held at a time
RESAMPLES = 50


def moments(x: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean [D] and covariance [D, D] in float64 of x [N, D]; weights [N] count repeated rows."""
    x = x.double()
    w = x.new_ones(len(x)) if weights is None else weights.double()
    mean = w @ x / w.sum()
    centred = x - mean
    return mean, centred.T @ (w[:, None] * centred) / (w.sum() - 1)


def frechet(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """Return |m - n|^2 + tr S + tr T - 2 tr (S^1/2 T S^1/2)^1/2 of two Gaussians (m, S), (n, T) in float64.

    The squared Wasserstein-2 distance (Dowson & Landau 1982; for features Heusel et al. 2017, arXiv:1706.08500). The
    root is that of a symmetric matrix, so it comes of eigenvalues, and singular covariances are no special case.
    """
    (m, S), (n, T) = a, b
    values, vectors = torch.linalg.eigh(S)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ T @ root).clamp_min(0).sqrt().sum()
    distance = (m - n).square().sum() + S.trace() + T.trace() - 2 * cross
    return max(0.0, distance.item())


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return the Fréchet distance of Gaussians fitted to x [N, D] and y [M, D]."""
    return frechet(moments(x), moments(y))


def frechet_error(x: Tensor, y: Tensor, seed: int = 0) -> float:
    """Return the standard deviation of the Fréchet distance over bootstrap resamples of both sets."""
    random = generator("bootstrap", seed)
    values = [frechet(moments(x, _recount(x, random)), moments(y, _recount(y, random))) for _ in range(RESAMPLES)]
    return torch.tensor(values, dtype=torch.float64).std().item()


def _recount(x: Tensor, random: torch.Generator) -> Tensor:
    """Return how often each row is drawn in len(x) draws with replacement."""
    return torch.bincount(torch.randint(len(x), (len(x),), generator=random), minlength=len(x)).to(x.device)


def frechet_in_class(x: Tensor, x_labels: Tensor, y: Tensor, y_labels: Tensor) -> float:
    """Return the mean over classes of the Fréchet distance of x and y within a class (Miyato & Koyama 2018).

    A class needs two vectors of each; nan if none has them.
    """
    classes = [c for c in y_labels.unique() if min((x_labels == c).sum(), (y_labels == c).sum()) > 1]
    distances = [frechet_distance(x[x_labels == c], y[y_labels == c]) for c in classes]
    return sum(distances) / len(distances) if distances else float("nan")


def kernel_distance(x: Tensor, y: Tensor, advance: Callable[[int], None] = lambda rows: None) -> tuple[float, float]:
    """Return the unbiased squared MMD of x [N, D] and y [M, D] and its standard error.

    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j), with
    k(a, b) = (a.b/D + 1)^3 (Binkowski et al. 2018, arXiv:1801.01401). The error is of first order: from the
    spread of each vector's own share 2 (mean_j k(x_i, x_j) - mean_j k(x_i, y_j)).
    """
    (xx, _), (yy, _), (xy, yx) = (_kernel_means(a, b, advance) for a, b in ((x, x), (y, y), (x, y)))
    value = (xx.mean() + yy.mean() - 2 * xy.mean()).item()
    error = 2 * sqrt((xx - xy).var().item() / len(x) + (yy - yx).var().item() / len(y))
    return value, error


def _kernel_means(a: Tensor, b: Tensor, advance: Callable[[int], None]) -> tuple[Tensor, Tensor]:
    """Return the means of k(a_i, b_j) over j [N] and over i [M] in float64, without j = i if a is b."""
    over_b, over_a = [], torch.zeros(len(b), dtype=torch.float64, device=b.device)
    one = a.new_ones(())
    for rows in a.split(CHUNK):
        base = torch.addmm(one, rows, b.T, alpha=1 / a.shape[1])
        k = base.square().mul_(base)
        over_b.append(k.sum(1, dtype=torch.float64))
        over_a += k.sum(0, dtype=torch.float64)
        advance(len(rows))
    if a is not b:
        return torch.cat(over_b) / len(b), over_a / len(a)
    own = (a.square().sum(1) / a.shape[1] + 1).double() ** 3
    mean = (torch.cat(over_b) - own) / (len(b) - 1)
    return mean, mean


def shares(labels: Tensor, modes: int) -> Tensor:
    """Return the share of each of the modes among labels [N], in float64."""
    return torch.bincount(labels, minlength=modes).double() / len(labels)


def divergence(p: Tensor, q: Tensor) -> float:
    """Return KL(p || q) = sum p log p/q in nats; infinite where q lacks a mode of p."""
    there = p > 0
    return (p[there] * (p[there] / q[there]).log()).sum().item()


def mode_figures(p: Tensor, data: Tensor) -> dict[str, float]:
    """Return the modes that shares p [modes] hit, and KL(p || uniform) and KL(p || data) in nats."""
    uniform = torch.full_like(p, 1 / len(p))
    return {"modes": int((p > 0).sum()), "mode_kl": divergence(p, uniform), "mode_kl_data": divergence(p, data)}


def mode_floor(data: Tensor, n: int, draws: int = 20) -> dict[str, float]:
    """Return the mean of the figures that n draws from the data's own shares have: near (modes - 1)/(2n) nats."""
    random = generator("modes", n, len(data))
    found = [
        mode_figures(shares(torch.multinomial(data, n, replacement=True, generator=random), len(data)), data)
        for _ in range(draws)
    ]
    return {name: sum(figures[name] for figures in found) / draws for name in found[0]}
