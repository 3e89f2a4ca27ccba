"""Data that leave: latents, the likelihood of each image, reconstructions of a split's classes."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import numpy
import pytest
import torch
from conftest import Answer, Cli

from genctl import api, data
from genctl.checkpoint import atomic
from genctl.evaluation import bounds

CODERS = ["vae", "ladder", "flow", "classes"]


@pytest.fixture
def use(cli: Cli, data_folder: Path, small_weights: Path) -> Cli:
    """Return the command line, with the small checkpoints by their names and their data."""

    def run(verb: str, name: str, *words: object) -> Answer:
        data_set = ["--dataset", data_folder] if name in CODERS else []
        return cli(verb, small_weights / f"{name}.safetensors" if name in CODERS else name, *words, *data_set)

    return run


def arrays(answer: Answer) -> dict[str, torch.Tensor]:
    """Return the arrays of the .npz whose path a command printed."""
    assert answer.code == 0, answer.err
    with numpy.load(answer.out.strip()) as found:
        return {name: torch.from_numpy(found[name]) for name in found if found[name].dtype.kind != "U"}


@pytest.mark.parametrize("form", CODERS)
def test_encode_writes_what_python_encodes(use: Cli, data_folder: Path, small_weights: Path, form: str) -> None:
    found = arrays(use("encode", form, "--out", "z.npz"))
    model, test = api.load(small_weights / f"{form}.safetensors"), data.load(str(data_folder)).test
    assert set(found) == {"latents", "labels", "indices"} | ({"mu", "logvar"} if form in ("vae", "ladder") else set())
    assert torch.equal(found["labels"], test.labels) and found["indices"].tolist() == list(range(40))
    y = test.labels if form == "classes" else None
    x = model.module.observe(test)
    assert torch.allclose(found["latents"], model.encode(x, y), atol=1e-6)
    if "mu" in found:
        assert torch.equal(found["mu"], found["latents"])
        assert torch.equal(found["logvar"], model.module.posterior(x)["logvar"])


def test_encode_takes_a_split_a_class_and_a_choice(use: Cli, data_folder: Path) -> None:
    everything = data.load(str(data_folder)).validation
    found = arrays(use("encode", "vae", "--split", "validation", "--class", "1-2", "--out", "z.npz"))
    chosen = (everything.labels == 1) | (everything.labels == 2)
    assert torch.equal(found["indices"], everything.places[chosen]) and set(found["labels"].tolist()) == {1, 2}
    few = arrays(use("encode", "vae", "--class", "3", "--images", 4, "--out", "z.npz"))
    assert few["labels"].tolist() == [3] * 4


def test_pieces_make_no_difference(use: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = arrays(use("encode", "vae", "--out", "z.npz"))
    monkeypatch.setattr("genctl.generation.latents.AT_ONCE", 7)
    pieces = arrays(use("encode", "vae", "--out", "z.npz"))
    assert all(torch.equal(whole[name], pieces[name]) for name in whole)


@pytest.mark.parametrize("words", ["encode vae --out x.npz", "eval-bpd vae --per-image x.csv"])
def test_a_file_is_written_whole_or_not_at_all(use: Cli, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    assert use(*words.split()).code == 0
    path = Path(words.split()[-1])
    before, sync = path.read_bytes(), atomic.os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic.os, "fsync", full)
    answer = use(*words.split(), "--images", 3)
    monkeypatch.setattr(atomic.os, "fsync", sync)
    assert answer.code == 3 and f"{path} cannot be written: Input/output error; choose another --" in answer.err
    assert path.read_bytes() == before and not list(Path().glob(".*.tmp"))


@pytest.mark.parametrize(("form", "K"), [("vae", 1), ("vae", 5), ("flow", 3), ("classes", 3)])
def test_per_image_has_the_values_that_the_mean_is_of(use: Cli, data_folder: Path, form: str, K: int) -> None:
    answer = use("eval-bpd", form, "-k", K, "--per-image", "x.csv", "--json")
    assert answer.code == 0, answer.err
    record, rows = json.loads(answer.out), list(csv.DictReader(Path("x.csv").read_text().splitlines()))
    assert list(rows[0]) == ["index", "label", "value", "standard_error", "unit"]
    assert [int(row["index"]) for row in rows] == list(range(40))
    assert [int(row["label"]) for row in rows] == data.load(str(data_folder)).test.labels.tolist()
    values = torch.tensor([float(row["value"]) for row in rows], dtype=torch.float64)
    assert values.mean().item() == pytest.approx(record["value"], rel=1e-12)
    assert {row["unit"] for row in rows} == {record["unit"]}
    assert all((row["standard_error"] == "") == (K == 1) for row in rows)


def test_of_a_class_alone(use: Cli) -> None:
    answer = use("eval-bpd", "vae", "--class", "0,2", "--json")
    record = json.loads(answer.out)
    assert (record["images"], record["classes"]) == (20, ["0", "2"])
    assert "test, 20 images of 0, 2 (trained" in use("eval-bpd", "vae", "--class", "0,2").out
    assert "classes" not in json.loads(use("eval-bpd", "vae", "--json").out)
    assert arrays(use("reconstruct", "vae", "--class", 1, "-n", 5, "--out", "x.npz"))["images"].shape[0] == 10


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("encode vae", 2, "Missing option '--out'."),
        ("encode vae --out x.png", 2, "--out x.png must end in .npz."),
        ("encode vae --out nowhere/x.npz", 3, "nowhere is no folder; choose another --out."),
        ("encode vae --out x.npz --class 9", 2, "bars has no class 9; its classes are 0 to 3."),
        ("encode gan --out x.npz", 2, "gan cannot encode an image; for encode there are: vae, realnvp, diffusion."),
        ("eval-bpd vae --per-image x.txt", 2, "--per-image x.txt must end in .csv."),
        ("eval-bpd vae --per-image nowhere/x.csv", 3, "nowhere is no folder; choose another --per-image."),
        ("reconstruct vae --images x.png --split train", 2, "leave out --split."),
    ],
)
def test_what_cannot_leave(use: Cli, words: str, code: int, said: str) -> None:
    answer = use(*words.split())
    assert (answer.code, answer.out, said in answer.err) == (code, "", True), answer.err


def test_the_standard_error_is_that_of_repeated_estimates() -> None:
    """Of known weights: log w ~ N(0, 1/4) for one image, and classes that are summed over."""

    class Known(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = type("C", (), {"classes": 2, "class_counts": (1, 3)})

        def log_weights(self, x, K, generator, estimator, y=None):
            return 0.5 * torch.randn(K, len(x), generator=generator)

    x = torch.zeros(100, 1, 1, 1, dtype=torch.uint8)
    estimator = type("E", (), {"shared": False, "name": "iwae", "together": None})
    for of in (bounds.bound, bounds.marginal_bound):
        found = [of(Known(), x, 64, estimator, seed) for seed in range(20)]
        for name in ("tight", "mean"):
            spread = torch.cat([getattr(each, name) for each in found]).std().item()
            claimed = torch.cat([getattr(each, f"{name}_error") for each in found]).square().mean().sqrt().item()
            assert claimed == pytest.approx(spread, rel=0.06), (of, name)
