"""The doctor says what is there, and what is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from conftest import Cli

import genctl


def test_it_says_what_is_there(cli: Cli) -> None:
    answer = cli("doctor", "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["genctl"]) == (0, genctl.__version__)
    assert found["threads"] == torch.get_num_threads() and found["devices"][0] == "cpu"
    assert found["packages"]["torch"] == torch.__version__.split("+")[0] or "+" in found["packages"]["torch"]
    assert set(found["extras"]) == {"onnx", "hub"} and {"vae", "gan", "realnvp"} <= set(found["models"])
    lines = cli("doctor").out.splitlines()
    assert [line.split()[0] for line in lines] == list(found)


def test_a_broken_torch_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: cannot open shared object file')\n")
    path = os.pathsep.join([str(tmp_path), str(Path(genctl.__file__).parents[1])])
    words = [sys.executable, "-m", "genctl", "doctor"]
    answer = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "torch cannot be imported: OSError: libtorch.so: cannot open shared object file; install it" in answer.stdout
