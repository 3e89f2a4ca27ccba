"""The example is installed into an environment of its own, goes through every verb, and its likelihood is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

import genctl
from genctl.models.base import build

ROOT = Path(genctl.__file__).parents[1]
EXAMPLE = ROOT / "examples" / "pixelcnn"
SMALL = ["--width", "8", "--heads", "2", "--layers", "1", "--reach", "2"]

VERBS = """
import contextlib, io, json, sys
from genctl.cli.app import main
found = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    found.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a new environment that has the example, and all else from this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    )
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(where.stdout.strip()) / "shared.pth").write_text(line)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *offline, EXAMPLE], check=True)
    return python


def run(python: Path, folder: Path, *commands: list[str]) -> list[tuple[int, str, str]]:
    """Run genctl's commands one after the other in a folder; return exit code, stdout and stderr of each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    words = [python, "-c", VERBS, json.dumps(commands)]
    answer = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return [tuple(found) for found in json.loads(answer.stdout)]


def test_it_goes_through_every_verb(python: Path, data_folder: Path, tmp_path: Path) -> None:
    train = ["train", "pixelcnn", *SMALL, "--conditional", "--dataset", str(data_folder), "--batch-size", "20"]
    train += ["--epochs", "2", "--threads", "1", "--quiet"]
    answers = run(
        python,
        tmp_path,
        ["models"],
        [*train, "--name", "whole"],
        [*train, "--name", "cut", "--max-minutes", "0"],
        ["train", "pixelcnn", "--resume", "cut", "--quiet"],
        ["sample", "pixelcnn", "whole", "-n", "5", "--sharpness", "2", "--out", "x.npz"],
        ["eval-bpd", "pixelcnn", "whole", "--json"],
        ["eval-bpd", "pixelcnn", "whole"],
        ["evaluate", "pixelcnn", "whole", "--samples", "20", "--json"],
        ["compare", "checkpoints/whole", "checkpoints/cut", "--samples", "20"],
    )
    assert [code for code, _, _ in answers] == [0] * len(answers), answers
    assert "pixelcnn" in answers[0][1]
    files = [(tmp_path / "checkpoints" / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
    record = json.loads(answers[5][1])
    assert (record["bound"], record["K"], record["unit"]) == ("exact -log p", 1, "bits/dim")
    assert "exact (exact; lower is better)" in answers[6][1]
    assert json.loads(answers[7][1])["model"] == "pixelcnn"
    assert "exact     -log p of pixelcnn, pixelcnn" in answers[8][1]


def test_what_it_cannot_do_is_a_sentence(python: Path, tmp_path: Path) -> None:
    for code, out, err in run(
        python, tmp_path, ["interpolate", "pixelcnn"], ["manifold", "pixelcnn"], ["sample", "pixelcnn", "--means"]
    ):
        assert (code, out, err.count("\n")) == (2, "", 1)


def test_it_keeps_the_laws(python: Path, tmp_path: Path) -> None:
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "genctl.testing", "--model", "pixelcnn"]
    answer = subprocess.run([python, *words], cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout
    assert "passed" in answer.stdout and "skipped" not in answer.stdout


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch):
    """Return a builder of small models of random weights, by shape and number of classes."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    from pixelcnn.config import PixelCNNConfig

    def make(shape: tuple[int, int, int], classes: int = 0):
        config = PixelCNNConfig(width=8, heads=2, layers=2, reach=2, conditional=classes > 0, classes=classes)
        torch.manual_seed(0)
        model = build(config, shape).eval()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.3 * torch.randn(p.shape))
        return model

    return make


@torch.no_grad()
@pytest.mark.parametrize("y", [None, 1])
def test_its_probabilities_sum_to_one(tiny, y) -> None:
    model = tiny((1, 1, 2), classes=2 if y is not None else 0)
    every = torch.cartesian_prod(torch.arange(256), torch.arange(256)).to(torch.uint8).reshape(-1, 1, 1, 2)
    total = 0.0
    for x in every.split(8192):
        labels = None if y is None else torch.full((len(x),), y)
        total += model.log_prob(x, labels).double().exp().sum().item()
    assert total == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_a_pixel_depends_on_those_before_it_alone(tiny) -> None:
    model, x = tiny((2, 4, 5)), torch.randint(0, 256, (1, 2, 4, 5), dtype=torch.uint8)
    logits = model.body(model.inputs(x, None))[0]
    for t in (0, 7, 20, 39):
        other = x.clone()
        row, column, channel = t // 10, t // 2 % 5, t % 2
        other[0, channel, row, column] ^= 255
        changed = (model.body(model.inputs(other, None))[0] != logits).any(1)
        assert not changed[: t + 1].any() and (t == 39 or changed[t + 1])


@torch.no_grad()
def test_drawing_step_by_step_is_drawing_from_the_whole(tiny) -> None:
    model, u = tiny((2, 3, 4), classes=3), torch.rand(6, 2, 3, 4)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    x = (model.draw([u], y) * 255).round().to(torch.uint8)
    cdf = model.body(model.inputs(x, y)).softmax(-1).cumsum(-1)
    order = u.permute(0, 2, 3, 1).flatten(1)[..., None]
    expected = torch.searchsorted(cdf.contiguous(), order.contiguous())[..., 0].clamp_max(255)
    assert (expected == x.permute(0, 2, 3, 1).flatten(1)).float().mean() > 0.99  # rounding may move a pixel's edge
    assert not torch.equal(x, (model.draw([u], y.flip(0)) * 255).round().to(torch.uint8))
