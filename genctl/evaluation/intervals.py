"""95 % intervals that keep to where their figure lies: a share in [0, 1], a distance or a divergence above 0."""

from __future__ import annotations

from math import sqrt

Z = 1.96  # standard deviations
SHARES = {"precision", "recall", "coverage", "memorized", "class_accuracy"}  # means of terms that are 0 or 1
ABOVE_ZERO = {"density", "mode_kl", "mode_kl_data", "frechet_distance"}


def interval(name: str, value: float, error: float, terms: int) -> list[float]:
    """Return the interval of a figure, by its standard error and the number of terms whose mean it is.

    The kernel distance's is symmetric: its unbiased estimate may itself lie below 0.
    """
    if name in SHARES:
        return wilson(value, terms)
    return on_square_roots(value, error) if name in ABOVE_ZERO else [value - Z * error, value + Z * error]


def wilson(share: float, n: int) -> list[float]:
    """Return the interval of a share of n (Wilson 1927): the shares from which the one seen is Z deviations away."""
    tight = Z * Z / n
    middle = (share + tight / 2) / (1 + tight)
    half = Z * sqrt(share * (1 - share) / n + tight / (4 * n)) / (1 + tight)
    return [max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))]


def on_square_roots(value: float, error: float) -> list[float]:
    """Return the squares of the interval of the square root, whose error is error / (2 sqrt value).

    On this scale the error of a count, of a squared distance and of a divergence hardly depends on the value: of
    KL(p || q) that is small it is sqrt(2 KL / n).
    """
    if value <= 0:
        return [0.0, Z * error]
    root, half = sqrt(value), Z * error / (2 * sqrt(value))
    return [min(value, max(0.0, root - half) ** 2), max(value, (root + half) ** 2)]
