"""The wheel holds what it needs: installed elsewhere, it draws with the weights that ship, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import genctl

ROOT = Path(genctl.__file__).parents[1]
WHERE = "import genctl, sys; print(genctl.__file__)"


def test_the_wheel_runs_in_an_empty_folder(tmp_path: Path) -> None:
    """By hatchling, which `python -m build` asks too; pip puts it into a folder of its own, without dependencies."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name == f"genctl-{genctl.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 60e6
    offline = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", tmp_path / "site", wheel], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*words: str) -> str:
        path = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
        answer = subprocess.run([sys.executable, *words], cwd=empty, env=path, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    assert run("-c", WHERE) == str(tmp_path / "site" / "genctl" / "__init__.py")
    assert run("-m", "genctl", "sample", "gan") == "sample-gan.png"
    assert [path.name for path in empty.iterdir()] == ["sample-gan.png"]
