"""Every form, trained as it is typed: its defaults begin well, at their full size."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY

from genctl import data
from genctl.models import registry
from genctl.models.base import build
from genctl.training.loop import Training, fit

STEPS, EPOCHS = 8, 1000


@pytest.mark.parametrize(("name", "arch"), list(TINY))
def test_the_defaults_of_a_form_begin_well(name: str, arch: str) -> None:
    """A deep form may leave all bounds within ten steps of Adam, at a rate that suits another."""
    kind, mnist = registry.load(name), data.load("mnist", 64).train
    torch.manual_seed(0)
    training = Training(build(kind.of(arch=arch), mnist.shape), kind.train_config(batch_size=8))
    steps = fit(training, mnist.pixels, mnist.labels, STEPS, EPOCHS * STEPS)
    assert len(list(steps)) == STEPS
    assert all(parameter.isfinite().all() for parameter in training.model.parameters())
