"""The Python face: what its documents show runs, it is silent, and torch is as it was."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from conftest import TINY, Cli, bars, write_idx

import genctl
from genctl.errors import CheckpointError, DataError, UsageError

ROOT = Path(genctl.__file__).parents[1]
SHIPPED = ROOT / "checkpoints"
PYTHON = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
NOTEBOOK = json.loads((ROOT / "docs" / "python.ipynb").read_text())

SILENT = """
import os, sys
import torch
torch.manual_seed(7)
torch.set_num_threads(2)
torch.backends.cudnn.benchmark = True
def settings():
    cudnn = torch.backends.cudnn
    return (torch.get_float32_matmul_precision(), cudnn.conv.fp32_precision, cudnn.benchmark, cudnn.deterministic,
            torch.get_num_threads(), torch.get_rng_state().sum().item(), torch.is_grad_enabled())
before = settings()
os.close(1)
os.close(2)
sys.stdout = sys.stderr = None
import genctl
run = genctl.train("vae", epochs=1, hidden=20, threads=1, seed=3, batch_size=20, out=sys.argv[1], dataset=sys.argv[3])
after = [settings() == before]
model = run.load()
model.sample(3)
model.reconstruct(genctl.datasets.load(sys.argv[3]).test.pixels[:3])
model.likelihood(images=20, draws=2)
after.append(settings() == before)
genctl.evaluate(model, samples=20)
after.append(settings() == before)
open(sys.argv[2], "w").write(repr(after))
"""


def run_code(cells: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run pieces of Python one after the other in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    words = [sys.executable, "-W", "error::DeprecationWarning:genctl", "-c", "\n".join(cells)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def with_weights(folder: Path) -> Path:
    """Return the folder with checkpoints/vae.safetensors in it, as in a checkout."""
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "vae.safetensors").symlink_to(SHIPPED / "vae.safetensors")
    return folder


def test_what_the_document_shows_runs(tmp_path: Path) -> None:
    answer = run_code(PYTHON, with_weights(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert "nats, iwae, K = 5, binarized dynamic" in answer.stdout and answer.stderr == ""


def test_the_notebook_runs(tmp_path: Path) -> None:
    cells = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    answer = run_code(cells, tmp_path)
    assert (answer.returncode, answer.stdout) == (0, ""), answer.stderr


def test_the_core_is_silent_and_gives_torch_back_as_it_was(tmp_path: Path, data_folder: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", SILENT, tmp_path / "runs", tmp_path / "found", data_folder],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0 and (answer.stdout, answer.stderr) == ("", "")
    assert (tmp_path / "found").read_text() == "[True, True, True]"


def test_importing_genctl_imports_no_torch() -> None:
    probe = "import sys, genctl; assert 'torch' not in sys.modules; genctl.datasets; assert 'torch' in sys.modules"
    assert subprocess.run([sys.executable, "-c", probe], env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        genctl.lod  # noqa: B018
    assert all(hasattr(genctl, name) for name in genctl.__all__)


def test_the_face_and_the_command_line_are_the_same(cli: Cli) -> None:
    model = genctl.load(SHIPPED / "vae.safetensors")
    answer = cli("sample", SHIPPED / "vae.safetensors", "-n", 5, "--seed", 4, "--means", "--out", "x.npz")
    assert answer.code == 0
    assert numpy.array_equal(numpy.load("x.npz")["images"][..., 0], model.sample(5, seed=4, means=True))
    answer = cli("eval-bpd", SHIPPED / "vae.safetensors", "--images", 30, "-k", 3, "--json")
    test = model.dataset().test.choose(30)
    values = model.log_likelihood(test, draws=3)
    assert json.loads(answer.out)["nats"] == pytest.approx(-values.mean().item(), rel=1e-12)
    assert model.likelihood(images=30, draws=3).to_dict()["nats"] == json.loads(answer.out)["nats"]


def test_arrays_and_tensors_are_the_same_images() -> None:
    model = genctl.load(SHIPPED / "vae.safetensors")
    array = model.sample(4, seed=1)
    tensor = torch.from_numpy(array)[:, None]
    assert array.shape == (4, 28, 28)
    assert torch.equal(model.encode(array), model.encode(tensor))
    assert torch.equal(model.log_likelihood(array), model.log_likelihood(tensor))
    back, every_other = array[::-1], tensor[::2]
    array.flags.writeable = False
    assert torch.equal(model.encode(back).flip(0), model.encode(array))
    assert torch.equal(model.encode(every_other), model.encode(tensor)[::2])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda vae, gan: gan.encode(vae.sample(1)), UsageError, "gan cannot encode"),
        (lambda vae, gan: gan.log_likelihood(vae.sample(1)), UsageError, "gan has no likelihood"),
        (
            lambda vae, gan: gan.sample(1, means=True),
            UsageError,
            "gan has no sampling option means; it has temperature",
        ),
        (lambda vae, gan: vae.sample(1, temperature=-1.0), UsageError, "--temperature must be at least 0"),
        (lambda vae, gan: vae.encode(numpy.zeros((2, 9, 9), numpy.uint8)), DataError, "are no images of vae"),
        (lambda vae, gan: vae.encode(numpy.zeros((2, 28, 28))), DataError, "are no images of vae"),
        (lambda vae, gan: vae.log_likelihood(vae.sample(1), estimator="x"), UsageError, "no estimator x"),
        (lambda vae, gan: genctl.load("gone.safetensors"), CheckpointError, "there is no checkpoint or run"),
        (lambda vae, gan: genctl.load("vea"), UsageError, "Did you mean vae?"),
        (lambda vae, gan: genctl.train("vae", epochs=0), UsageError, "--epochs must be at least 1"),
        (lambda vae, gan: genctl.train("vae", arch="conv", hidden=7), UsageError, "--hidden belongs to --arch mlp"),
        (lambda vae, gan: genctl.compare(["vae", "gan"], contrast=1), UsageError, "none of these models"),
        (lambda vae, gan: genctl.train("vae", epochs=1.5), UsageError, "--epochs must be a whole number, not 1.5"),
        (lambda vae, gan: genctl.train("vae", lr="fast"), UsageError, "--lr must be a number, not 'fast'"),
        (lambda vae, gan: genctl.train("vae", start_at_mean="no"), UsageError, "must be true or false"),
        (lambda vae, gan: genctl.train("vae", epochs=True), UsageError, "--epochs must be a whole number, not True"),
        (lambda vae, gan: genctl.train("vae", seed=2**63), UsageError, f"at most {2**63 - 1}"),
        (lambda vae, gan: genctl.train("vae", nonsense=1), UsageError, "vae has no training option nonsense"),
        (lambda vae, gan: genctl.train("vae", nonsense=1, resume="x"), UsageError, "no training option nonsense"),
        (lambda vae, gan: genctl.train("vae", classes=3), UsageError, "no training option classes"),
        (lambda vae, gan: vae.sample(2, y=[1, 2]), UsageError, "is not conditional; leave out y"),
        (lambda vae, gan: vae.sample(0), UsageError, "number of images must be at least 1"),
        (lambda vae, gan: vae.log_likelihood(vae.sample(1), draws=0), UsageError, "number of draws must be at least 1"),
        (lambda vae, gan: vae.likelihood("tset"), UsageError, "there is no split tset"),
        (lambda vae, gan: vae.interpolate_sheet(path="curve"), UsageError, "there is no path curve"),
        (lambda vae, gan: vae.decode(torch.zeros(2, 3)), UsageError, "latents of vae are"),
        (lambda vae, gan: genctl.evaluate("x.npz", temperature=2.0), UsageError, "x.npz holds images"),
    ],
)
def test_what_goes_wrong_is_an_exception_with_the_sentence(call, error, words) -> None:
    vae, gan = genctl.load(SHIPPED / "vae.safetensors"), genctl.load(SHIPPED / "gan.safetensors")
    with pytest.raises(error, match=words):
        call(vae, gan)


def test_paths_and_numbers_are_taken_where_text_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path("mnist") is a folder here, and never the data set of that name; 6 is "6", and (6, 6) is "6x6"."""
    monkeypatch.chdir(tmp_path)
    images, _ = bars(150)
    Path("mnist").mkdir()
    for prefix in ("train", "t10k"):
        write_idx(Path("mnist", f"{prefix}-images-idx3-ubyte"), images)
    chosen = {"arch": "mlp", **TINY["vae", "mlp"], "epochs": 1, "out": Path("runs"), "device": "cpu"}
    run = genctl.train("vae", dataset=Path("mnist"), image_size=6, **chosen)
    model = run.load()
    assert run.folder == Path("runs/vae-001") and model.manifest.shape == (1, 6, 6)
    assert run.config.train["dataset"] == f".{os.sep}mnist" and run.config.train["image_size"] == "6"
    again = genctl.train("vae", resume=run.folder, out=Path("runs"), dataset=Path("mnist"), image_size=6, epochs=2)
    assert again.metrics[-1]["epoch"] == 2
    other = genctl.train("vae", init=run.folder, dataset=tmp_path / "mnist", image_size=(4, 6), **chosen)
    assert other.load().manifest.shape == (1, 4, 6)
    assert model.dataset(Path("mnist")).digest == model.manifest.dataset["digest"]
    numpy.savez("x.npz", images=model.dataset().test.pixels[:20, 0].numpy())
    reading = {"dataset": Path("mnist"), "image_size": 6, "features": "random"}
    record = genctl.evaluate(Path("x.npz"), **reading)
    assert record.dataset_digest == model.manifest.dataset["digest"]
    assert record.figures == genctl.evaluate("x.npz", data_of=run.folder, features="random").figures
    with pytest.raises(DataError, match="there is no data set or folder"):
        genctl.datasets.load(Path("kmnist"))
    for wrong in ({"image_size": True}, {"image_size": (6, "x")}, {"dataset": b"mnist"}):
        with pytest.raises(UsageError):
            genctl.train("vae", **{**chosen, **wrong})
