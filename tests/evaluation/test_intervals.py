"""Intervals stay where their figure lies, and hold the truth about as often as they say."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from genctl.evaluation.frechet_kernel import divergence, shares
from genctl.evaluation.intervals import ABOVE_ZERO, SHARES, Z, interval, on_square_roots, wilson
from genctl.runs.records import FIGURES
from genctl.seeds import generator


@pytest.mark.parametrize("n", [4, 40, 10_000])
@pytest.mark.parametrize("part", [0.0, 0.25, 0.9, 1.0])
def test_wilsons_ends_are_the_shares_from_which_the_one_seen_is_z_deviations_away(part: float, n: int) -> None:
    share = round(part * n) / n
    low, high = wilson(share, n)
    assert 0 <= low <= share <= high <= 1 and low < high
    for end in (low, high):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(Z * sqrt(end * (1 - end) / n))


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "modes"])
@pytest.mark.parametrize("value", [0.0, 1e-9, 0.03, 0.97, 1.0])
def test_no_interval_leaves_where_its_figure_lies(name: str, value: float) -> None:
    low, high = interval(name, value, 0.05, 40)
    assert low <= value <= high
    if name in SHARES | ABOVE_ZERO:
        assert low >= 0
    if name in SHARES:
        assert high <= 1


def test_far_from_zero_it_is_the_usual_interval() -> None:
    assert on_square_roots(40.0, 0.5) == pytest.approx([40 - Z * 0.5, 40 + Z * 0.5], abs=0.01)
    assert wilson(0.8, 10) == pytest.approx([0.4902, 0.9433], abs=1e-4)  # as tables have it
    assert wilson(0.5, 10_000) == pytest.approx([0.5 - Z * 0.005, 0.5 + Z * 0.005], abs=1e-4)


@pytest.mark.parametrize(("p", "n"), [([0.5, 0.3, 0.2], 400), ([0.36, 0.33, 0.31], 2000)])
def test_the_interval_of_a_divergence_holds_the_truth_nineteen_times_in_twenty(p: list[float], n: int) -> None:
    true, random = torch.tensor(p, dtype=torch.float64), generator("intervals")
    uniform = torch.full_like(true, 1 / 3)
    held = 0
    for _ in range(400):
        labels = torch.multinomial(true, n, replacement=True, generator=random)
        seen = shares(labels, 3)
        terms = (seen * 3).log()[labels]
        low, high = interval("mode_kl", divergence(seen, uniform), terms.std().item() / sqrt(n), n)
        held += low <= divergence(true, uniform) <= high
    assert 0.9 <= held / 400 <= 0.99
