"""The laws of genctl.testing reach every form of every built-in model; the suite collects them too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from genctl.config import options_of
from genctl.models import registry
from genctl.models.base import Batch, Loss
from genctl.testing.cases import cases_of, run, start


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_every_form_has_a_small_one(name: str) -> None:
    archs = set(get_args(options_of(registry.load(name))["arch"][0]))
    forms = [(dict(case.options)["arch"], dict(case.options).get("conditional", False)) for case in cases_of(name)]
    assert {arch for arch, conditional in forms if not conditional} == archs
    assert any(conditional for _, conditional in forms)


def test_a_term_that_is_not_finite_is_noted_too() -> None:
    training = start(cases_of("vae")[0])
    losses = training.model.losses

    def nan_at_step_3(batch: Batch) -> Iterator[Loss]:
        for loss in losses(batch):
            told = {name: value * float("nan") for name, value in loss.terms.items()}
            yield loss._replace(terms=told) if batch.step == 2 else loss

    training.model.losses = nan_at_step_3  # type: ignore[method-assign]
    run(training, 5)
    assert training.diverged.tolist() == [3]
