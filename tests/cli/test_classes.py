"""Asking a conditional model for classes, and measuring it, from the command line and from Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from conftest import Answer, Cli, bars
from PIL import Image

import genctl
from genctl.checkpoint import manifest
from genctl.cli.app import main
from genctl.errors import UsageError

FORMS = {  # name of the run -> what it is trained with
    "vae": "vae --conditional --prior class --latent-dim 2 --hidden 20 --lr 0.05 --no-start-at-mean",
    "gan": "gan --conditional --arch dcgan --latent-dim 4 --channels 2",
    "flow": "realnvp --conditional --arch mlp --depth 2 --hidden 32 --lr 0.01",
    "plain": "vae --latent-dim 2 --hidden 20",
}
SHARED = "--ema 0 --epochs 3 --batch-size 20 --device cpu --threads 1 --quiet --sample-every 100"


@pytest.fixture(scope="module")
def trained(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a short run of each form."""
    root = tmp_path_factory.mktemp("classes")
    for name, words in FORMS.items():
        where = ["--dataset", str(data_folder), "--out", str(root), "--name", name]
        assert main(["train", *words.split(), *SHARED.split(), *where]) == 0
    return root


@pytest.fixture
def use(cli: Cli, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return the command line in a folder whose checkpoints/ holds the runs."""
    shutil.copytree(trained, tmp_path / "checkpoints")
    monkeypatch.setattr("genctl.evaluation.train_classifier.LEAST_STEPS", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cli


def array_of(answer: Answer) -> numpy.ndarray:
    assert answer.code == 0, answer.err
    with numpy.load(answer.out.strip()) as found:
        return found["images"]


def rename(run: str, names: list[str]) -> None:
    """Give a run's classes these names, as a data set with names would."""
    path = Path("checkpoints", run, "model.safetensors")
    model = genctl.load(path)
    about = model.manifest
    about.dataset["classes"] = names
    from genctl.checkpoint import tensors

    tensors.save(path, model.module.state_dict(), about)


@pytest.mark.parametrize("run", ["vae", "gan", "flow"])
def test_a_row_a_class_and_each_image_depends_on_its_place_and_class_alone(use: Cli, run: str) -> None:
    rows = array_of(use("sample", f"checkpoints/{run}", "--class", "1-3", "-n", 4, "--out", "rows.npz")).reshape(
        3, 4, 8, 8
    )
    one = array_of(use("sample", f"checkpoints/{run}", "--class", 2, "-n", 70, "--out", "one.npz"))[..., 0]
    assert numpy.array_equal(rows[1], one[:4]) and not numpy.array_equal(rows[0], rows[1])
    model = genctl.load(Path("checkpoints", run))
    assert numpy.array_equal(model.sample(4, y=["2", 1, 2, "3"]), [rows[1, 0], rows[0, 1], rows[1, 2], rows[2, 3]])
    assert array_of(use("sample", f"checkpoints/{run}", "--class", "0-1", "--out", "two.npz")).shape[0] == 20
    assert array_of(use("sample", f"checkpoints/{run}", "--class", "0", "--out", "x.npz")).shape[0] == 25


def test_names_are_taken_and_told(use: Cli) -> None:
    rename("vae", ["cat", "dog", "t-shirt", "0-9"])
    by_name = array_of(use("sample", "checkpoints/vae", "--class", "dog-0-9", "-n", 2, "--out", "a.npz"))
    assert len(by_name) == 6
    exact = array_of(use("sample", "checkpoints/vae", "--class", "0-9", "-n", 2, "--out", "b.npz"))
    assert numpy.array_equal(exact, by_name[4:])
    answer = use("sample", "checkpoints/vae", "--class", "cow")
    assert answer.code == 2 and "has no class cow; its classes are cat, dog, t-shirt, 0-9." in answer.err
    model = genctl.load(Path("checkpoints/vae"))
    assert model.class_names == ("cat", "dog", "t-shirt", "0-9")
    assert numpy.array_equal(model.sample(2, y="0-9"), exact[..., 0])
    assert use("interpolate", "checkpoints/vae", "--from-class", "cat", "--to-class", "t-shirt").code == 0
    assert use("manifold", "checkpoints/vae", "--class", "dog", "--steps", 2).code == 0


TABLE = [
    ("sample plain --class 3", 2, "knows no classes; leave out --class, or train: genctl train vae --conditional"),
    ("sample vae checkpoints/vae --class 4", 2, "has no class 4; its classes are 0 to 3."),
    ("manifold flow --class 0-1", 2, "manifold shows one class; --class 0-1 names 2."),
    ("manifold plain --class 0", 2, "knows no classes"),
    ("manifold flow --class 1 --steps 2", 0, ""),
    ("interpolate flow --from-class 7", 2, "has no class 7; its classes are 0 to 3."),
    ("interpolate gan checkpoints/gan --to-class 1 --rows 2", 0, ""),
    ("interpolate vae checkpoints/vae --between-test-images", 0, ""),
    ("reconstruct flow", 0, ""),
    ("reconstruct flow --class 1", 0, ""),
    ("reconstruct flow --images a.png", 2, "is conditional, and files have no class; reconstruct takes --class."),
    ("reconstruct flow --images a.png --class 0-1", 2, "reconstruct shows one class; --class 0-1 names 2."),
    ("reconstruct plain --images a.png --class 0", 2, "knows no classes"),
    ("eval-bpd plain --marginal", 2, "vae is not conditional: its likelihood is log p(x); leave out --marginal."),
    ("train vae --prior class", 2, "--prior class belongs to --conditional; give that too."),
]


@pytest.mark.parametrize(("words", "code", "text"), TABLE, ids=[words for words, _, _ in TABLE])
def test_what_is_asked_of_classes(use: Cli, words: str, code: int, text: str) -> None:
    answer = use(*words.split())
    assert answer.code == code and text in answer.err, answer.err


def test_a_path_between_classes_needs_no_data_and_moves_the_class(use: Cli, data_folder: Path) -> None:
    about = json.loads(Path("checkpoints/vae/config.json").read_text())
    about["train"]["dataset"] = "gone"
    Path("checkpoints/vae/config.json").write_text(json.dumps(about))
    words = ("interpolate", "checkpoints/vae", "--from-class", 0, "--to-class", 2, "--steps", 3, "--out", "x.npz")
    path = array_of(use(*words))
    model = genctl.load(Path("checkpoints/vae"))
    z = torch.empty(2, 2)
    from genctl.generation import sampling

    z = sampling.latents(model.module, 0, 2)
    ends = model.decode(z, ["0", "2"])
    assert numpy.array_equal(path[[0, -1], ..., 0], (ends[:, 0] * 255 + 0.5).to(torch.uint8).numpy())
    middle = sampling.decode(model.module, (z[:1] + z[1:]) / 2, torch.tensor([[0.5, 0.0, 0.5, 0.0]]))
    assert abs(path[2, ..., 0] / 255 - middle[0, 0].numpy()).max() < 0.01


@pytest.mark.parametrize("run", ["vae", "gan"])
def test_pictures_are_reconstructed_as_the_class_that_is_named(use: Cli, run: str) -> None:
    Image.fromarray(bars(4)[0][1].to(torch.uint8).numpy()).save("a.png")
    words = ("reconstruct", run, f"checkpoints/{run}", "--images", "a.png")
    one, other = (array_of(use(*words, "--class", c, "--out", f"{c}.npz"))[..., 0] for c in (1, 3))
    assert numpy.array_equal(one[0], other[0]) and not numpy.array_equal(one[1], other[1])


def test_the_likelihood_says_what_it_is_given_and_the_marginal_joins_the_others(use: Cli) -> None:
    given, summed, plain = (
        use("eval-bpd", f"checkpoints/{run}", *more) for run, *more in (("vae",), ("vae", "--marginal"), ("plain",))
    )
    assert "given      the class of each image: log p(x|y)" in given.out and "summed over" not in given.out
    assert "classes    summed over, by their share" in summed.out and "given" not in summed.out
    assert "given" not in plain.out and "classes" not in plain.out
    model = genctl.load(Path("checkpoints/vae"))
    record, marginal = model.likelihood(), model.likelihood(marginal=True)
    assert (
        record.column == "nats (binarized dynamic, given the class)" and marginal.column == "nats (binarized dynamic)"
    )
    test = model.dataset().test
    assert model.log_likelihood(test, marginal=True).mean().item() == pytest.approx(-marginal.nats)
    assert "given the class" in use("runs").out.split("checkpoints/vae")[1].splitlines()[0]


def test_evaluate_and_compare_name_the_classes_accuracy(use: Cli) -> None:
    answer = use("evaluate", "checkpoints/gan", "--samples", 40, "--json")
    record = json.loads(answer.out)
    low, high = record["interval"]["class_accuracy"]
    assert 0 <= low < record["class_accuracy"] < high <= 1 and record["floor"]["class_accuracy"] > 0.2
    assert record["frechet_in_class"] > record["floor"]["frechet_in_class"] >= 0
    assert "by class" in use("evaluate", "checkpoints/gan", "--samples", 40).out
    plain = json.loads(use("evaluate", "checkpoints/plain", "--samples", 40, "--json").out)
    assert "class_accuracy" not in plain and "class_accuracy" not in plain["floor"]
    table = use("compare", "checkpoints/plain", "checkpoints/vae", "--samples", 40).out.splitlines()
    head, first, second, floor = (line.split("  ") for line in table[:4])
    assert "class_accuracy" in table[0] and "nats (binarized dynamic, given the class)" in table[0]
    assert head and first and second and floor
    assert any(line.startswith("  by class") for line in table)


def test_the_manifest_names_the_classes_and_their_images(use: Cli) -> None:
    about = manifest.read(Path("checkpoints/flow/model.safetensors"))
    assert about.dataset["classes"] == ["0", "1", "2", "3"] and about.config["classes"] == 4
    assert sum(about.config["class_counts"]) == 100
    assert "classes" not in manifest.read(Path("checkpoints/plain/model.safetensors")).dataset


CALLS: list[tuple[Callable[..., object], str]] = [
    (lambda model: model.sample(2, y="x"), "has no class x; its classes are 0 to 3"),
    (lambda model: model.sample(2, y=[0, 4]), "y is a class of 0 to 3 for each of the 2 images"),
    (lambda model: model.sample(2, y=[0]), "y is a class of 0 to 3 for each of the 2 images"),
    (lambda model: model.decode(torch.zeros(1, 2)), "is conditional; give y"),
    (lambda model: model.encode(model.sample(1)), "is conditional; give y"),
    (lambda model: model.log_likelihood(model.sample(1)), "is conditional; give y"),
]


@pytest.mark.parametrize(("call", "words"), CALLS)
def test_what_python_is_told(use: Cli, call: Callable[..., object], words: str) -> None:
    model = genctl.load(Path("checkpoints/vae"))
    with pytest.raises(UsageError, match=words):
        call(model)
    assert model.log_likelihood(model.sample(2, y=1)[..., :], marginal=True).shape == (2,)


def test_a_resumed_conditional_run_is_the_whole_one(use: Cli, data_folder: Path) -> None:
    words = (*FORMS["gan"].split(), *SHARED.split(), "--dataset", data_folder)
    assert use("train", *words, "--name", "cut", "--max-minutes", 0).code == 0
    assert use("train", "gan", "--resume", "cut", "--quiet").code == 0
    files = [Path("checkpoints", name, "model.safetensors").read_bytes() for name in ("gan", "cut")]
    assert files[0] == files[1]
