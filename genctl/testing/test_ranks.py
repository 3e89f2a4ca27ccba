"""Two and three processes train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import genctl

from ..models import registry

EXACT = 1e-9  # in float64, of a value of the state, relative to its size where that is above 1
# In float32 the order of a sum shows: Adam divides by the size of a gradient, and where that is near zero a last bit
# decides the direction of a step. This is of all weights together, |w - w'| / |w|, as two threads differ from one.
CLOSE = 1e-4


def test_several_processes_train_as_one(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    names = request.config.getoption("--model", default=None) or registry.names()
    place = {**os.environ, "PYTHONPATH": str(Path(genctl.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "genctl.testing.in_ranks", str(tmp_path), *names]
    answer = subprocess.run(words, env=place, stderr=subprocess.PIPE, text=True)
    assert answer.returncode == 0, answer.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert max(found.values()) > 0  # they were several
    assert {what: far for what, far in found.items() if far > (CLOSE if "float32" in what else EXACT)} == {}
