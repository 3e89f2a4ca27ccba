"""Bounds on the likelihood: each is a log-mean-exp over K draws of one method, Scores.log_weights.

    -log p(x) <= -E[log 1/K sum_k w_k]    (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519)

K = 1 is the ELBO of a VAE and the dequantization bound of a flow.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import log, nan, prod, sqrt

import torch
from torch import Tensor

from ..config import Estimator, SamplingOptions
from ..cores import Cores
from ..data.pieces import Pieces
from ..generation.sampling import class_counts
from ..models.base import Inverts, Scores
from ..ranks.group import ALONE, Ranks
from ..seeds import generator
from ..terminal.reporter import Advance
from ..types import Shape

BLOCK = 100  # images evaluated together; on a CPU their noise depends on the seed and the block alone
GPU_BLOCKS = 10  # of these together on a GPU, which would wait for launches
SHARED = 50_000  # images that the same draws are taken to together
MOST_AT_ONCE = 4_000_000  # pixels decoded together: K is cut into pieces of at most this size
ALIGN = 16  # a CPU draws normal numbers in groups of this size: such pieces have the noise of the whole


@dataclass(frozen=True)
class Bound:
    """Upper bounds on -log p(x) for each image, in nats, and their standard errors over the K draws: nan of one."""

    tight: Tensor  # [N]: -log 1/K sum w
    mean: Tensor  # [N]: -1/K sum log w, the same draws without the tightening
    tight_error: Tensor  # [N]: to first order, that of 1/K sum w relative to its value
    mean_error: Tensor  # [N]

    def put(self, start: int, block: Bound) -> None:
        """Write the bounds of a block of images in their place."""
        for values in fields(self):
            found: Tensor = getattr(block, values.name)
            getattr(self, values.name)[start : start + len(found)] = found


def bits_per_dim(nats: float, shape: Shape) -> float:
    """Return nats / (D ln 2): the one place where the unit changes."""
    return nats / (prod(shape) * log(2))


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Return the mean and its standard error over images; the error of one image is unknown: nan."""
    n = len(values)
    error = values.std(correction=1).item() / sqrt(n) if n > 1 else float("nan")
    return values.mean().item(), error


def together(device: torch.device) -> int:
    """Return how many images are evaluated together, and share a generator."""
    return BLOCK if device.type == "cpu" else GPU_BLOCKS * BLOCK


@torch.no_grad()
def bound(
    model: Scores,
    x: Tensor | Pieces,
    K: int,
    estimator: Estimator,
    seed: int = 0,
    y: Tensor | None = None,
    advance: Advance = lambda images: None,
    options: SamplingOptions | None = None,
    ranks: Ranks = ALONE,
) -> Bound:
    """Return the bounds with K draws for uint8 images x [N, C, H, W]; advance is told of finished images.

    Draws are made for a block of images; an estimator may share them among all images. Several processes share the
    blocks out among them.
    """
    size = SHARED if estimator.shared else estimator.together or together(x.device)
    first, end = ranks.span(len(x), size)
    # Made at once: what stays among the large pieces that come and go would keep their memory from being used again.
    whole = Bound(*torch.empty(len(fields(Bound)), end - first, dtype=torch.float64))
    with Cores() as cores:
        for start in range(first, end, size):
            block, place = x[start : start + size], 0 if estimator.shared else start
            noise = generator("likelihood", seed, place, device=x.device)
            labels = None if y is None else y[start : start + size].to(x.device)
            whole.put(start - first, _bound_of_block(model, block, labels, K, estimator, noise, advance, options))
            cores.look()
    return Bound(*(ranks.gather(getattr(whole, values.name), len(x), size) for values in fields(whole)))


@torch.no_grad()
def marginal_bound(
    model: Scores,
    x: Tensor | Pieces,
    K: int,
    estimator: Estimator,
    seed: int = 0,
    advance: Advance = lambda images: None,
    options: SamplingOptions | None = None,
    ranks: Ranks = ALONE,
) -> Bound:
    """Return the bounds on -log p(x) of a conditional model, p(x) = sum_y p(y) p(x|y), with K draws for each class.

    p(y) is the class's share of the training images. The sum of estimates without bias has none, so its logarithm is a
    bound as each of them is. The classes share their noise, so their errors add: the error is at most this sum.
    """
    counts = class_counts(model.config).double()
    shares = counts / counts.sum()
    none = torch.full((len(x),), -torch.inf, dtype=torch.float64)
    tight, mean, tight_error, mean_error = none, none, none, none  # logs, of the sums themselves
    for label in shares.nonzero().flatten().tolist():
        y = torch.full((len(x),), label)
        found, log_p = bound(model, x, K, estimator, seed, y, advance, options, ranks), shares[label].log()
        tight, mean = torch.logaddexp(tight, log_p - found.tight), torch.logaddexp(mean, log_p - found.mean)
        tight_error = torch.logaddexp(tight_error, log_p - found.tight + found.tight_error.log())
        mean_error = torch.logaddexp(mean_error, log_p - found.mean + found.mean_error.log())
    return Bound(-tight, -mean, (tight_error - tight).exp(), (mean_error - mean).exp())


def _bound_of_block(
    model: Scores,
    x: Tensor,
    y: Tensor | None,
    K: int,
    estimator: Estimator,
    noise: torch.Generator,
    advance: Advance,
    options: SamplingOptions | None,
) -> Bound:
    """Return the bounds with K draws, taken piece by piece into a running log-sum-exp."""
    D = prod(x.shape[1:])
    piece = max(1, MOST_AT_ONCE // (max(D, len(x)) if estimator.shared else together(x.device) * D))
    piece = piece // ALIGN * ALIGN or piece
    log_sum = torch.full((len(x),), -torch.inf, dtype=torch.float64)
    log_squares = log_sum
    total, squares = torch.zeros_like(log_sum), torch.zeros_like(log_sum)
    how = {} if options is None else {"options": options}  # a model without such options need not know of them
    for done in range(0, K, piece):
        k = min(piece, K - done)
        log_w = model.log_weights(x, k, noise, estimator.name, y, **how).cpu().double()  # [k, N]
        log_sum = torch.logaddexp(log_sum, log_w.logsumexp(0))
        total += log_w.sum(0)
        if K > 1:
            log_squares = torch.logaddexp(log_squares, (2 * log_w).logsumexp(0))
            squares += log_w.square().sum(0)
        advance(len(x) * (done + k) // K - len(x) * done // K)
    unbiased = K / (K - 1) if K > 1 else nan
    of_w = (log_squares - 2 * log_sum).exp() - 1 / K  # variance of 1/K sum w, relative to its square, but for bias
    of_log_w = squares / K**2 - (total / K).square() / K  # variance of 1/K sum log w
    errors = ((unbiased * variance.clamp_min(0)).sqrt() for variance in (of_w, of_log_w))
    return Bound(log(K) - log_sum, -total / K, *errors)


@torch.no_grad()
def round_trip(model: Inverts, x: Tensor, y: Tensor | None = None) -> tuple[float, float]:
    """Return the largest relative error of inverse(forward(x)), and of the two log-determinants' sum over D.

    x [N, C, H, W] holds dequantized pixels in (0, 256); the maxima are over images.
    """
    given = () if y is None else (y,)
    z, log_det = model.forward(x, *given)
    back, log_det_back = model.inverse(z, *given)
    relative = (back - x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    return relative.max().item(), ((log_det + log_det_back).abs().max() / x[0].numel()).item()
