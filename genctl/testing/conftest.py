"""One case for each small form of the models that --model names, or of all."""

from __future__ import annotations

import pytest
import torch

from genctl.models import registry

from .cases import cases_of

torch.set_num_threads(1)  # the small forms are too small for more


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each law for every case."""
    if "case" in metafunc.fixturenames:
        names = metafunc.config.getoption("--model", default=None) or registry.names()
        found = [case for name in names for case in cases_of(name)]
        metafunc.parametrize("case", found, ids=str, scope="module")
