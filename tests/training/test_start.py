"""What may be typed beside --resume: each option is free or refused, and what may change the bits is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli, tiny_flags

from genctl.config import ModelConfig, TrainConfig, flag, options_of, resumable
from genctl.config.values import plain
from genctl.errors import UsageError
from genctl.models import registry
from genctl.runs import folder as run_folder
from genctl.training import start

FREE = {
    *("epochs", "patience", "dataset", "out", "name", "resume", "device", "threads"),
    *("sample_every", "save_every", "max_minutes", "quiet", "json", "extend", "accumulate"),
    *("show", "tensorboard"),
}
REFUSED = {
    *("batch_size", "lr", "schedule", "clip", "ema", "train_size", "validation", "seed"),
    *("precision", "tune", "compile"),
    *("flip", "shift", "crop", "rotate"),
    *("image_size", "image_channels", "fit", "background", "split", "skip_broken", "init", "freeze"),
}
MODELS = [registry.load(name) for name in registry.BUILT_IN]


def test_each_option_of_a_training_is_free_or_refused_on_resume() -> None:
    assert set(options_of(TrainConfig)) == FREE | REFUSED
    assert set(resumable("no")) == REFUSED
    assert set(resumable("longer", "moved", "yes", "once", "folder")) == FREE


def test_what_a_resume_writes_into_the_run_is_a_longer_end_and_a_place_of_the_same_data() -> None:
    assert (resumable("longer"), resumable("moved")) == (["epochs", "patience"], ["dataset"])


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in MODELS for name in (*options_of(TrainConfig), *options_of(kind))]
)
def test_what_shapes_the_run_is_refused_on_resume_and_the_rest_is_free(kind: type[ModelConfig], name: str) -> None:
    stored = {"model's own": 1, name: "as it was"}
    start.refuse_changes(kind, {name: "as it was"}, stored, Path("a-run"))
    if name in FREE:
        start.refuse_changes(kind, {name: "other"}, stored, Path("a-run"))
        return
    with pytest.raises(UsageError) as caught:
        start.refuse_changes(kind, {name: "other"}, stored, Path("a-run"))
    sentence = f"a-run cannot go on with other options: {flag(name)} is as it was, not other. Leave these out."
    assert str(caught.value) == sentence


@pytest.fixture
def stopped(cli: Cli, data_folder: Path) -> Path:
    """Return a run of two epochs that stopped after its first step."""
    flags = [*tiny_flags("vae", "mlp"), "--dataset", data_folder, "--epochs", 2, "--device", "cpu", "--threads", 1]
    assert cli("train", "vae", *flags, "--max-minutes", 0).code == 0
    return Path("checkpoints/vae-001")


def change(folder: Path, name: str, value: Any) -> None:
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, name: value}))


@pytest.mark.parametrize(
    ("what", "warning"),
    [
        ("threads", "warning: threads before: 3, now: 1; the bits may differ."),
        ("device", "warning: device before: cuda, now: cpu; the bits may differ."),
        ("torch", f"warning: torch before: {torch.__version__}, now: 0.0; the bits may differ."),
        ("nothing", None),
    ],
)
def test_what_may_change_the_bits_is_a_warning(
    cli: Cli, stopped: Path, monkeypatch: pytest.MonkeyPatch, what: str, warning: str | None
) -> None:
    if what in ("threads", "device"):
        change(stopped, what, {"threads": 3, "device": "cuda"}[what])
    if what == "torch":
        monkeypatch.setattr(torch, "__version__", "0.0")
    answer = cli("train", "vae", "--resume", "latest")
    assert answer.code == 0
    assert [line for line in answer.err.splitlines() if "bits may differ" in line] == ([warning] if warning else [])


@pytest.mark.parametrize(
    ("name", "entry", "words"),
    [
        ("config", {"hidden": "8"}, "--hidden must be a whole number"),
        ("config", {"layers": 10**9}, "--layers must be at most"),
        ("train", {"batch_size": -1}, "--batch-size must be at least"),
        ("train", {"lr": "fast"}, "--lr must be a number"),
        ("train", {"epochs": "3"}, "its train.epochs is not a whole number"),
        ("dataset", {"digest": 5}, "its dataset.digest is not a text"),
    ],
    ids=str,
)
def test_a_config_with_values_that_cannot_be_is_one_sentence(
    cli: Cli, stopped: Path, name: str, entry: dict[str, Any], words: str
) -> None:
    known = json.loads((stopped / "config.json").read_text())[name]
    change(stopped, name, {**known, **entry})
    answer = cli("train", "vae", "--resume", stopped)
    assert answer.code == 4 and words in answer.err and "config.json" in answer.err


def test_a_resume_goes_on_as_the_run_was_but_for_what_was_of_one_command(cli: Cli, data_folder: Path) -> None:
    flags = [*tiny_flags("vae", "mlp"), "--dataset", data_folder, "--epochs", 4, "--device", "cpu", "--threads", 1]
    assert cli("train", "vae", *flags, "--sample-every", 3, "--quiet", "--max-minutes", 0).code == 0
    answer = cli("train", "vae", "--resume", "latest")
    assert answer.code == 0 and "epoch 4/4" in answer.err
    pictures = {path.name for path in Path("checkpoints/vae-001/samples").glob("epoch-???.png")}
    assert pictures == {f"epoch-{epoch:03d}.png" for epoch in (0, 1, 3, 4)}


def test_what_is_for_cuda_alone_is_said_to_do_nothing_here(cli: Cli, data_folder: Path) -> None:
    small = ["--dataset", data_folder, "--epochs", 1, "--device", "cpu"]
    answer = cli("train", "vae", *small, "--precision", "bf16")
    assert answer.code == 0
    assert "warning: --precision bf16 and --tune are for CUDA; on cpu they change nothing." in answer.err
    assert "CUDA" not in cli("train", "vae", *small).err


def test_a_run_from_before_an_option_goes_on_with_its_default(cli: Cli, stopped: Path) -> None:
    train = run_folder.read_config(stopped).train
    change(stopped, "train", {name: value for name, value in train.items() if name != "precision"})
    other = cli("train", "vae", "--resume", "latest", "--precision", "float32")
    assert (other.code, "--precision is tf32, not float32" in other.err) == (2, True)
    assert cli("train", "vae", "--resume", "latest", "--precision", "tf32").code == 0


def test_a_run_and_its_data_go_on_elsewhere(
    cli: Cli, stopped: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data_folder, tmp_path / "data")
    change(stopped, "train", {**run_folder.read_config(stopped).train, "dataset": str(tmp_path / "data")})
    shutil.copytree(stopped, tmp_path / "there" / "mine")
    assert cli("train", "vae", "--resume", "latest").code == 0
    (tmp_path / "data").rename(tmp_path / "there" / "data")
    monkeypatch.chdir(tmp_path / "there")
    lost = cli("train", "vae", "--resume", "mine")
    assert lost.code == 3
    assert f"there is no data set or folder '{tmp_path}/data'" in lost.err
    wrong = cli("train", "vae", "--resume", "mine", "--dataset", "mnist")
    assert wrong.err == (
        "genctl: mnist is not the data set that mine was trained on; say where that is with --dataset.\n"
    )
    assert cli("train", "vae", "--resume", "mine", "--dataset", "data").code == 0
    assert run_folder.read_config(Path("mine")).train["dataset"] == "data"
    for path in (Path("mine") / run_folder.WEIGHTS, run_folder.states(Path("mine"))[0]):
        assert path.read_bytes() == (tmp_path / stopped / path.name).read_bytes()


NUMBERS = {  # each number of a training at its ends, and the codes with which it may end
    "epochs": {1: 0, 10**9: 0, 10**9 + 1: 2, 10**30: 2},
    "patience": {1: 0, 10**9: 0, 10**9 + 1: 2},
    "batch_size": {1: 0, 10**9: 0, 2**63: 2},
    "accumulate": {1: 0, 10**9: 2, 10**9 + 1: 2},
    "lr": {0: 0, 5e-324: 0, 1e30: 0, 1e308: 2},
    "clip": {0: 0, 5e-324: 0, 1e30: 0, 1e308: 2},
    "ema": {0: 0, 5e-324: 0, 0.999999: 0},
    "shift": {0: 0, 7: 0, 8: 2, 10_001: 2},
    "crop": {0: 0, 4: 0, 5: 2, 10_001: 2},
    "rotate": {0: 0, 5e-324: 0, 180: 0, 181: 2},
    "train_size": {1: 0, 101: 3, 2**31 - 1: 3, 2**31: 2},
    "validation": {1: 0, 120: 3, 2**31 - 1: 3, 2**31: 2},
    "seed": {0: 0, 2**63 - 1: 0, 2**63: 2},
    "threads": {1: 0, 1025: 2},
    "sample_every": {1: 0, 2**31 - 1: 0, 2**31: 2},
    "save_every": {0.001: 0, 1e9: 0, 1e308: 2},
    "max_minutes": {0: 0, 5e-324: 0, 1e308: 2},
    "image_channels": {1: 0, 3: 0, 4: 2},
}


def test_the_table_of_extremes_has_each_number_of_a_training() -> None:
    numbers = {name for name, (kind, _) in options_of(TrainConfig).items() if plain(kind) in (int, float)}
    assert numbers == set(NUMBERS)


@pytest.mark.parametrize(("name", "value", "code"), [(n, v, c) for n, ends in NUMBERS.items() for v, c in ends.items()])
def test_a_number_at_its_end_trains_or_is_one_sentence(
    cli: Cli, data_folder: Path, name: str, value: float, code: int
) -> None:
    chosen = {"epochs": 1, "max_minutes": 0, "threads": 1, "dataset": data_folder, "device": "cpu", name: value}
    answer = cli("train", "vae", *tiny_flags("vae", "mlp"), *(w for n, v in chosen.items() for w in (flag(n), v)))
    assert answer.code == code, answer.err
    if code:
        assert answer.err.startswith("genctl: ") and answer.err.count("\n") == 1


def test_a_training_of_endless_minutes_ends_with_its_epochs(cli: Cli, data_folder: Path) -> None:
    small = [*tiny_flags("vae", "mlp"), "--dataset", data_folder, "--epochs", 1, "--device", "cpu"]
    assert cli("train", "vae", *small, "--max-minutes", 1e30).code == 0
